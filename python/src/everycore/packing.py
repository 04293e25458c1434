"""Packed entries: u32 count | u32 offset[count + 1] | bytes, little-endian (data-plane.md, "Blocks")."""

import struct


class PackedEntries:
    def __init__(self, data):
        view = memoryview(data)
        if len(view) < 8:
            raise ValueError("malformed block: too short")
        (self.count,) = struct.unpack_from("<I", view, 0)
        self._table = 4 + 4 * (self.count + 1)
        if self._table > len(view):
            raise ValueError("malformed block: the offset table is longer than the block")
        self._offsets = struct.unpack_from(f"<{self.count + 1}I", view, 4)
        if self._offsets[0] != 0 or self._table + self._offsets[-1] != len(view):
            raise ValueError("malformed block: offsets do not fit its length")
        self._view = view

    def entry(self, at):
        if not 0 <= at < self.count:
            raise IndexError(f"no entry {at} in a block of {self.count}")
        return bytes(self._view[self._table + self._offsets[at] : self._table + self._offsets[at + 1]])

    def __iter__(self):
        return (self.entry(at) for at in range(self.count))


def pack_entries(entries):
    offsets = [0]
    for entry in entries:
        offsets.append(offsets[-1] + len(entry))
    return struct.pack(f"<I{len(offsets)}I", len(entries), *offsets) + b"".join(entries)
