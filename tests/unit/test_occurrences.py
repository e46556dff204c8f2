"""When a schedule is due, over many clocks and two changes of each."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.configuration.schedule import Schedule, cron_expression, cron_values
from celeriac.occurrences import next_due
from celeriac.refresh import schedule_of

BERLIN = "Europe/Berlin"
ZONES = ["UTC", BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]
"""Lord Howe's clocks change by half an hour."""
SPRING = dt.datetime(2026, 3, 28, tzinfo=dt.UTC).timestamp()
AUTUMN = dt.datetime(2026, 10, 24, tzinfo=dt.UTC).timestamp()
DAY = 86_400.0


def at(text: str, zone: str = "UTC", fold: int = 0) -> float:
    moment = dt.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return moment.timestamp()


def ticks(schedule: Schedule, start: float, end: float) -> list[float]:
    """Every moment at which it is due, later than `start` and not later than `end`."""
    found = []
    moment = next_due(schedule, start)
    while moment <= end:
        found.append(moment)
        moment = next_due(schedule, moment)
    return found


@pytest.mark.parametrize(
    ("cron", "zone", "after", "due"),
    [
        ("15 * * * *", "UTC", at("2026-03-01T10:14:59"), at("2026-03-01T10:15")),
        ("15 * * * *", "UTC", at("2026-03-01T10:15"), at("2026-03-01T11:15")),
        ("30 2 * * *", BERLIN, at("2026-02-01T02:29", BERLIN), at("2026-02-01T02:30", BERLIN)),
        ("30 2 * * *", BERLIN, at("2026-02-01T02:30", BERLIN), at("2026-02-02T02:30", BERLIN)),
        ("0 6 * * mon", "America/New_York", at("2026-03-02T11:00"), at("2026-03-09T10:00")),
        ("0 0 1-7 * mon", "UTC", at("2026-03-03T00:00"), at("2026-04-06T00:00")),
        ("0 0 29 2 mon", "UTC", at("2025-11-21T00:00"), at("2044-02-29T00:00")),
        ("59 23 31 12 *", "UTC", at("2026-12-31T23:59"), at("2027-12-31T23:59")),
    ],
)
def test_the_next_moment_is_due(cron: str, zone: str, after: float, due: float) -> None:
    assert next_due(Schedule(cron, zone), after) == due


def test_a_skipped_local_time_is_due_once() -> None:
    # Berlin, 29 March 2026: from 2:00 the clocks went to 3:00; 2:30 was not.
    found = ticks(Schedule("30 2 * * *", BERLIN), SPRING, SPRING + 3 * DAY)
    assert found == [
        at("2026-03-28T02:30", BERLIN),
        at("2026-03-29T03:30", BERLIN),
        at("2026-03-30T02:30", BERLIN),
    ]


def test_a_repeated_local_time_is_due_once() -> None:
    # Berlin, 25 October 2026: 2:30 was twice.
    found = ticks(Schedule("30 2 * * *", BERLIN), AUTUMN, AUTUMN + 2 * DAY)
    assert found == [at("2026-10-24T02:30", BERLIN), at("2026-10-25T02:30", BERLIN, fold=0)]


def test_every_hour_is_due_each_hour_that_passes() -> None:
    for start in (SPRING, AUTUMN):
        found = ticks(Schedule("15 * * * *", BERLIN), start, start + 2 * DAY)
        assert len(found) == 48
        assert {round(later - sooner) for sooner, later in pairwise(found)} == {3600}


def test_a_day_that_a_zone_left_out_is_caught_up_once() -> None:
    # Samoa went from 29 to 31 December 2011.
    schedule = Schedule("0 3 * * *", "Pacific/Apia")
    start = at("2011-12-29T00:00", "Pacific/Apia")
    assert ticks(schedule, start, start + 2 * DAY) == [
        at("2011-12-29T03:00", "Pacific/Apia"),
        at("2011-12-31T03:00", "Pacific/Apia"),
    ]


def fields(low: int, high: int) -> st.SearchStrategy[str]:
    values = st.integers(low, high)
    ranges = st.tuples(values, values).map(lambda ends: f"{ends[0]}-{ends[1]}")
    stepped = st.integers(1, high).map(lambda step: f"*/{step}")
    return st.one_of(st.just("*"), values.map(str), ranges, stepped)


EXPRESSIONS = st.tuples(fields(0, 59), fields(0, 23), st.just("*"), st.just("*"), fields(0, 6)).map(
    lambda parts: cron_expression(" ".join(parts))
)


@given(EXPRESSIONS, st.sampled_from(ZONES), st.sampled_from([SPRING, AUTUMN]))
def test_each_local_minute_that_matches_is_due_as_often_as_it_is_meant(
    cron: str, zone: str, start: float
) -> None:
    values, clock = cron_values(cron), ZoneInfo(zone)
    end = start + 2 * DAY
    shown = [
        (float(moment), dt.datetime.fromtimestamp(moment, clock))
        for moment in range(int(start) + 60, int(end) + 60, 60)
    ]
    matching = [
        (moment, local)
        for moment, local in shown
        if local.minute in values.minutes and local.hour in values.hours
        if local.isoweekday() % 7 in values.weekdays
    ]
    due = ticks(Schedule(cron, zone), start, end)
    assert due == sorted(set(due))
    if len(values.hours) == 24:
        assert due == [moment for moment, _ in matching]
    else:
        # What the clock shows for the first time is due; beyond that, only what it skipped.
        first = {moment for moment, local in matching if not local.fold}
        assert first <= set(due)
        skipped = [moment for moment in due if moment not in first]
        assert all(_after_a_gap(moment, clock) for moment in skipped)


def _after_a_gap(moment: float, clock: ZoneInfo) -> bool:
    """Whether the clocks went forward within the two hours before."""
    now = dt.datetime.fromtimestamp(moment, clock).utcoffset()
    before = dt.datetime.fromtimestamp(moment - 7200, clock).utcoffset()
    assert now is not None
    assert before is not None
    return now > before


@pytest.mark.parametrize(
    ("policy", "schedule"),
    [
        ({"policy_type": "MANUAL"}, None),
        ({"policy_type": "HOURLY", "minute": 15}, Schedule("15 * * * *")),
        (
            {"policy_type": "DAILY", "minute": 30, "hour": 2, "timezone": BERLIN},
            Schedule("30 2 * * *", BERLIN),
        ),
        (
            {"policy_type": "WEEKLY", "minute": 0, "hour": 6, "day_of_week": "THURSDAY"},
            Schedule("0 6 * * thu"),
        ),
    ],
)
def test_a_refresh_policy_stands_for_a_schedule(
    policy: dict[str, Any], schedule: Schedule | None
) -> None:
    assert schedule_of(policy) == schedule
