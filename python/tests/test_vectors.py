"""The golden vectors of proto/vectors, read and written by what Python speaks (proto/data-plane.md)."""

import hashlib
import hmac
import importlib.util
import json
import os
import pathlib
import random
import struct
import sys

import pytest

from everycore import _msgpack, file_patterns, frames, packing, seeding, slot_file

VECTORS = pathlib.Path(__file__).parents[2] / "proto" / "vectors"


def revived(value):
    """Readable fields have {"$bytes": hex} for bytes and {"$int": text} for integers that JSON cannot hold."""
    if isinstance(value, list):
        return [revived(entry) for entry in value]
    if isinstance(value, dict):
        if "$bytes" in value:
            return bytes.fromhex(value["$bytes"])
        if "$int" in value:
            return int(value["$int"])
        return {key: revived(entry) for key, entry in value.items()}
    return value


def vectors(name):
    return revived(json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8")))


def without_c_library():
    """The module as it is where `msgpack` is not installed."""
    spec = importlib.util.spec_from_file_location("pure_msgpack", _msgpack.__file__)
    module = importlib.util.module_from_spec(spec)
    there = sys.modules.get("msgpack")
    sys.modules["msgpack"] = None
    try:
        spec.loader.exec_module(module)
    finally:
        sys.modules.pop("msgpack")
        if there is not None:
            sys.modules["msgpack"] = there
    assert not hasattr(module, "_c")
    return module


@pytest.fixture(params=["as installed", "pure"])
def codec(request):
    return _msgpack if request.param == "as installed" else without_c_library()


def test_file_patterns():
    for vector in vectors("file-patterns"):
        matches = file_patterns.matcher([vector["pattern"]])
        assert [name for name in vector["matches"] if not matches(name.split("/"))] == [], vector["pattern"]
        assert [name for name in vector["others"] if matches(name.split("/"))] == [], vector["pattern"]
    assert not file_patterns.matcher([])(["a"])


def test_msgpack(codec):
    for vector in vectors("msgpack"):
        assert codec.packb(vector["value"]).hex() == vector["python"]
        for written in (vector["js"], vector["python"]):
            read = codec.unpackb(bytes.fromhex(written))
            assert read == vector["value"]


def test_cut_or_foreign_msgpack_is_refused(codec):
    for text in ("", "92", "a361", "c403ff", "cb00", "c1", "0000"):
        with pytest.raises(Exception):
            codec.unpackb(bytes.fromhex(text))


def test_frames_are_read_and_written():
    for vector in vectors("frames"):
        for written in (vector["js"], vector["python"]):
            reading, writing = os.pipe()
            os.write(writing, bytes.fromhex(written))
            os.close(writing)
            assert list(frames.Link(reading)) == [vector["frame"]]
            os.close(reading)
        reading, writing = os.pipe()
        frames.Link(writing).send(vector["frame"])
        assert os.read(reading, 1 << 20).hex() == vector["python"]
        os.close(reading)
        os.close(writing)


def test_blocks():
    for vector in vectors("blocks"):
        entries = [bytes.fromhex(entry) for entry in vector["entries"]]
        assert packing.pack_entries(entries).hex() == vector["block"]
        assert list(packing.PackedEntries(bytes.fromhex(vector["block"]))) == entries


def test_malformed_blocks_are_refused():
    for text in ("", "01000000", "01000000" + "00000000" + "05000000", "00000000" + "01000000"):
        with pytest.raises(ValueError):
            packing.PackedEntries(bytes.fromhex(text))


def test_slot_records(tmp_path):
    (tmp_path / "page").write_bytes(bytes(4096))
    slot = slot_file.Slot(str(tmp_path))
    slot.enter(1, str(tmp_path / "out-1"))
    expected = b""
    for record in vectors("slot-records"):
        payload = bytes.fromhex(record["payload"])
        slot.append(record["index"], record["status"], record["codec"], record["micros"], payload)
        expected += bytes.fromhex(record["bytes"])
    assert (tmp_path / "out-1").read_bytes() == expected


def test_lease_ids():
    """Python makes none; this is the second implementation that the contract is held against."""
    for vector in vectors("lease-id"):
        key = hmac.new(bytes.fromhex(vector["clusterKey"]), vector["job"].encode(), hashlib.sha256).digest()
        assert key.hex() == vector["jobKey"]
        node = vector["node"].encode()
        message = struct.pack(">QQI", vector["start"], vector["end"], len(node)) + node
        message += struct.pack(">QQ", vector["round"], vector["n"])
        assert hmac.new(key, message, hashlib.sha256).hexdigest()[:32] == vector["id"]


def splitmix64(state):
    """Vigna's splitmix64, as published; yields word after word."""
    while True:
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        yield z ^ (z >> 31)


def xoshiro128starstar(s):
    """Blackman and Vigna's xoshiro128**, as published; yields 32-bit words."""

    def rotl(x, k):
        return ((x << k) | (x >> (32 - k))) % 2**32

    while True:
        yield rotl(s[1] * 5 % 2**32, 7) * 9 % 2**32
        t = s[1] << 9 & 0xFFFFFFFF
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = rotl(s[3], 11)


def test_random_streams_by_an_implementation_of_their_own():
    for vector in vectors("random"):
        state = int(vector["seed"], 16) ^ (vector["index"] * 0xD1342543DE82EF95 % 2**64)
        words = splitmix64(state)
        first, second = next(words), next(words)
        assert f"{first:016x}" == vector["pythonSeed"]
        stream = xoshiro128starstar([first % 2**32, first >> 32, second % 2**32, second >> 32])
        floats = [((next(stream) >> 5) * 2**26 + (next(stream) >> 6)) / 2**53 for _ in vector["jsFloats"]]
        assert floats == vector["jsFloats"]
        seeding.seed_all(vector["seed"], vector["index"])
        assert random.random() == random.Random(first).random()
