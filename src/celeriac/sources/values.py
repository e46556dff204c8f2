"""Values of databases and columnar files as the values JSON has, where there is one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from typing import Any


def plain(value: Any) -> Any:
    """Dates and times in ISO 8601, arrays as lists, other types as their text.

    Numbers (Decimal among them), text, bytes, booleans and None stay as they are.
    """
    match value:
        case None | str() | bool() | int() | float() | bytes() | Decimal():
            return value
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat()
        case bytearray() | memoryview():
            return bytes(value)
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(item) for item in value]
        case _:
            return str(value)


def size_of(value: Any) -> int:
    """About how many bytes a plain value takes as text."""
    match value:
        case str() | bytes():
            return len(value)
        case Mapping():
            return sum(len(key) + size_of(item) for key, item in value.items())
        case list():
            return sum(size_of(item) for item in value)
        case _:
            return 8
