"""Schedules: a cron expression of five fields, read strictly, in a time zone."""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from functools import lru_cache
from zoneinfo import available_timezones

_LEAP_YEAR = 2000
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


@dataclass(frozen=True, slots=True)
class _Field:
    title: str
    lowest: int
    highest: int
    names: tuple[str, ...] = ()
    """Names of the values, from `lowest` on."""


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of the week", 0, 6, _WEEKDAYS),
)

_TERM = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>[0-9]+))?")


UTC = "UTC"
MAX_LENGTH = 1024
"""Characters of an expression."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When something is due: by the clocks of a time zone."""

    cron: str
    """As `cron_expression` gives it."""
    timezone: str = UTC
    """A name of the IANA time zone database."""


@dataclass(frozen=True, slots=True)
class CronValues:
    """The values that each field of an expression matches."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday."""


def time_zone(name: str) -> str:
    """The name of a time zone that there is.

    Raises:
        ValueError: there is none of this name.
    """
    if name not in available_timezones():
        raise ValueError(f"there is no time zone '{name}'; name one such as Europe/Berlin")
    return name


def cron_expression(text: str) -> str:
    """The expression with its names in lower case and one space between its fields.

    Fields are minute, hour, day of the month, month and day of the week (0 is Sunday); each is `*`,
    a value, a range or a list of these, where `*` and a range may have a step (`*/15`, `8-18/2`). A
    range may wrap around (`22-2`). A day has to match both of its fields. The dialect is what
    celery's scheduler reads, without its extensions and without the `@daily` of others.

    Raises:
        ValueError: not such an expression, or no date ever matches it.
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"has more than {MAX_LENGTH} characters")
    fields = text.lower().split()
    if len(fields) != len(_FIELDS):
        raise ValueError(
            f"must have five fields (minute, hour, day of the month, month, day of the week), "
            f"not {len(fields)}"
        )
    expression = " ".join(fields)
    values = cron_values(expression)
    if not any(
        day <= calendar.monthrange(_LEAP_YEAR, month)[1]
        for month in values.months
        for day in values.days
    ):
        raise ValueError("names a day that none of its months has")
    return expression


@lru_cache(maxsize=1024)
def cron_values(expression: str) -> CronValues:
    """What the fields of an expression match, which is as `cron_expression` gives it."""
    written = zip(_FIELDS, expression.split(), strict=True)
    return CronValues(*(frozenset(_values(field, text)) for field, text in written))


def _values(field: _Field, written: str) -> set[int]:
    values: set[int] = set()
    for term in written.split(","):
        values.update(_term_values(field, term))
    return values


def _term_values(field: _Field, term: str) -> list[int]:
    match = _TERM.fullmatch(term)
    if match is None or (match["step"] and not _steps(match)):
        raise ValueError(f"{field.title}: '{term}' is not {_allowed(field)}")
    step = int(match["step"] or 1)
    if match["first"] is None:
        return list(range(field.lowest, field.highest + 1, step))
    first = _value(field, match["first"])
    last = _value(field, match["last"] or match["first"])
    if first <= last:
        return list(range(first, last + 1, step))
    return [*range(first, field.highest + 1), *range(field.lowest, last + 1)][::step]


def _steps(match: re.Match[str]) -> bool:
    """Whether the term may have a step, and has a step of at least one."""
    return int(match["step"]) > 0 and (match["first"] is None or match["last"] is not None)


def _value(field: _Field, written: str) -> int:
    if written in field.names:
        return field.lowest + field.names.index(written)
    if re.fullmatch(r"[0-9]{1,2}", written) and field.lowest <= int(written) <= field.highest:
        return int(written)
    raise ValueError(f"{field.title}: '{written}' is not {_allowed(field)}")


def _allowed(field: _Field) -> str:
    names = f" or {field.names[0]} to {field.names[-1]}" if field.names else ""
    return (
        f"a value from {field.lowest} to {field.highest}{names}, a range of them, "
        f"or * (* and a range may have a step, as in */2)"
    )
