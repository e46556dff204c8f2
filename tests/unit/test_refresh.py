"""When a refresh policy asks for a refresh."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from celeriac.refresh import last_due


def at(text: str, zone: str = "UTC", fold: int = 0) -> float:
    moment = dt.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return moment.timestamp()


HOURLY = {"policy_type": "HOURLY", "minute": 15}
DAILY = {"policy_type": "DAILY", "minute": 30, "hour": 2, "timezone": "Europe/Berlin"}
WEEKLY = {
    "policy_type": "WEEKLY",
    "minute": 0,
    "hour": 6,
    "day_of_week": "MONDAY",
    "timezone": "America/New_York",
}


def test_a_manual_policy_asks_for_nothing() -> None:
    assert last_due({"policy_type": "MANUAL"}, at("2026-03-01T10:00")) is None


@pytest.mark.parametrize(
    ("policy", "now", "due"),
    [
        (HOURLY, at("2026-03-01T10:15"), at("2026-03-01T10:15")),
        (HOURLY, at("2026-03-01T10:14:59"), at("2026-03-01T09:15")),
        (HOURLY, at("2026-03-01T00:03"), at("2026-02-28T23:15")),
        (DAILY, at("2026-02-01T02:30", "Europe/Berlin"), at("2026-02-01T02:30", "Europe/Berlin")),
        (DAILY, at("2026-02-01T02:29", "Europe/Berlin"), at("2026-01-31T02:30", "Europe/Berlin")),
        (WEEKLY, at("2026-03-04T12:00", "America/New_York"), at("2026-03-02T11:00")),
        (WEEKLY, at("2026-03-02T10:59"), at("2026-02-23T11:00")),
    ],
)
def test_the_latest_moment_is_due(policy: dict[str, Any], now: float, due: float) -> None:
    assert last_due(policy, now) == due


def test_a_skipped_local_time_is_due_once() -> None:
    # Berlin, 29 March 2026: from 2:00 the clocks went to 3:00; 2:30 was not.
    moments = {
        last_due(DAILY, at("2026-03-29T00:00") + minutes * 60.0) for minutes in range(0, 240, 5)
    }
    assert len(moments) == 2


def test_a_repeated_local_time_is_due_once() -> None:
    # Berlin, 25 October 2026: 2:30 was twice.
    first = at("2026-10-25T02:30", "Europe/Berlin", fold=0)
    second = at("2026-10-25T02:30", "Europe/Berlin", fold=1)
    assert second - first == 3600
    assert last_due(DAILY, second + 60) == first


def test_what_is_due_never_goes_back() -> None:
    for policy in (HOURLY, DAILY, WEEKLY):
        start = at("2026-10-20T00:00")
        found = [last_due(policy, start + 600.0 * step) for step in range(144 * 10)]
        assert all(one is not None for one in found)
        assert found == sorted(found, key=lambda one: one or 0)
