"""msgpack: the C library where it is installed, else this small pure one, so that any Python >= 3.10 works."""

import struct

try:
    import msgpack as _c

    def packb(value):
        return _c.packb(value, use_bin_type=True)

    def unpackb(data):
        return _c.unpackb(data, raw=False, strict_map_key=False)

except ImportError:

    def packb(value):
        out = bytearray()
        _pack(value, out)
        return bytes(out)

    def unpackb(data):
        value, at = _unpack(memoryview(data), 0)
        if at != len(data):
            raise ValueError("extra bytes after a msgpack value")
        return value


def _pack(value, out):
    kind = type(value)
    if value is None:
        out.append(0xC0)
    elif kind is bool:
        out.append(0xC3 if value else 0xC2)
    elif kind is int:
        _pack_int(value, out)
    elif kind is float:
        out += b"\xcb" + struct.pack(">d", value)
    elif kind is str:
        data = value.encode("utf-8")
        _pack_head(len(data), out, 0xA0, 31, (0xD9, 0xDA, 0xDB))
        out += data
    elif kind in (bytes, bytearray, memoryview):
        data = bytes(value)
        _pack_head(len(data), out, None, -1, (0xC4, 0xC5, 0xC6))
        out += data
    elif kind in (list, tuple):
        _pack_head(len(value), out, 0x90, 15, (None, 0xDC, 0xDD))
        for item in value:
            _pack(item, out)
    elif kind is dict:
        _pack_head(len(value), out, 0x80, 15, (None, 0xDE, 0xDF))
        for key, item in value.items():
            _pack(key, out)
            _pack(item, out)
    else:
        raise TypeError(f"msgpack has no {kind.__name__}")


def _pack_int(value, out):
    if 0 <= value < 128:
        out.append(value)
    elif -32 <= value < 0:
        out.append(value & 0xFF)
    else:
        forms = ((0xCC, ">B", 0, 2**8), (0xCD, ">H", 0, 2**16), (0xCE, ">I", 0, 2**32), (0xCF, ">Q", 0, 2**64))
        signed = ((0xD0, ">b", 7), (0xD1, ">h", 15), (0xD2, ">i", 31), (0xD3, ">q", 63))
        for tag, form, low, high in forms:
            if low <= value < high:
                out.append(tag)
                out.extend(struct.pack(form, value))
                return
        for tag, form, bits in signed:
            if -(2**bits) <= value < 0:
                out.append(tag)
                out.extend(struct.pack(form, value))
                return
        raise OverflowError("an integer beyond 64 bits has no msgpack")


def _pack_head(length, out, fixed, fixed_max, tags):
    if fixed is not None and length <= fixed_max:
        out.append(fixed | length)
    elif tags[0] is not None and length < 2**8:
        out += struct.pack(">BB", tags[0], length)
    elif length < 2**16:
        out += struct.pack(">BH", tags[1], length)
    else:
        out += struct.pack(">BI", tags[2], length)


_NUMBERS = {
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
    0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
}  # fmt: skip
_LENGTHS = {
    0xC4: ("bin", ">B"), 0xC5: ("bin", ">H"), 0xC6: ("bin", ">I"),
    0xD9: ("str", ">B"), 0xDA: ("str", ">H"), 0xDB: ("str", ">I"),
    0xDC: ("list", ">H"), 0xDD: ("list", ">I"), 0xDE: ("map", ">H"), 0xDF: ("map", ">I"),
}  # fmt: skip
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}


def _unpack(data, at):
    tag = data[at]
    at += 1
    if tag < 0x80:
        return tag, at
    if tag >= 0xE0:
        return tag - 256, at
    if tag in _CONSTANTS:
        return _CONSTANTS[tag], at
    if tag in _NUMBERS:
        form = _NUMBERS[tag]
        return struct.unpack_from(form, data, at)[0], at + struct.calcsize(form)
    if tag < 0x90:
        return _unpack_many("map", tag & 0x0F, data, at)
    if tag < 0xA0:
        return _unpack_many("list", tag & 0x0F, data, at)
    if tag < 0xC0:
        return _unpack_many("str", tag & 0x1F, data, at)
    if tag not in _LENGTHS:
        raise ValueError(f"msgpack type 0x{tag:02x} is not spoken here")
    kind, form = _LENGTHS[tag]
    return _unpack_many(kind, struct.unpack_from(form, data, at)[0], data, at + struct.calcsize(form))


def _unpack_many(kind, length, data, at):
    if kind in ("str", "bin"):
        if at + length > len(data):
            raise ValueError("msgpack value is cut short")
        part = bytes(data[at : at + length])
        return (part.decode("utf-8") if kind == "str" else part), at + length
    if kind == "list":
        items = []
        for _ in range(length):
            item, at = _unpack(data, at)
            items.append(item)
        return items, at
    result = {}
    for _ in range(length):
        key, at = _unpack(data, at)
        result[key], at = _unpack(data, at)
    return result, at
