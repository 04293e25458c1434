"""The seed of an item is a contract: a job run again next year draws the same (P6)."""

import json
import pathlib

from everycore.seeding import seed_of

VECTORS = pathlib.Path(__file__).parents[2] / "proto" / "vectors" / "random.json"


def test_seeds_equal_the_golden_vector():
    for vector in json.loads(VECTORS.read_text()):
        assert f"{seed_of(vector['seed'], vector['index']):016x}" == vector["pythonSeed"]
