"""Filters in Qdrant's terms: a partition, and values of filter fields within it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from qdrant_client import models

from celeriac.errors import ConfigurationError
from celeriac.model import BOUNDS, FilterValue, Partition, Range, Scalar
from celeriac.store import payload

_NO_MARKER = models.IsEmptyCondition(is_empty=models.PayloadField(key=payload.MARKER))
_LAST_EXACT_FLOAT = 2**53
_PLAIN_KEY = re.compile(r"[\w-]+")
_DATETIME = re.compile(
    r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?([Zz]|[+-]\d{2}:\d{2})?)?"
)


def partition_filter(
    partition: Partition,
    filters: Mapping[str, FilterValue] | None = None,
    *,
    markers_only: bool = False,
) -> models.Filter:
    """The points of a partition; of those, the ones whose filter fields have the given values."""
    must: list[models.Condition] = [_equals(payload.PARTITION, partition.key)]
    must += [_condition(field_path(key), value) for key, value in (filters or {}).items()]
    return models.Filter(must=must, must_not=[_NO_MARKER] if markers_only else None)


def field_path(key: str) -> str:
    """Where a filter field stands in the payload, as a JSON path; a dot in `key` is not a step.

    Raises:
        ConfigurationError: Qdrant has no path for such a key.
    """
    if _PLAIN_KEY.fullmatch(key):
        return f"{payload.METADATA}.{key}"
    if not key or '"' in key or "\\" in key:
        raise ConfigurationError(
            f"{key!r} cannot be the key of a filter field; "
            "choose one that is not empty, without quotation marks and backslashes"
        )
    return f'{payload.METADATA}."{key}"'


def _condition(path: str, value: FilterValue) -> models.Condition:
    if isinstance(value, Range):
        return _range_condition(path, value)
    if not isinstance(value, list):
        return _scalar_condition(path, value)
    words = [one for one in value if isinstance(one, str) and _instant(one) is None]
    if len(words) == len(value):
        return models.FieldCondition(key=path, match=models.MatchAny(any=words))
    return models.Filter(should=[_scalar_condition(path, one) for one in value])


def _range_condition(path: str, wanted: Range) -> models.FieldCondition:
    """In Qdrant bounds are floats: those beyond 2**53 are compared as the nearest one."""
    given = {name: bound for name in BOUNDS if (bound := getattr(wanted, name)) is not None}
    instants = {
        name: instant
        for name, bound in given.items()
        if isinstance(bound, str) and (instant := _instant(bound)) is not None
    }
    if instants:
        return models.FieldCondition(key=path, range=models.DatetimeRange(**instants))
    return models.FieldCondition(key=path, range=models.Range(**given))


def _scalar_condition(path: str, value: Scalar) -> models.FieldCondition:
    if isinstance(value, bool):
        return _equals(path, value)
    if isinstance(value, float) or (isinstance(value, int) and abs(value) <= _LAST_EXACT_FLOAT):
        # 20 and 20.0 are one number, and only a range finds either in a field of floats.
        return models.FieldCondition(key=path, range=models.Range(gte=value, lte=value))
    if isinstance(value, str) and (instant := _instant(value)) is not None:
        # One instant has many spellings, and only a range asks a datetime index. On text it
        # compares what parses.
        return models.FieldCondition(key=path, range=models.DatetimeRange(gte=instant, lte=instant))
    return _equals(path, value)


def _equals(path: str, value: str | int | bool) -> models.FieldCondition:
    return models.FieldCondition(key=path, match=models.MatchValue(value=value))


def _instant(value: str) -> datetime | None:
    """The point in time that `value` names, where it has Qdrant's form of one; UTC by default."""
    if not _DATETIME.fullmatch(value):
        return None
    try:
        instant = datetime.fromisoformat(value)
    except ValueError:
        return None
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant
