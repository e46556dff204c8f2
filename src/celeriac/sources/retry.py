"""When to ask a source again: a pure decision."""

from __future__ import annotations

import email.utils
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

LONGEST_RETRY_AFTER = 86_400.0
"""Seconds; a server that asks for more is asked again after a day."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter (Brooker 2015), bounded in attempts and in time."""

    max_attempts: int = 5
    base: float = 0.5
    """Seconds before the second attempt, at most."""
    longest: float = 8.0
    """Seconds before any attempt that the server does not schedule itself."""
    budget: float = 20.0
    """Seconds after the first attempt beyond which none begins; the task is tried again later."""

    def delay(
        self, attempts: int, elapsed: float, retry_after: float | None, jitter: float
    ) -> float | None:
        """Seconds to wait before the next attempt, None to give up.

        `attempts` have been made in `elapsed` seconds; `retry_after` is what the server asked for,
        `jitter` a random number from 0 to 1.
        """
        if attempts >= self.max_attempts:
            return None
        delay = retry_after
        if delay is None:
            delay = jitter * min(self.longest, self.base * 2.0 ** (attempts - 1))
        return delay if elapsed + delay <= self.budget else None


def retry_after_seconds(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """What the header Retry-After asks for (RFC 9110, section 10.2.3): seconds, or a date.

    A date is compared with the server's own header Date where it sends one, for clocks differ.
    `headers` ignores case. None where the header is missing or makes no sense.
    """
    value = headers.get("Retry-After", "").strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        seconds = float(value)
    else:
        at = _date(value)
        if at is None:
            return None
        reference = _date(headers.get("Date", "")) or now or datetime.now(UTC)
        seconds = (at - reference).total_seconds()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


def _date(value: str) -> datetime | None:
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
