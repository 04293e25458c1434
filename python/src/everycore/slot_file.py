"""The worker's side of the slot files: limit, phase, and one record per item with one write(2)."""

import errno
import mmap
import os
import struct

PAGE_BYTES = 4096
PHASE_AT, SLICE_AT = 128, 136
PHASES = {"none": 0, "idle": 1, "load": 2, "init": 3, "item": 4}
HEAD = struct.Struct("<IQBBI")
U64 = struct.Struct("<Q")
U32 = struct.Struct("<I")


class DiskError(Exception):
    """Nothing can be appended: no item is to blame."""


class Slot:
    def __init__(self, directory):
        fd = os.open(os.path.join(directory, "page"), os.O_RDWR)
        self._page = mmap.mmap(fd, PAGE_BYTES)
        os.close(fd)
        self._path = None
        self._out = -1
        self._limit_at = 64 + 8

    def set_phase(self, phase, slice_id=0):
        U64.pack_into(self._page, SLICE_AT, slice_id)
        U32.pack_into(self._page, PHASE_AT, PHASES[phase])

    def enter(self, slice_id, path):
        self._limit_at = 64 + 16 * (slice_id % 2) + 8
        if path == self._path:
            return
        try:
            if self._out >= 0:
                os.close(self._out)
            self._out = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as error:
            raise DiskError(str(error)) from error
        self._path = path

    def limit(self):
        return U64.unpack_from(self._page, self._limit_at)[0]

    def append(self, index, status, codec, micros, payload):
        head = HEAD.pack(HEAD.size - 4 + len(payload), index, status, codec, min(micros, 0xFFFFFFFF))
        try:
            if len(payload) <= 65536:
                self._write(head + payload)
            else:
                done = os.writev(self._out, [head, payload])
                if done < len(head):  # a disk that is nearly full takes a part
                    self._write(head[done:])
                    done = len(head)
                if done < len(head) + len(payload):
                    self._write(memoryview(payload)[done - len(head) :])
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                raise DiskError(str(error)) from error
            raise

    def _write(self, data):
        done = os.write(self._out, data)
        if done < len(data):
            view = memoryview(data)[done:]
            while view:
                view = view[os.write(self._out, view) :]
