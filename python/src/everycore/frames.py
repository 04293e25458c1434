"""Frames on fd 3: u32 little-endian length + msgpack. The end of the stream is the end of the agent."""

import os

from ._msgpack import packb, unpackb

FRAME_BYTES_MAX = 1024 * 1024


class Link:
    def __init__(self, fd):
        self._fd = fd
        self._reader = os.fdopen(os.dup(fd), "rb")

    def __iter__(self):
        while True:
            head = self._reader.read(4)
            if len(head) < 4:
                return
            length = int.from_bytes(head, "little")
            if length > FRAME_BYTES_MAX:
                raise SystemExit("a frame from the agent is longer than 1 MB: agent and worker do not fit")
            body = self._reader.read(length)
            if len(body) < length:
                return
            yield unpackb(body)

    def send(self, frame):
        body = packb(frame)
        data = memoryview(len(body).to_bytes(4, "little") + body)
        while data:
            data = data[os.write(self._fd, data) :]
