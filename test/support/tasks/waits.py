"""Items that take their time and no core: for tests in which something happens meanwhile."""

import time


def twice(n):
    time.sleep(0.1)
    return 2 * n
