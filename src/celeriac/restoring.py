"""Dataclasses from the JSON that was made of them, by the types of their fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

Restored = TypeVar("Restored")


def restore(kind: type[Restored], value: Mapping[str, Any]) -> Restored:
    """The dataclass of this kind; what is in the JSON beside its fields is left out.

    Raises:
        KeyError, TypeError, ValueError: it is not JSON of one.
    """
    restored: Restored = _restored(kind, value)
    return restored


def _restored(kind: Any, value: Any) -> Any:
    if value is None:
        return None
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        names = [field.name for field in fields(kind)]
        return kind(**{name: _restored(hints[name], value[name]) for name in names})  # type: ignore[operator]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    return _contained(get_origin(kind), get_args(kind), value)


def _contained(origin: Any, parts: tuple[Any, ...], value: Any) -> Any:
    if origin in (Union, UnionType):
        return _restored(next(part for part in parts if part is not NoneType), value)
    if origin is tuple:
        return tuple(_restored(parts[0], one) for one in value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {key: _restored(parts[1], one) for key, one in value.items()}
    return value
