"""Why a job does not move, said plainly. Of other tenants it tells that they are there, no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from celeriac.catalog.jobs import Job, JobState
from celeriac.catalog.pages import Trouble
from celeriac.catalog.standings import Standing
from celeriac.errors import (
    ModelUnavailable,
    RemovalRefused,
    SourceUnavailable,
    StoreUnavailable,
)
from celeriac.picture import Cause, Loading, Picture, Waiting
from celeriac.turns import in_turn, wants_thread

SLOW = 10.0
"""Seconds after which a source that has not answered is said to be slow."""

_FAILING = {
    SourceUnavailable.__name__: (Cause.SOURCE, "The source has been failing"),
    ModelUnavailable.__name__: (Cause.MODEL, "The embedding model has been unavailable"),
    StoreUnavailable.__name__: (Cause.STORE, "Qdrant has been unavailable"),
}
"""By the class of the last error."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a job and of what else there is to do."""

    job: Job
    troubles: Sequence[Trouble]
    listing_for: float
    """Seconds for which a page has been awaited from the source."""
    loading: Loading | None
    standings: Sequence[Standing]
    workers: int | None
    """How many are alive; None where Redis cannot say."""


def at_a_glance(picture: Picture) -> Waiting | None:
    """What holds up a job that workers are at, by what they say of it."""
    job = picture.job
    found = _troubled(picture.troubles) or _loaded(picture.loading) or _slow(picture.listing_for)
    if found is None and job.throttle is not None and not picture.pages_in_hand:
        return _throttled(job)
    return found


def explain(facts: Facts) -> Waiting | None:
    """What holds up a job that no worker has said anything of lately; None where nothing does."""
    job = facts.job
    own = next((one for one in facts.standings if one.job_id == job.id), None)
    if own is None:
        return None
    if job.paused:
        return _paused(job)
    if own.behind is not None:
        return Waiting(Cause.JOB, f"Job {own.behind} runs over the same index; this one is next.")
    if facts.workers == 0:
        return Waiting(Cause.WORKER, "No worker is alive; start one: celery -A workers worker.")
    return (
        _troubled(facts.troubles)
        or (_throttled(job) if own.throttled_for > 0 else None)
        or (None if own.held else _in_line(own, facts.standings))
        or _loaded(facts.loading)
        or _slow(facts.listing_for)
    )


def confirmation(job: Job) -> Waiting | None:
    """What an ended job waits for: that somebody confirms what it did not dare to remove."""
    if job.state != JobState.FAILED or job.error_class != RemovalRefused.__name__:
        return None
    path = f"POST /jobs/{job.id}/confirm-removal"
    return Waiting(Cause.CONFIRMATION, f"Waits for a confirmation of the removal: {path}.")


def _paused(job: Job) -> Waiting:
    by = f" by {job.paused_by}" if job.paused_by else ""
    since = _clock(job.paused_at or 0.0)
    return Waiting(Cause.PAUSE, f"Paused{by} since {since}; it goes on when it is resumed.")


def _throttled(job: Job) -> Waiting:
    rate = f"{job.throttle or 0.0:g}"
    return Waiting(Cause.THROTTLE, f"Throttled to {rate} entities a second.")


def _troubled(troubles: Sequence[Trouble]) -> Waiting | None:
    if not troubles:
        return None
    first = troubles[0]
    cause, what = _FAILING.get(first.error_class, (Cause.RETRY, "Retrying"))
    text = f"{what} since {_clock(first.since)}: {first.error_class}: {first.message}"
    return Waiting(cause, text)


def _loaded(loading: Loading | None) -> Waiting | None:
    if loading is None:
        return None
    since = _clock(loading.since)
    text = f"The embedding model {loading.model} is being loaded since {since}; on a new machine"
    return Waiting(Cause.MODEL, f"{text} its speed is measured too.")


def _slow(listing_for: float) -> Waiting | None:
    if listing_for < SLOW:
        return None
    return Waiting(Cause.SOURCE, f"The source has not answered for {listing_for:.0f} s.")


def _in_line(own: Standing, standings: Sequence[Standing]) -> Waiting | None:
    """Its place among the jobs that wait for a thread."""
    line = in_turn(filter(wants_thread, standings), standings)
    if own not in line:
        return None
    position = line.index(own) + 1
    ahead = line[0] if position > 1 else max(standings, key=lambda one: one.held)
    if ahead is own or not (ahead.held or position > 1):
        text = "Waits for a worker with a free thread."
    else:
        text = f"Waits for a free thread behind {_named(ahead, own)}."
    return Waiting(Cause.TURN, text, position)


def _named(other: Standing, own: Standing) -> str:
    if other.tenant != own.tenant:
        return "another tenant's work"
    return f"job {other.job_id} of tenant {other.tenant}"


def _clock(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
