"""Cron expressions are accepted exactly where the scheduler can act on them."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from celery.schedules import crontab
from hypothesis import given
from hypothesis import strategies as st

from celeriac.configuration.schedule import cron_expression

NOW = dt.datetime(2025, 11, 21, 3, 4, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("written", "normalized"),
    [
        ("0 3 * * *", "0 3 * * *"),
        ("  */15   8-18/2\t1,15 JAN-mar Mon-FRI ", "*/15 8-18/2 1,15 jan-mar mon-fri"),
        ("0 22-2 * * 0", "0 22-2 * * 0"),
        ("0 0 29 2 *", "0 0 29 2 *"),
        ("0 0 31 2,3 *", "0 0 31 2,3 *"),
    ],
)
def test_an_expression_is_normalized(written: str, normalized: str) -> None:
    assert cron_expression(written) == normalized


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("0 3 * *", "must have five fields (minute, hour, day of the month, month, day of the"),
        ("0 0 3 * * *", "day of the week), not 6"),
        ("@daily", "day of the week), not 1"),
        ("60 3 * * *", "minute: '60' is not a value from 0 to 59, a range of them, or *"),
        ("0 24 * * *", "hour: '24' is not a value from 0 to 23"),
        ("0 0 0 * *", "day of the month: '0' is not a value from 1 to 31"),
        ("0 0 * 13 *", "month: '13' is not a value from 1 to 12 or jan to dec"),
        ("0 0 * * 7", "day of the week: '7' is not a value from 0 to 6 or sun to sat"),
        ("0 0 * mon *", "month: 'mon'"),
        ("0 0 * * monday", "day of the week: 'monday'"),
        ("*/0 * * * *", "minute: '*/0'"),
        ("5/15 * * * *", "minute: '5/15'"),
        ("1,,2 * * * *", "minute: ''"),
        ("1- * * * *", "minute: '1-'"),
        ("-1 * * * *", "minute: '-1'"),
        ("1-5foo * * * *", "minute: '5foo'"),
        ("٣ * * * *", "minute: '٣'"),
        ("0 0 L * *", "day of the month: 'l'"),
        ("0 0 * * 1#2", "day of the week: '1#2'"),
        ("0 0 31 2,4,6 *", "names a day that none of its months has"),
        ("", "day of the week), not 0"),
    ],
)
def test_anything_else_is_refused_with_what_is_allowed(written: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        cron_expression(written)


def _field(lowest: int, highest: int) -> st.SearchStrategy[str]:
    value = st.integers(lowest, highest).map(str)
    span = st.tuples(value, value).map("-".join)
    stepped = st.tuples(st.one_of(span, st.just("*")), st.integers(1, 70).map(str)).map("/".join)
    term = st.one_of(value, span, stepped, st.just("*"))
    return st.lists(term, min_size=1, max_size=3).map(",".join)


EXPRESSIONS = st.tuples(
    _field(0, 59), _field(0, 23), _field(1, 31), _field(1, 12), _field(0, 6)
).map(" ".join)


@given(EXPRESSIONS)
def test_whatever_is_accepted_has_a_next_run_in_celery(written: str) -> None:
    try:
        expression = cron_expression(written)
    except ValueError:
        with pytest.raises(ValueError, match="day_of_month"):
            crontab.from_string(written)
    else:
        schedule = crontab.from_string(expression)
        assert schedule.remaining_estimate(NOW) is not None


@given(st.text(alphabet="0123456789*/-,LW#? abcdefjmnorstuy", max_size=30))
def test_arbitrary_text_is_accepted_only_where_celery_accepts_it(written: str) -> None:
    try:
        expression = cron_expression(written)
    except ValueError:
        return
    crontab.from_string(expression)
