"""Worker host of the runtime `python`: a module's function, called fn(item), one item after the other.

Same life as the TypeScript hosts (proto/data-plane.md, "Worker frames" and "Slot files"):

W1  for each item: read the limit, stop if the item is not below it; run it; append one record;
W2  the head of a slice is appended before its first item; a slice without head has not started;
W4  phases keep a failing import from being blamed on an item.
"""

import importlib
import os
import resource
import signal
import sys
import time

from . import failures, frames, reduction, seeding, slot_file, values
from .packing import PackedEntries

EXIT_DISK_FULL = 75
COUNTED, PARTIAL, HEAD = 16, 17, 255
VALUE, ERROR = 0, 1


class Host:
    def __init__(self, directory):
        self.slot = slot_file.Slot(directory)
        self.link = frames.Link(3)
        self.task = None
        self.function = None
        self.combine = None

    def run(self):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.slot.set_phase("idle")
        self.link.send({"t": "ready", "pid": os.getpid(), "version": sys.version.split()[0]})
        for frame in self.link:
            kind = frame["t"]
            if kind == "stop":
                return
            if kind == "task":
                self.load(frame)
            elif kind == "slice" and self.function is not None:
                self.slice(frame)

    def load(self, frame):
        self.slot.set_phase("load")
        try:
            os.chdir(frame["scratch"])
            sys.path.insert(0, frame["dir"])
            module = importlib.import_module(frame["entry"])
            self.function = exported(module, frame["export"])
            reducer = frame.get("reduce")
            self.combine = None if reducer is None else exported(module, reducer)
            self.task = frame
            self.slot.set_phase("idle")
            self.link.send({"t": "loaded"})
        except BaseException as error:  # a script may even call sys.exit while it loads
            self.slot.set_phase("idle")
            self.link.send({"t": "initFailed", "error": failures.describe(error, kind="error")})

    def slice(self, frame):
        slot = self.slot
        before = resource.getrusage(resource.RUSAGE_SELF)
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.perf_counter()
        try:
            slot.enter(frame["slice"], frame["file"])
            slot.append(frame["slice"], HEAD, values.MSGPACK, 0, frame["head"])
            slot.set_phase("item", frame["slice"])
            if frame.get("partials") is not None:
                at = self.combine_partials(frame)
            elif frame.get("reduced"):
                at = self.reduce(frame)
            else:
                at = self.plain(frame)
        except slot_file.DiskError as error:
            print(f"everycore: cannot write outcomes: {error}", file=sys.stderr, flush=True)
            slot.set_phase("idle", frame["slice"])  # no item is to blame
            os._exit(EXIT_DISK_FULL)
        flush()
        slot.set_phase("idle", frame["slice"])
        after = resource.getrusage(resource.RUSAGE_SELF)
        grown = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) + (
            grown.ru_utime + grown.ru_stime - children.ru_utime - children.ru_stime
        )
        busy = time.perf_counter() - began
        self.link.send(
            {"t": "sliceEnded", "slice": frame["slice"], "at": at, "busyMs": busy * 1000, "cpuMs": cpu * 1000}
        )

    def plain(self, frame):
        slot, function = self.slot, self.function
        read = values.item_reader(frame, int(self.task["rangeStart"]))
        seed = self.task["seed"]
        at, end = int(frame["start"]), int(frame["end"])
        clock = time.perf_counter
        before = clock()
        while at < end and at < slot.limit():
            try:
                seeding.seed_all(seed, at)
                codec, payload = values.encode(function(read(at)))
                status = VALUE
            except BaseException as error:  # sys.exit and KeyboardInterrupt of a task are its error, not our end
                status, codec, payload = ERROR, values.ERROR, failures.describe(error)
            now = clock()
            slot.append(at, status, codec, int((now - before) * 1e6), payload)
            before = now
            at += 1
        return at

    def reduce(self, frame):
        slot = self.slot
        read = values.item_reader(frame, int(self.task["rangeStart"]))
        stack = reduction.PartialStack(self.combine)
        at, end = int(frame["start"]), int(frame["end"])
        while at < end and at < slot.limit():
            before = time.perf_counter()
            value, error = self.tried(at, read)
            micros = int((time.perf_counter() - before) * 1e6)
            if error is None:
                slot.append(at, COUNTED, values.RAW, micros, b"")
            else:
                slot.append(at, ERROR, values.ERROR, micros, failures.describe(error))
            none = error is not None
            stack.push(reduction.Partial(at, 0, 1 if none else 0, none, value))
            at += 1
        for partial in stack.partials:
            codec, payload = (values.RAW, b"") if partial.none else values.encode(partial.value)
            head = bytes([partial.level]) + partial.missing.to_bytes(4, "little")
            slot.append(partial.start, PARTIAL, codec, 0, head + payload)
        return at

    def tried(self, index, read):
        """Value and error of an item of a reduction, with its retries in place (decision 0012)."""
        attempt = 0
        while True:
            try:
                seeding.seed_all(self.task["seed"], index)
                return self.function(read(index)), None
            except BaseException as error:
                if attempt < self.task["retries"]:
                    attempt += 1
                    continue
                print(f"item {index}: {error!r}", file=sys.stderr)
                return None, error

    def combine_partials(self, frame):
        start = int(frame["start"])
        began = time.perf_counter()
        try:
            with open(frame["partials"], "rb") as file:
                block = PackedEntries(file.read())
            node = reduction.combine_all((reduction.parse(entry) for entry in block), self.combine)
            codec, payload = values.encode(None if node is None or node.none else node.value)
            status = VALUE
        except BaseException as error:
            status, codec, payload = ERROR, values.ERROR, failures.describe(error)
        self.slot.append(start, status, codec, int((time.perf_counter() - began) * 1e6), payload)
        return start + 1


def exported(module, name):
    found = getattr(module, name, None)
    if callable(found):
        return found
    there = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    what = f'no function "{name}"' if found is None else f'"{name}" is a {type(found).__name__}, not a function'
    raise LookupError(f"{what} in {module.__name__}; functions there: {', '.join(there) or 'none'}")


def flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass  # a task may have closed or replaced it


if __name__ == "__main__":
    Host(sys.argv[1]).run()
