"""Keys as a database has them: where a listing goes on, as JSON, and what stands for an id."""

from __future__ import annotations

import base64
import datetime as dt
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from celeriac.errors import SourceError
from celeriac.sources.listing import EXACT_FLOAT

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
_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
"""As an id of a whole number is written."""
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


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


def typed_ids(entity_ids: Sequence[str], sample: object, dialect: str) -> Sequence[Key | float]:
    """Values to compare a column with, for those of the ids that can be in it.

    `sample` is a value of the column, None where it has none. In SQLite it says nothing: there a
    column's values may be of several types.
    """
    numbers = [int(one) for one in entity_ids if _INTEGER.fullmatch(one)]
    if dialect == "sqlite":
        return [*entity_ids, *(one for one in numbers if -(2**63) <= one < 2**63)]
    match sample:
        case int() if not isinstance(sample, bool):
            return numbers
        case float():
            return [float(one) for one in numbers if abs(one) < EXACT_FLOAT]
        case uuid.UUID():
            return [uuid.UUID(one) for one in entity_ids if _UUID.fullmatch(one)]
        case str():
            return entity_ids
    return ()


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
