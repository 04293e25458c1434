"""Exceptions to ErrorInfo (msgpack), cut to their limits; the exception itself travels as a pickle for Python clients."""

import pickle
import traceback

from ._msgpack import packb

MESSAGE_MAX, TRACE_MAX, NATIVE_MAX = 8 * 1024, 32 * 1024, 64 * 1024


def describe(error, kind=None):
    from .values import OutputTooLarge, Unencodable

    info = {
        "kind": kind or (error.kind if isinstance(error, (OutputTooLarge, Unencodable)) else "error"),
        "name": type(error).__name__,
        "message": clean(text_of(error))[:MESSAGE_MAX],
        "trace": clean(trace_of(error))[-TRACE_MAX:],
    }
    cause = error.__cause__
    if cause is not None:
        info["cause"] = clean(f"{type(cause).__name__}: {text_of(cause)}")[:MESSAGE_MAX]
    native = pickled(error)
    if native is not None:
        info["native"] = {"codec": "py", "bytes": native}
    return packb(info)


def trace_of(error):
    """The user's frames: the host's own call on top of them says nothing."""
    frames = error.__traceback__.tb_next if error.__traceback__ is not None else None
    return "".join(traceback.format_exception(type(error), error, frames))


def pickled(error):
    try:
        data = pickle.dumps(error, protocol=5)
    except Exception:
        return None  # what cannot be pickled is described in words all the same
    return data if len(data) <= NATIVE_MAX else None


def text_of(error):
    try:
        return str(error)
    except Exception:
        return f"<{type(error).__name__} whose text cannot be made>"


def clean(text):
    return text.encode("utf-8", "replace").decode("utf-8")
