"""Compiles, and fails where it runs: an import that is not there."""

import everycore_module_that_nobody_has  # noqa: F401


def run(n):
    return n
