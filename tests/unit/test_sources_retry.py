"""When a source is asked again, and for how long it wants to be left alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.sources.retry import LONGEST_RETRY_AFTER, RetryPolicy, retry_after_seconds

NOW = datetime(2025, 11, 21, 12, 0, 0, tzinfo=UTC)


def http_date(moment: datetime) -> str:
    return moment.strftime("%a, %d %b %Y %H:%M:%S GMT")


@given(
    attempts=st.integers(1, 50),
    elapsed=st.floats(0, 1000),
    retry_after=st.none() | st.floats(0, 1000),
    jitter=st.floats(0, 1),
)
def test_no_attempt_begins_after_the_budget(
    attempts: int, elapsed: float, retry_after: float | None, jitter: float
) -> None:
    policy = RetryPolicy()
    delay = policy.delay(attempts, elapsed, retry_after, jitter)
    if delay is not None:
        assert attempts < policy.max_attempts
        assert 0 <= elapsed + delay <= policy.budget
        assert delay >= (retry_after or 0)
        assert delay <= policy.longest or retry_after is not None


def test_delays_double_up_to_the_longest() -> None:
    policy = RetryPolicy(max_attempts=10, base=0.5, longest=3.0)
    delays = [policy.delay(attempts, 0.0, None, 1.0) for attempts in range(1, 6)]
    assert delays == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_jitter_spreads_over_the_whole_delay() -> None:
    assert RetryPolicy().delay(1, 0.0, None, 0.0) == 0.0


def test_what_the_server_asks_for_takes_the_place_of_jitter() -> None:
    assert RetryPolicy().delay(1, 0.0, 7.0, 0.1) == 7.0


def test_a_wait_beyond_the_budget_is_left_to_a_later_task() -> None:
    assert RetryPolicy(budget=20.0).delay(1, 0.0, 21.0, 0.5) is None
    assert RetryPolicy(budget=20.0).delay(1, 19.9, None, 1.0) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        (" 5 ", 5.0),
        ("99999999999", LONGEST_RETRY_AFTER),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        (http_date(NOW + timedelta(seconds=30)), 30.0),
        (http_date(NOW - timedelta(seconds=30)), 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert retry_after_seconds({"Retry-After": value}, NOW) == seconds


def test_a_date_is_compared_with_the_servers_own_clock() -> None:
    their_now = NOW + timedelta(minutes=15)
    headers = {
        "Retry-After": http_date(their_now + timedelta(seconds=10)),
        "Date": http_date(their_now),
    }
    assert retry_after_seconds(headers, NOW) == 10.0
