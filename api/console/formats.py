"""How the console writes numbers and times."""

from __future__ import annotations

import datetime as dt
import time

STEPS = (("day", 86_400), ("hour", 3_600), ("minute", 60))


def number(value: float | None) -> str:
    """`12,345`; a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def duration(seconds: float | None) -> str:
    """`2 hours 5 minutes`: the two largest units."""
    if seconds is None:
        return "–"
    left, words = max(round(seconds), 0), []
    for unit, size in STEPS:
        count, left = divmod(left, size)
        if count:
            words.append(_counted(count, unit))
    if left or not words:
        words.append(_counted(left, "second"))
    return " ".join(words[:2])


def ago(moment: float | None) -> str:
    """`5 minutes ago`, `in 2 hours`; Unix seconds."""
    if moment is None:
        return "never"
    passed = time.time() - moment
    if abs(passed) < 1:
        return "now"
    words = " ".join(duration(abs(passed)).split()[:2])
    return f"{words} ago" if passed > 0 else f"in {words}"


def instant(moment: float) -> str:
    """`2026-11-21 13:20:53Z`."""
    return dt.datetime.fromtimestamp(moment, dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _counted(count: int, unit: str) -> str:
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


FILTERS = {"number": number, "duration": duration, "ago": ago, "instant": instant}
