"""Items to objects, objects to values. Pickle is read here only, inside a worker (P8)."""

import json
import pickle

from ._msgpack import packb, unpackb
from .items import JSON, MSGPACK, PY, RAW, UTF8

PLAIN = (type(None), bool, int, float, str)
OUTCOME_BYTES_MAX = 256 * 1024 * 1024  # outcomeBytesMax of protocol/limits.ts
INT_MIN, INT_MAX = -(2**63), 2**64 - 1


def decode(codec, data):
    if codec == UTF8:
        return data.decode("utf-8")
    if codec == JSON:
        return json.loads(data)
    if codec == MSGPACK:
        return unpackb(data)
    if codec == PY:
        return pickle.loads(data)
    return data


def encode(value):
    """Codec and bytes of a value that is not over the limit: no reader would take it (P7)."""
    codec, data = encoded(value)
    if len(data) > OUTCOME_BYTES_MAX:
        raise OutputTooLarge(
            f"the value has {len(data)} bytes, more than outcomeBytesMax = {OUTCOME_BYTES_MAX}; "
            "write it to a file and return its name"
        )
    return codec, data


def encoded(value):
    """Msgpack for what other languages can read, bytes as they are, pickle for the rest."""
    if type(value) in (bytes, bytearray, memoryview):
        return RAW, bytes(value)
    if is_plain(value):
        return MSGPACK, packb(value)
    try:
        return PY, pickle.dumps(value, protocol=5)
    except Exception as error:
        raise Unencodable(f"a {type(value).__name__} cannot be sent: {error}") from error


class Unencodable(Exception):
    """The value has no bytes."""

    kind = "encode"


class OutputTooLarge(Exception):
    """The value has too many of them."""

    kind = "output-too-large"


def is_plain(value):
    kind = type(value)
    if kind is int:
        return INT_MIN <= value <= INT_MAX
    if kind is str:
        return value.isprintable() or not has_surrogates(value)
    if kind in PLAIN or kind is bytes:
        return True
    if kind is list:
        return all(map(is_plain, value))
    if kind is dict:
        return all(type(key) is str and is_plain(item) for key, item in value.items())
    return False


def has_surrogates(text):
    try:
        text.encode("utf-8")
        return False
    except UnicodeEncodeError:
        return True
