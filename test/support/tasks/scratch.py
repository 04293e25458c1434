"""Items that leave files behind in the folder where their worker runs."""

import os
import time


def fills(megabytes):
    with open(f"left-{os.getpid()}-{time.monotonic_ns()}", "wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(1 << 20))
    time.sleep(0.7)
    return megabytes
