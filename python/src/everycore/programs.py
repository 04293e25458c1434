"""One program at a time, started and heard to its end: found as execvp(3) finds it, spawned by posix_spawn(3).

posix_spawn shares the host's memory until exec (vfork), where Node forks its whole process: half the time per program
(decision 0020). It has no working directory: the host's own is the programs'.

D1  no descriptor of the host but 0, 1 and 2 reaches a program: pipes are close-on-exec, and the link (fd 3) is made so;
D2  signals are as in a fresh process: what Python ignores (SIGPIPE) or the host (SIGINT) is not ignored in programs;
D3  a program ends when it has exited *and* both its pipes are closed: what its children print is its own;
D4  printing beyond the limit is read and counted, not kept (P7): the program is not stopped by a full pipe.
"""

import _signal
import errno
import os
import select

from .loop import LINK_FD

STDOUT_BYTES_MAX = 16 * 1024 * 1024  # execOutputBytesMax of protocol/limits.ts
STDERR_TAIL_BYTES_MAX = 4 * 1024  # stderrTailBytesMax
READ_BYTES = 64 * 1024
SHELL = b"/bin/sh"
PATH_WITHOUT_PATH = b"/bin:/usr/bin"  # confstr(_CS_PATH), which execvp takes when there is no PATH
EVERY_SIGNAL = [number for number in range(1, 32) if number not in (_signal.SIGKILL, _signal.SIGSTOP)]
# The search of execvp goes on after these, and past a file that may not be run.
NOT_HERE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENODEV, errno.ETIMEDOUT)


class NotStarted(Exception):
    """No process came of it. The text is the name of the errno."""


class Ended:
    __slots__ = ("code", "signal", "stderr_tail", "stdout", "stdout_bytes")

    def __init__(self, code, signal, stdout, stdout_bytes, stderr_tail):
        self.code, self.signal = code, signal
        self.stdout, self.stdout_bytes = stdout, stdout_bytes
        self.stderr_tail = stderr_tail


class Programs:
    def __init__(self, environment):
        """Names and values are bytes."""
        self._environment = environment
        self._folders = environment.get(b"PATH", PATH_WITHOUT_PATH).split(b":")
        self._known = (None, None)  # the last program that was found, and where
        os.set_inheritable(LINK_FD, False)  # D1
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)

    def can_find(self, program):
        return program != b"" and any(os.access(place, os.X_OK) for place in self._places(program))

    def _places(self, program):
        if b"/" in program:
            return [program]
        return [os.path.join(folder, program) for folder in self._folders]

    def run(self, argv):
        """The end of the program; raises NotStarted."""
        if any(b"\0" in part for part in argv):
            raise NotStarted("EINVAL")  # no program can be given it
        if argv[0] == b"":
            raise NotStarted("ENOENT")
        ends = []
        try:
            ends += os.pipe()
            ends += os.pipe()
            out, out_of_program, err, err_of_program = ends
            pid = self._start(argv, out_of_program, err_of_program)
        except Exception as error:
            for end in ends:
                os.close(end)
            if isinstance(error, OSError):
                raise NotStarted(errno.errorcode.get(error.errno, str(error))) from error
            raise
        os.close(out_of_program)
        os.close(err_of_program)
        stdout, stdout_bytes, tail = hear(out, err)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        signal = signal_name(-code) if code < 0 else None
        return Ended(code, signal, stdout, stdout_bytes, tail)

    def _start(self, argv, out, err):
        """As execvp: the first file on PATH that can be run; without #! it is a script of the shell's."""
        program = argv[0]
        actions = [(os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_DUP2, err, 2)]
        known, place = self._known
        if known == program:
            try:
                return self._spawn(place, argv, actions)
            except OSError:
                pass  # gone: it may stand elsewhere by now
        refused = None
        for place in self._places(program):
            try:
                pid = self._spawn(place, argv, actions)
                self._known = (program, place)
                return pid
            except PermissionError as error:
                refused = error
            except OSError as error:
                if error.errno not in NOT_HERE:
                    raise
        raise refused or OSError(errno.ENOENT, "in no folder of PATH")

    def _spawn(self, place, argv, actions):
        # D2. In a mask of the host's nothing is blocked, but its parent may have blocked what programs need.
        signals = {"setsigdef": EVERY_SIGNAL, "setsigmask": ()}
        try:
            return os.posix_spawn(place, argv, self._environment, file_actions=actions, **signals)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            script = [SHELL, place, *argv[1:]]
            return os.posix_spawn(SHELL, script, self._environment, file_actions=actions, **signals)


def hear(out, err):
    """Reads both pipes to their ends, and closes them. Stdout up to its limit, its bytes in all, the end of stderr."""
    chunks, counted, tail = [], 0, b""
    poller = select.poll()
    poller.register(out, select.POLLIN)
    poller.register(err, select.POLLIN)
    poller.register(LINK_FD, 0)  # only its end is told
    still_open = 2
    while still_open:
        for fd, _ in poller.poll():
            if fd == LINK_FD:
                os._exit(0)  # the agent is gone, and nobody waits for this outcome
            data = os.read(fd, READ_BYTES)
            if not data:
                poller.unregister(fd)
                os.close(fd)
                still_open -= 1
            elif fd == out:
                counted += len(data)
                if counted <= STDOUT_BYTES_MAX:
                    chunks.append(data)
                else:
                    chunks.clear()
            else:
                forward(data)
                tail = (tail + data)[-STDERR_TAIL_BYTES_MAX - 1 :]
    return b"".join(chunks), counted, tail_text(tail)


def forward(data):
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(2, view) :]
    except OSError:
        pass  # the agent is gone, or does not listen: what a program says must not end it


def tail_text(tail):
    """The last bytes as text; a character that was cut is left out."""
    if len(tail) <= STDERR_TAIL_BYTES_MAX:
        return tail.decode("utf-8", "replace")
    tail = tail[-STDERR_TAIL_BYTES_MAX:]
    first = 0
    while first < 3 and tail[first] & 0xC0 == 0x80:
        first += 1
    return tail[first:].decode("utf-8", "replace")


def signal_name(number):
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}" if number > signal.SIGRTMIN else f"signal {number}"
