"""Where a keyset listing goes on: the keys of the last row, typed, as JSON."""

from __future__ import annotations

import base64
import datetime as dt
import uuid
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from celeriac.errors import SourceError

Key = int | str | bytes | uuid.UUID | dt.date | Decimal
_Encoding = tuple[str, Callable[[Any], str], Callable[[str], Key]]

_ENCODINGS: Mapping[type, _Encoding] = {
    int: ("int", str, int),
    str: ("str", str, str),
    bytes: ("bytes", lambda value: base64.b64encode(value).decode("ascii"), base64.b64decode),
    uuid.UUID: ("uuid", str, uuid.UUID),
    dt.datetime: ("datetime", dt.datetime.isoformat, dt.datetime.fromisoformat),
    dt.date: ("date", dt.date.isoformat, dt.date.fromisoformat),
    Decimal: ("decimal", str, Decimal),
}
"""By exact type: a bool is no int here, and what a float's text says is not what it compares as."""
_DECODERS = {name: decode for name, _, decode in _ENCODINGS.values()}


def encode_key(value: object, column: str) -> list[str]:
    """A key as [type, text].

    Raises:
        SourceError: of a type whose text does not compare as its value does, or not text.
    """
    encoding = _ENCODINGS.get(type(value))
    if encoding is None:
        raise SourceError(
            f"Column {column!r} holds {type(value).__name__}, which a listing cannot go on from; "
            "set the source's `key` to a unique column of whole numbers, text, UUIDs or times."
        )
    name, encode, _ = encoding
    text = encode(value)
    if not _encodable(text):
        raise SourceError(
            f"Column {column!r} holds a key that is not text, {text[:80]!r}; mend it, or set the "
            "source's `key` to another unique column."
        )
    return [name, text]


def decode_key(encoded: object) -> Key:
    """What `encode_key` was given.

    Raises:
        ValueError: it was not encoded by it.
    """
    match encoded:
        case [str(name), str(text)] if name in _DECODERS:
            return _DECODERS[name](text)
    raise ValueError("not a key")


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
