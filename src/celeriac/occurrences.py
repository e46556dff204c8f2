"""When a schedule is due: the one decision behind everything that runs by itself."""

from __future__ import annotations

import datetime as dt
import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from zoneinfo import ZoneInfo

from celeriac.configuration.schedule import Schedule, cron_values

_HOURS_A_DAY = 24
_DAY = dt.timedelta(days=1)
_DAYS = 366 * 41
"""A 29 February that is a Monday comes within 40 years."""


def next_due(schedule: Schedule, after: float) -> float:
    """The first moment later than `after` at which the schedule is due; both are Unix seconds.

    Where the hours are given, each local time is due once a day: one that a change of the clocks
    skips is due as long after midnight as ever, and one that comes twice is due the first time.
    Where every hour is meant (`*`), it is due each time that the clock shows the minute.
    """
    zone = ZoneInfo(schedule.timezone)
    # A day earlier: what was skipped at its end is due on the next.
    day = dt.datetime.fromtimestamp(after, zone).date() - _DAY
    for _ in range(_DAYS):
        # The next day's too: what was skipped at the end of this one may come after its first.
        later = [_first(_moments(schedule, date), after) for date in (day, day + _DAY)]
        found = min(later)
        if found < math.inf:
            return found
        day += _DAY
    raise AssertionError(f"{schedule.cron} is never due")


def _first(moments: Sequence[float], after: float) -> float:
    """The first of them, in order, that is later; infinity where none is."""
    position = bisect_right(moments, after)
    return moments[position] if position < len(moments) else math.inf


@lru_cache(maxsize=4096)
def _moments(schedule: Schedule, date: dt.date) -> tuple[float, ...]:
    """When it is due on a local date, in order."""
    return tuple(sorted(_unordered(schedule, date)))


def _unordered(schedule: Schedule, date: dt.date) -> Iterator[float]:
    zone, values = ZoneInfo(schedule.timezone), cron_values(schedule.cron)
    if date.month not in values.months or date.day not in values.days:
        return
    if date.isoweekday() % 7 not in values.weekdays:
        return
    every_hour = len(values.hours) == _HOURS_A_DAY
    for hour in values.hours:
        for minute in values.minutes:
            local = dt.datetime(date.year, date.month, date.day, hour, minute, tzinfo=zone)
            yield from _shown(local) if every_hour else (local.timestamp(),)


def _shown(local: dt.datetime) -> Iterator[float]:
    """When the clock shows this local time: once, never or twice."""
    for moment in {local.timestamp(), local.replace(fold=1).timestamp()}:
        shown = dt.datetime.fromtimestamp(moment, local.tzinfo)
        if shown.replace(tzinfo=None, fold=0) == local.replace(tzinfo=None):
            yield moment
