"""Items that need much memory: each is {"megabytes": how much more than the interpreter's own, "file": a log of tries}."""

import os
import time

CHUNK = 8


def needs(item):
    """Holds it. The first try waits for its end, the second long enough for every look at its memory."""
    # Noted before anything is held: a look may end the worker while it still allocates.
    with open(item["file"], "a+", encoding="utf8") as log:
        log.write(f"{item['index']}\n")
        log.flush()
        log.seek(0)
        tries = sum(1 for line in log if line.strip() == str(item["index"]))
    held = [bytearray(os.urandom(1) * (CHUNK << 20)) for _ in range(item["megabytes"] // CHUNK)]
    if held:
        time.sleep(60 if tries == 1 else 1.5)
    return {"tries": tries, "held": sum(len(chunk) for chunk in held) >> 20}


def grows(item):
    """Never has enough; the others are modest."""
    held = []
    while item["index"] == 1:
        held.append(bytearray(b"x" * (CHUNK << 20)))
        time.sleep(0.05)
    return item["index"]
