"""Worker host of the runtime `exec`: any program, argv without a shell, strictly one at a time.

Twin of packages/node-agent/src/runtimes/host/exec-host.ts, which serves where there is no Python: outcomes are the
same, byte for byte but for the form of msgpack (packages/node-agent/test/runtimes/exec-hosts.test.ts). Programs share
the host's process group: a kill of the group takes them.
"""

import os
import sys

from ._msgpack import packb
from .item_text import item_text
from .items import ERROR as ERROR_CODEC
from .items import MSGPACK, RAW, item_reader
from .loop import ERROR, VALUE, WorkerLoop
from .programs import STDOUT_BYTES_MAX, NotStarted, Programs
from .slot_file import DiskError

MARKS = ("{}", "{/}", "{.}", "{#}")
MESSAGE_MAX = 8 * 1024  # errorMessageBytesMax of protocol/limits.ts


class ExecRunner:
    def __init__(self):
        self._range_start = 0
        self._arguments = []
        self._appends = False
        self._environment = {}
        self._programs = None
        self._folders = None  # where each item has one of its own

    def load(self, task):
        try:
            # Before chdir: a folder that is missing is the failure, and posix_spawn knows no working directory.
            os.chdir(task["scratch"])
            cwd = task.get("cwd")
            if cwd is not None:
                enter(cwd)
            self._environment = environment_of(task)
            self._programs = Programs(self._environment)
            self._range_start = int(task["rangeStart"])
            argv = task.get("argv") or []
            self._arguments = [pieces_of(part) for part in argv]
            # As GNU parallel: without any placeholder the item is the last argument.
            self._appends = not any(piece in MARKS for pieces in self._arguments for piece in pieces)
            self._folders = folders_of(task)
            program = argv[0] if argv else ""
            if not any(piece in MARKS for piece in pieces_of(program)):
                # One failure of the job that says so, not one per item.
                if not self._can_find(program, task):
                    raise BadTask(f'no program "{program}" that can be run on this node')
            return None
        except BadTask as error:
            return packb({"kind": "error", "name": "EverycoreError", "message": str(error)[:MESSAGE_MAX]})
        except Exception as error:
            return failure_of_error(error)

    def continue_trace(self, traceparent, tracestate):
        """In place of what the submitting environment had: that is further up in the trace."""
        self._environment[b"TRACEPARENT"] = os_bytes(traceparent)
        self._environment.pop(b"TRACESTATE", None)
        if tracestate is not None:
            self._environment[b"TRACESTATE"] = os_bytes(tracestate)

    def reader(self, frame):
        return item_reader(frame, self._range_start, item_text)

    def _can_find(self, program, task):
        """What is shipped stands in each item's folder as it does in the bundle's."""
        if self._folders is None or task.get("dir") is None:
            return self._programs.can_find(os_bytes(program))
        os.chdir(task["dir"])
        try:
            return self._programs.can_find(os_bytes(program))
        finally:
            os.chdir(task["scratch"])

    def outcome(self, read, index):
        if self._folders is None:
            return self._outcome(read, index)
        try:
            return self._outcome(read, index, self._folders)
        finally:
            self._folders.leave()

    def _outcome(self, read, index, folders=None):
        returned = None
        try:
            argv = self._argv(str(read(index)), index)
            if folders is not None:
                folders.enter()
            ended = self._programs.run(argv)
            if folders is not None:
                returned = folders.returned()
        except DiskError:
            raise  # no item is to blame
        except NotStarted as error:
            program = argv[0].decode("utf-8", "replace")
            message = f"spawn {program} {error}"
            return ERROR, ERROR_CODEC, packb({"kind": "error", "name": "Error", "message": cut(message)})
        except Exception as error:  # an item that is no JSON, say
            return ERROR, ERROR_CODEC, failure_of_error(error)
        failure = failure_of(ended, returned)
        if failure is not None:
            return ERROR, ERROR_CODEC, packb(failure)
        if returned is None:
            return VALUE, RAW, ended.stdout
        value = {"stdout": ended.stdout, "files": returned.files, "executable": returned.executable}
        return VALUE, MSGPACK, packb(value)

    def _argv(self, text, index):
        values = {
            "{}": text,
            "{/}": text.rstrip("/").rpartition("/")[2],
            "{.}": stem_of(text),
            "{#}": str(index + 1),
        }
        argv = ["".join([values.get(piece, piece) for piece in pieces]) for pieces in self._arguments]
        if self._appends:
            argv.append(text)
        return [os_bytes(part) for part in argv]

    def flush(self):
        pass  # programs' prints are forwarded unbuffered


class BadTask(Exception):
    """The job cannot run here."""


def folders_of(task):
    shipped, returns = task.get("dir"), task.get("returns")
    if shipped is None and returns is None:
        return None
    from .item_folder import ItemFolders  # a host is started for each job and slot, and few jobs need it

    return ItemFolders(task["scratch"], shipped, returns)


def environment_of(task):
    given = task.get("env")
    if given is not None:
        environment = {os_bytes(name): os_bytes(value) for name, value in given.items()}
    else:
        environment = {b"HOME": os_bytes(task["scratch"])}
        if b"PATH" in os.environb:
            environment[b"PATH"] = os.environb[b"PATH"]
        for name, value in (task.get("addEnv") or {}).items():
            environment[os_bytes(name)] = os_bytes(value)
    environment[b"EVERYCORE_WORKER"] = b"1"
    return environment


def enter(folder):
    try:
        os.chdir(folder)
    except OSError as error:
        raise BadTask(f'the folder "{folder}" cannot be entered on this node') from error


def pieces_of(part):
    """Text and placeholders in turn."""
    pieces = [part]
    for mark in MARKS:
        found = []
        for piece in pieces:
            if piece in MARKS:
                found.append(piece)
                continue
            for text in piece.split(mark):
                found += [text, mark]
            found.pop()
        pieces = found
    return pieces


def stem_of(text):
    """Without the extension, as long as it is one of the file's name."""
    stem, dot, extension = text.rpartition(".")
    return stem if dot and "/" not in extension else text


def os_bytes(text):
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:  # half a surrogate pair has no UTF-8: what JavaScript puts in its place
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode("utf-8")


def failure_of(ended, returned=None):
    if ended.stdout_bytes > STDOUT_BYTES_MAX:
        message = f"the program printed {ended.stdout_bytes} bytes, more than execOutputBytesMax = {STDOUT_BYTES_MAX}"
        return {"kind": "output-too-large", "name": "OutputTooLarge", "message": message}
    kept = {"stdout": ended.stdout, "stderrTail": ended.stderr_tail}
    refusal = None if returned is None else returned.refusal
    also = "" if refusal is None else f"; {refusal}"
    if returned is not None and refusal is None:
        kept |= {"files": returned.files, "executable": returned.executable}
    if ended.signal is not None:
        message = f"killed by {ended.signal}{also}"
        return {"kind": "signal", "name": "Signal", "message": message, "signal": ended.signal, **kept}
    if ended.code != 0:
        message = f"exit code {ended.code}{also}"
        return {"kind": "exit", "name": "Exit", "message": message, "exitCode": ended.code, **kept}
    if refusal is not None:
        return {"kind": "output-too-large", "name": "OutputTooLarge", "message": refusal, **kept}
    return None


def failure_of_error(error):
    message = cut(str(error).encode("utf-8", "replace").decode("utf-8"))
    return packb({"kind": "error", "name": type(error).__name__, "message": message})


def cut(text):
    return text if len(text) <= MESSAGE_MAX else text[: MESSAGE_MAX - 1] + "…"


def main(directory):
    WorkerLoop(directory, ExecRunner()).run()


if __name__ == "__main__":
    main(sys.argv[1])
