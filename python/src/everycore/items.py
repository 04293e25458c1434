"""Items of a slice as bytes: from the frame or from block files. Their codecs; decoding is the runtime's."""

from .packing import PackedEntries

RANGE, UTF8, JSON, MSGPACK, PY, RAW, CHUNKED, ERROR = range(8)


def item_reader(frame, range_start, decode):
    """A function from an index to the item, decoded by decode(codec, bytes)."""
    codec = frame["codec"]
    if codec == RANGE:
        return lambda index: range_start + index
    if frame.get("block") is not None:
        block, start = PackedEntries(frame["block"]), int(frame["start"])
        return lambda index: decode(codec, block.entry(index - start))
    # Integers from 2^32 on arrive as floats (data-plane.md, "msgpack").
    files = [{**file, "first": int(file["first"])} for file in frame.get("files") or ()]
    opened = {}

    def read(index):
        for file in files:
            if file["first"] <= index < file["first"] + file["count"]:
                if opened.get("path") != file["path"]:
                    with open(file["path"], "rb") as handle:
                        opened.update(path=file["path"], block=PackedEntries(handle.read()))
                return decode(codec, opened["block"].entry(index - file["first"]))
        raise LookupError(f"item {index} is in no block of its slice")

    return read
