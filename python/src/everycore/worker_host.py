"""Worker host of the runtime `python`: a module's function, called fn(item), one item after the other."""

import importlib
import os
import sys
import time

from . import failures, reduction, seeding, values
from .items import ERROR as ERROR_CODEC
from .items import RAW, item_reader
from .loop import ERROR, VALUE, WorkerLoop
from .packing import PackedEntries

COUNTED, PARTIAL = 16, 17


class PythonRunner:
    def __init__(self, debugger=None):
        """`debugger`: the module post_mortem, where a person at the terminal wants to look into what is raised."""
        self.debugger = debugger
        self.task = None
        self.function = None
        self.combine = None

    def load(self, task):
        try:
            if self.debugger:
                self.debugger.hear_interrupts()
            os.chdir(task["scratch"])
            sys.path.insert(0, task["dir"])
            module = importlib.import_module(task["entry"])
            self.function = exported(module, task["export"])
            reducer = task.get("reduce")
            self.combine = None if reducer is None else exported(module, reducer)
            self.task = task
            return None
        except BaseException as error:  # a script may even call sys.exit while it loads
            self.examine(error)
            return failures.describe(error, kind="error")

    def continue_trace(self, traceparent, tracestate):
        os.environ["TRACEPARENT"] = traceparent
        os.environ.pop("TRACESTATE", None)
        if tracestate is not None:
            os.environ["TRACESTATE"] = tracestate

    def reader(self, frame):
        return item_reader(frame, int(self.task["rangeStart"]), values.decode)

    def outcome(self, read, index):
        try:
            seeding.seed_all(self.task["seed"], index)
            return VALUE, *values.encode(self.function(read(index)))
        except BaseException as error:  # sys.exit and KeyboardInterrupt of a task are its error, not our end
            self.examine(error)
            return ERROR, ERROR_CODEC, failures.describe(error)

    def reduce(self, slot, frame):
        read = self.reader(frame)
        stack = reduction.PartialStack(self.combine)
        at, end = int(frame["start"]), int(frame["end"])
        while at < end and at < slot.limit():
            before = time.perf_counter()
            value, error = self.tried(at, read)
            micros = int((time.perf_counter() - before) * 1e6)
            if error is None:
                slot.append(at, COUNTED, RAW, micros, b"")
            else:
                slot.append(at, ERROR, ERROR_CODEC, micros, failures.describe(error))
            none = error is not None
            stack.push(reduction.Partial(at, 0, 1 if none else 0, none, value))
            at += 1
        for partial in stack.partials:
            codec, payload = (RAW, b"") if partial.none else values.encode(partial.value)
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
                self.examine(error)
                if attempt < self.task["retries"]:
                    attempt += 1
                    continue
                print(f"item {index}: {error!r}", file=sys.stderr)
                return None, error

    def examine(self, error):
        if self.debugger:
            self.debugger.examine(error)

    def combine_partials(self, slot, frame):
        start = int(frame["start"])
        began = time.perf_counter()
        try:
            with open(frame["partials"], "rb") as file:
                block = PackedEntries(file.read())
            node = reduction.combine_all((reduction.parse(entry) for entry in block), self.combine)
            codec, payload = values.encode(None if node is None or node.none else node.value)
            status = VALUE
        except BaseException as error:
            self.examine(error)
            status, codec, payload = ERROR, ERROR_CODEC, failures.describe(error)
        slot.append(start, status, codec, int((time.perf_counter() - began) * 1e6), payload)
        return start + 1

    def flush(self):
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                pass  # a task may have closed or replaced it


def exported(module, name):
    found = getattr(module, name, None)
    if callable(found):
        return found
    there = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    what = f'no function "{name}"' if found is None else f'"{name}" is a {type(found).__name__}, not a function'
    raise LookupError(f"{what} in {module.__name__}; functions there: {', '.join(there) or 'none'}")


def debugger_wanted(arguments):
    if "--pdb" not in arguments:
        return None
    from . import post_mortem

    return post_mortem


if __name__ == "__main__":
    WorkerLoop(sys.argv[1], PythonRunner(debugger_wanted(sys.argv[2:]))).run()
