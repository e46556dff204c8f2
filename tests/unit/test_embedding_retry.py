from __future__ import annotations

import email.utils
import time
from typing import Any

import httpx
import pytest
from embedding_support import gemini_server
from hypothesis import given, settings
from hypothesis import strategies as st

from celeriac.embedding.gemini_client import Refusal, RetryPolicy

untimed = settings(deadline=None)
POLICY = RetryPolicy(attempts=4, base=0.5, patience=30.0)
jitters = st.floats(0, 1, exclude_max=True)


@untimed
@given(st.integers(1, 3), jitters)
def test_backoff_doubles_and_is_at_least_halfway(attempt: int, jitter: float) -> None:
    delay = POLICY.delay(attempt, 0.0, None, jitter)

    longest = 0.5 * 2 ** (attempt - 1)
    assert delay is not None
    assert longest / 2 <= delay <= longest


@untimed
@given(st.integers(1, 3), st.floats(0, 20), jitters)
def test_what_is_asked_is_never_undercut(attempt: int, asked: float, jitter: float) -> None:
    delay = POLICY.delay(attempt, 0.0, asked, jitter)

    assert delay is not None
    assert delay >= asked


@untimed
@given(st.integers(1, 10), st.floats(0, 60), st.none() | st.floats(0, 100), jitters)
def test_waiting_stays_within_patience_and_attempts(
    attempt: int, waited: float, asked: float | None, jitter: float
) -> None:
    delay = POLICY.delay(attempt, waited, asked, jitter)

    assert delay is None or (waited + delay <= POLICY.patience and attempt < POLICY.attempts)


def refusal(answer: gemini_server.Answer) -> Refusal:
    if isinstance(answer.body, str):
        return Refusal.of(httpx.Response(answer.status, text=answer.body, headers=answer.headers))
    return Refusal.of(httpx.Response(answer.status, json=answer.body, headers=answer.headers))


def test_a_quota_error_is_read() -> None:
    assert refusal(gemini_server.quota_exceeded("34.07s")) == Refusal(
        429,
        "You exceeded your current quota, please check your plan and billing details.",
        quota="EmbedContentRequestsPerMinutePerProjectPerModel-FreeTier",
        retry_after=34.07,
    )


def test_a_refused_key_is_read() -> None:
    answer = gemini_server.error(400, "API key not valid.", gemini_server.API_KEY_INVALID)

    assert refusal(answer).reason == "API_KEY_INVALID"


@pytest.mark.parametrize("value", ["7", "date"])
def test_retry_after_is_seconds_or_a_date(value: str) -> None:
    if value == "date":
        value = email.utils.formatdate(time.time() + 7, usegmt=True)

    asked = refusal(gemini_server.error(503, "overloaded", Retry_After=value)).retry_after

    assert asked == pytest.approx(7, abs=2)


@pytest.mark.parametrize(
    "body",
    ["<html>502</html>", "[]", '"text"', '{"error": "text"}', '{"error": {"details": ["text"]}}'],
)
def test_an_error_in_another_form_keeps_its_status(body: str) -> None:
    headers: dict[str, Any] = {"retry-after": "soon"}

    read = refusal(gemini_server.Answer(502, body, headers))

    assert (read.status, read.message, read.retry_after) == (502, "Bad Gateway", None)
