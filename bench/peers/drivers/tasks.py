"""What the Python contenders run, everycore's Python tasks and the bare loop among them.

As a program it prints how many rounds of `spin` are a millisecond here.
"""

import time


def spin(rounds):
    """Fixed work, as `spin` of bench/tasks.ts: an item that is interrupted takes longer and does not do less."""
    state = 1
    for _ in range(rounds):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
    return state


def nothing(_item):
    return None


def rounds_per_ms():
    """The quickest of some tries: the others were interrupted."""
    rounds = 100_000
    least = float("inf")
    for _ in range(25):
        started_at = time.perf_counter()
        spin(rounds)
        least = min(least, time.perf_counter() - started_at)
    return rounds / (least * 1000)


if __name__ == "__main__":
    print(rounds_per_ms())
