"""Random streams that depend on (job seed, item index) alone: the same on 1 core and on 400 (P6)."""

import random
import sys

MASK = (1 << 64) - 1


def seed_of(seed_hex, index):
    """64 bits for an item, by splitmix64; proto/vectors/random.json fixes both languages."""
    state = (int(seed_hex, 16) ^ (index * 0xD1342543DE82EF95)) & MASK
    z = (state + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def seed_all(seed_hex, index):
    """Seeds `random`, and numpy's legacy generator where a task has imported numpy."""
    seed = seed_of(seed_hex, index)
    random.seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed & 0xFFFFFFFF)
