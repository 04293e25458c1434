"""An item as the text that becomes a program's argument: the same in the Node host, whichever serves (P6).

Texts are themselves, bytes are read as UTF-8, and everything else is JSON as JavaScript writes it: 1.0 is 1, 1e21 is
1e+21, keys that are array indices come first. `json` is imported only for items that need it.
"""

from ._msgpack import unpackb
from .items import JSON, MSGPACK

SAFE_INTEGER_MAX = 2**53 - 1
ARRAY_INDEX_MAX = 2**32 - 2


def item_text(codec, data):
    if codec == MSGPACK:
        value = unpackb(data)
    elif codec == JSON:
        value = parsed_json(data.decode("utf-8", "replace"))
    else:
        value = data
    if isinstance(value, str):
        return value
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("utf-8", "replace")
    return written(value)


def parsed_json(text):
    import json

    def refused(name):
        raise ValueError(f"{name} is not JSON")

    return json.loads(text, parse_int=integer_of_json, parse_constant=refused)


def integer_of_json(digits):
    """Numbers of JSON are doubles in JavaScript."""
    try:
        value = int(digits)
        return value if abs(value) <= SAFE_INTEGER_MAX else float(value)
    except (OverflowError, ValueError):  # beyond any double; more digits than int() takes
        return float(digits)


def written(value):
    """JSON.stringify."""
    if value is None:
        return "null"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return number(value)
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, (bytes, bytearray)):  # Buffer.toJSON
        return '{"type":"Buffer","data":[' + ",".join(map(str, value)) + "]}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(written, value)) + "]"
    if isinstance(value, dict):
        pairs = {key if isinstance(key, str) else written(key): entry for key, entry in value.items()}
        indices = sorted((key for key in pairs if is_array_index(key)), key=int)
        others = [key for key in pairs if not is_array_index(key)]
        return "{" + ",".join(f"{quoted(key)}:{written(pairs[key])}" for key in indices + others) + "}"
    raise TypeError(f"a {type(value).__name__} is no item of a program")


def is_array_index(key):
    if not (key.isascii() and key.isdigit()) or len(key) > 10:
        return False
    return (key == "0" or key[0] != "0") and int(key) <= ARRAY_INDEX_MAX


def quoted(text):
    import json

    data = json.dumps(text, ensure_ascii=False)
    return "".join(f"\\u{ord(sign):04x}" if "\ud800" <= sign <= "\udfff" else sign for sign in data)


def number(value):
    """Number.prototype.toString: the same shortest digits as repr's, but other rules for the exponent."""
    if value != value or value in (float("inf"), float("-inf")):
        return "null"
    if value == 0:
        return "0"
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    point = len(whole) + int(exponent or 0)  # where the point stands, counted from the first digit
    digits = whole + fraction
    point -= len(digits) - len(digits.lstrip("0"))
    digits = digits.lstrip("0").rstrip("0")
    sign = "-" if value < 0 else ""
    if 0 < point <= 21:
        if len(digits) <= point:
            return sign + digits.ljust(point, "0")
        return sign + digits[:point] + "." + digits[point:]
    if -6 < point <= 0:
        return sign + "0." + "0" * -point + digits
    rest = "." + digits[1:] if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{rest}e{'+' if point > 0 else '-'}{abs(point - 1)}"
