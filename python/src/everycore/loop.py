"""The life of a worker, the same in each host written in Python: take a task, run slices, item after item.

Twin of packages/node-agent/src/runtimes/host/loop.ts (proto/data-plane.md, "Worker frames" and "Slot files"):

W1  for each item: read the limit, stop if the item is not below it; run it; append one record;
W2  the head of a slice is appended before its first item; a slice without head has not started;
W4  phases keep a failing load from being blamed on an item.

A runner brings what its runtime does: `load(task)`, which returns the bytes of the job's one failure or None;
`continue_trace(traceparent, tracestate)`, before each slice of a traced job; `reader(frame)`, a function from an
index to an item; `outcome(read, index)`, which gives status, codec and bytes and raises nothing; `flush()` after a
slice; and for reductions `reduce(slot, frame)` and `combine_partials(slot, frame)`.

Imported by every host, and a host is started for each job and slot: nothing heavy here. `signal` alone costs 3 ms (30
with cold files), for it makes its numbers an enum; `_signal` is the C module behind it.
"""

import _signal
import os
import resource
import sys
import time

from . import frames, slot_file
from .items import MSGPACK

EXIT_DISK_FULL = 75
HEAD = 255
VALUE, ERROR = 0, 1
LINK_FD = 3


class WorkerLoop:
    def __init__(self, directory, runner):
        self.slot = slot_file.Slot(directory)
        self.link = frames.Link(LINK_FD)
        self.runner = runner
        self.is_loaded = False

    def run(self):
        _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
        self.slot.set_phase("idle")
        self.link.send({"t": "ready", "pid": os.getpid(), "version": sys.version.split()[0]})
        for frame in self.link:
            kind = frame["t"]
            if kind == "stop":
                return
            if kind == "task":
                self.load(frame)
            elif kind == "slice" and self.is_loaded:
                self.slice(frame)

    def load(self, task):
        self.slot.set_phase("load")
        failure = self.runner.load(task)
        self.slot.set_phase("idle")
        self.is_loaded = failure is None
        self.link.send({"t": "loaded"} if failure is None else {"t": "initFailed", "error": failure})

    def slice(self, frame):
        slot, runner = self.slot, self.runner
        cpu = cpu_seconds()
        began = time.perf_counter()
        try:
            if "traceparent" in frame:
                runner.continue_trace(frame["traceparent"], frame.get("tracestate"))
            slot.enter(frame["slice"], frame["file"])
            slot.append(frame["slice"], HEAD, MSGPACK, 0, frame["head"])
            slot.set_phase("item", frame["slice"])
            if frame.get("partials") is not None:
                at = runner.combine_partials(slot, frame)
            elif frame.get("reduced"):
                at = runner.reduce(slot, frame)
            else:
                at = self.plain(frame)
        except slot_file.DiskError as error:
            print(f"everycore: cannot write outcomes: {error}", file=sys.stderr, flush=True)
            slot.set_phase("idle", frame["slice"])  # no item is to blame
            os._exit(EXIT_DISK_FULL)
        runner.flush()
        slot.set_phase("idle", frame["slice"])
        self.link.send(
            {
                "t": "sliceEnded",
                "slice": frame["slice"],
                "at": at,
                "busyMs": (time.perf_counter() - began) * 1000,
                "cpuMs": (cpu_seconds() - cpu) * 1000,
            }
        )

    def plain(self, frame):
        slot, outcome = self.slot, self.runner.outcome
        read = self.runner.reader(frame)
        at, end = int(frame["start"]), int(frame["end"])
        clock = time.perf_counter
        before = clock()
        while at < end and at < slot.limit():
            status, codec, payload = outcome(read, at)
            now = clock()
            slot.append(at, status, codec, int((now - before) * 1e6), payload)
            before = now
            at += 1
        return at


def cpu_seconds():
    """Of this process and of its children that have ended and were waited for."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime
