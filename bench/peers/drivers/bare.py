"""One of the bare processes: reads its rounds, says that it is ready, waits for the word, runs the loop, tells."""

import json
import sys
import time

from tasks import spin

rounds = json.loads(sys.stdin.readline())
print("ready", flush=True)
sys.stdin.readline()
started_at = time.perf_counter()
cpu_before = time.process_time()
for count in rounds:
    spin(count)
seconds = time.perf_counter() - started_at
print(json.dumps({"seconds": seconds, "cpuSeconds": time.process_time() - cpu_before}), flush=True)
