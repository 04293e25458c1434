"""The folder of an item, for jobs that ship files or want files returned.

Twin of packages/node-agent/src/runtimes/host/item-folder.ts:

K1  each try of an item has a folder of its own, gone after it: nothing of another try or item is in it;
K2  shipped files are copies in it (which share their blocks where the file system can): what a program does to
    them is seen by nobody else (decision 0065);
K3  copies carry a date of long ago, so that a shipped file returns only if the program has written it;
K4  what returns is a regular file of the folder: a link counts where it leads to one, a pipe is never opened.
"""

import errno
import os
import stat

from .file_patterns import matcher
from .slot_file import DiskError

FILES_MAX = 1_000  # returnedFilesMax of protocol/limits.ts
BYTES_MAX = 64 * 1024 * 1024  # returnedFilesBytesMax
ADVICE = "let --output match less, or pack it"
LONG_AGO = 946_684_800 * 10**9  # 2000-01-01: before any program runs, after what zip can say
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
COPY_BYTES = 1024 * 1024


class Returned:
    """Files by name, which of them are executable, and in words why none return if they do not."""

    __slots__ = ("executable", "files", "refusal")

    def __init__(self, files=None, executable=(), refusal=None):
        self.files, self.executable, self.refusal = files or {}, list(executable), refusal


class ItemFolders:
    def __init__(self, scratch, shipped, returns):
        """`shipped`: folder of the unpacked bundle, or None. `returns`: patterns, or None."""
        self._scratch = scratch
        self._shipped = shipped
        self._matches = None if returns is None else matcher(returns)
        self._folder = None
        self._made = 0
        folders, files = ([], []) if shipped is None else below(shipped)
        self._folders = sorted(folders)  # parents first
        self._files = [(path, os.stat(os.path.join(os.fsencode(shipped), path)).st_mode & 0o777) for path in files]
        self._names = set(files)

    def enter(self):
        """K1, K2. The host's own folder is the programs'."""
        self._made += 1
        self._folder = os.fsencode(os.path.join(self._scratch, f"item-{self._made}"))
        try:
            os.mkdir(self._folder, 0o700)
            os.chdir(self._folder)
            for path in self._folders:
                os.mkdir(path, 0o700)
            for path, mode in self._files:
                copy(os.path.join(os.fsencode(self._shipped), path), path, mode)
        except OSError as error:
            if error.errno in FULL:
                raise DiskError(str(error)) from error
            raise

    def leave(self):
        os.makedirs(self._scratch, 0o700, exist_ok=True)  # a program may have removed its HOME
        os.chdir(self._scratch)
        if self._folder is not None:
            remove(self._folder)
        self._folder = None

    def returned(self):
        """What the item leaves, or None where the job wants nothing."""
        if self._matches is None:
            return None
        # A program may have put a link in its place.
        root = os.path.join(os.path.realpath(os.path.dirname(self._folder)), os.path.basename(self._folder))
        found, total = [], 0
        for path in sorted(below(root)[1]):
            file = self._candidate(root, path)
            if file is None:
                continue
            found.append((path.decode("utf-8"), *file))
            total += file[1].st_size
        if len(found) > FILES_MAX:
            refusal = f"{len(found)} files would return, more than returnedFilesMax = {FILES_MAX}; {ADVICE}"
            return Returned(refusal=refusal)
        if total > BYTES_MAX:
            return Returned(refusal=too_large(total))
        files, executable = {}, []
        for name, place, info in found:
            data = read(place, info.st_size)
            if data is None:
                continue
            files[name] = data
            if info.st_mode & 0o100:
                executable.append(name)
        total = sum(map(len, files.values()))
        return Returned(files, executable) if total <= BYTES_MAX else Returned(refusal=too_large(total))

    def _candidate(self, root, path):
        """Where it lies and what it is; None if it does not return."""
        name = text_of(path)
        if name is None or not self._matches(name.split("/")):
            return None
        place = os.path.join(root, path)
        try:
            info = os.lstat(place)
            if stat.S_ISLNK(info.st_mode):
                place = os.path.realpath(place)
                if not place.startswith(root + b"/"):
                    return None
                info = os.lstat(place)
        except OSError:
            return None  # gone meanwhile: a child of the program's may still run
        if not stat.S_ISREG(info.st_mode):
            return None
        if path in self._names and info.st_mtime_ns == LONG_AGO:
            return None  # K3
        return place, info


def too_large(total):
    limit = f"returnedFilesBytesMax = {BYTES_MAX}"
    return f"the files that would return have {total} bytes, more than {limit}; {ADVICE}"


def text_of(path):
    """As Node reads names; those that are no UTF-8 cannot travel."""
    try:
        return path.decode("utf-8")
    except UnicodeDecodeError:
        return None


def below(folder):
    """Relative paths, as bytes, of the folders and of all else below; links are not followed."""
    root = os.fsencode(folder)
    folders, others, waiting = [], [], [b""]
    if os.path.islink(root):
        return folders, others
    while waiting:
        at = waiting.pop()
        try:
            with os.scandir(os.path.join(root, at)) as entries:
                for entry in entries:
                    path = os.path.join(at, entry.name)
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(path)
                        waiting.append(path)
                    else:
                        others.append(path)
        except OSError:
            continue  # closed by the program, or gone
    return folders, others


def copy(source, target, mode):
    reading = os.open(source, os.O_RDONLY)
    try:
        writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            copy_bytes(reading, writing)
            os.fchmod(writing, mode)
            os.utime(writing, ns=(LONG_AGO, LONG_AGO))  # K3
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def copy_bytes(reading, writing):
    try:
        while os.copy_file_range(reading, writing, 1 << 30):
            pass
    except (AttributeError, OSError) as error:
        if getattr(error, "errno", None) in FULL:
            raise
    # What the kernel would not do, from where it stopped.
    while data := os.read(reading, COPY_BYTES):
        view = memoryview(data)
        while view:
            view = view[os.write(writing, view) :]


def read(place, expected):
    """None if it is gone meanwhile."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        try:
            fd = os.open(place, flags)
        except PermissionError:
            os.chmod(place, 0o400)  # closed by the program; the user has asked for it
            fd = os.open(place, flags)
    except OSError:
        return None
    try:
        data = os.read(fd, expected + 1)  # whole at once: what is put together is there twice
        while 0 < len(data) <= BYTES_MAX and (more := os.read(fd, COPY_BYTES)):
            data += more  # it still grows
        return data
    finally:
        os.close(fd)


def remove(folder):
    """Folders that the program has closed are opened for it. What resists goes with the worker's scratch folder."""
    try:
        if os.path.islink(folder):
            os.unlink(folder)
            return
        waiting, folders = [folder], []
        while waiting:
            at = waiting.pop()
            folders.append(at)
            os.chmod(at, 0o700)
            with os.scandir(at) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        os.unlink(entry.path)
        for at in reversed(folders):
            os.rmdir(at)
    except OSError:
        pass
