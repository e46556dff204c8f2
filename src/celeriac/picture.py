"""A job as Redis has it, in one read, and what holds it up."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from celeriac.catalog.jobs import FINAL, Job, JobMode, JobState
from celeriac.catalog.pages import Trouble
from celeriac.model import Counters, EntityFailure, Priority, Selection
from celeriac.stages import Stage, Timing


class Cause(StrEnum):
    """What holds a job up."""

    PAUSE = "pause"
    THROTTLE = "throttle"
    JOB = "job"
    """Another one over the same index."""
    TURN = "turn"
    """Every thread has other work."""
    WORKER = "worker"
    """None is alive."""
    SOURCE = "source"
    MODEL = "model"
    STORE = "store"
    RETRY = "retry"
    """Something else failed and is tried again."""
    CONFIRMATION = "confirmation"
    """Of a removal."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a job does not move."""

    cause: Cause
    text: str
    position: int | None = None
    """Among the jobs that wait for a thread, from 1; None where it does not wait for one."""


@dataclass(frozen=True, slots=True)
class Loading:
    """That pages wait for the embedding model to be loaded."""

    model: str
    since: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What the hash of a job says. Of one that has ended the catalog knows more."""

    job: Job
    """As the catalog had it last; its counters are those of committed pages. Once the whole source
    is listed, so many are expected."""
    in_hand: Counters
    """What the pages that are not committed yet counted so far."""
    pages_in_hand: int
    errors: tuple[EntityFailure, ...]
    """The first of the job."""
    troubles: tuple[Trouble, ...]
    """The longest first."""
    stages: Mapping[Stage, Timing]
    listing_for: float
    """Seconds for which a page has been awaited from the source; 0 where none is."""
    loading: Loading | None
    """None where no page waits for the model."""
    load_seconds: float
    """For how long nothing was embedded because the model was loaded."""
    silent_for: float | None
    """Seconds since a worker said something of the job; None where none ever did."""
    waiting: Waiting | None
    """What was found to hold the job up when it was looked for last."""
    looked_for: float | None
    """Seconds since that was looked for; None where it was not."""


def picture_of(fields: Mapping[str, str], now: float) -> Picture:
    """The picture in the hash's fields; `now` by Redis's clock."""
    pages = [json.loads(value) for value in _below(fields, "page:")]
    troubles = [Trouble(**json.loads(value)) for value in _below(fields, "trouble:")]
    job = _job_of(json.loads(fields["job"]))
    in_hand = sum((Counters(**page) for page in pages), Counters())
    if "all_listed" in fields and job.state not in FINAL:
        job = replace(job, expected=(job.counters + in_hand).listed)
    return Picture(
        job=job,
        in_hand=in_hand,
        pages_in_hand=len(pages),
        errors=tuple(EntityFailure(**one) for one in json.loads(fields.get("errors", "[]"))),
        troubles=tuple(sorted(troubles, key=lambda one: one.since)),
        stages={stage: _timing_of(fields, stage) for stage in Stage},
        listing_for=max((now - float(one) for one in _below(fields, "listing:")), default=0.0),
        loading=_loading_of(fields),
        load_seconds=_load_seconds(fields, (job.counters + in_hand).embedded, now),
        silent_for=_age(fields.get("updated"), now),
        waiting=_waiting_of(json.loads(fields.get("waiting", "null"))),
        looked_for=_age(fields.get("waiting_at"), now),
    )


def _below(fields: Mapping[str, str], prefix: str) -> Iterator[str]:
    return (value for name, value in fields.items() if name.startswith(prefix))


def _age(moment: str | None, now: float) -> float | None:
    return None if moment is None else max(now - float(moment), 0.0)


def _timing_of(fields: Mapping[str, str], stage: Stage) -> Timing:
    items, seconds = fields.get(f"items:{stage}", "0"), fields.get(f"seconds:{stage}", "0")
    return Timing(int(items), float(seconds))


def _loading_of(fields: Mapping[str, str]) -> Loading | None:
    since = min(map(float, _below(fields, "loading:")), default=None)
    return None if since is None else Loading(fields["model"], since)


def _load_seconds(fields: Mapping[str, str], embedded: int, now: float) -> float:
    """Of the loads that are over, and of those that all of the job waits for."""
    waiting = (
        name.removeprefix("before:")
        for name, before in fields.items()
        if name.startswith("before:") and int(before) == embedded
    )
    marks = (fields.get(f"loading:{page}") for page in waiting)
    since = min((float(mark) for mark in marks if mark is not None), default=now)
    waited = now - max(since, float(fields.get("loaded", 0)))
    return float(fields.get("load_seconds", 0)) + max(waited, 0.0)


def _waiting_of(values: dict[str, Any] | None) -> Waiting | None:
    return Waiting(**{**values, "cause": Cause(values["cause"])}) if values else None


def _job_of(values: dict[str, Any]) -> Job:
    converted: dict[str, Any] = {
        "state": JobState(values["state"]),
        "mode": JobMode(values["mode"]),
        "retries": tuple(Selection(**one) for one in values["retries"]),
        "priority": Priority(values["priority"]),
        "counters": Counters(**values["counters"]),
    }
    return Job(**{**values, **converted})
