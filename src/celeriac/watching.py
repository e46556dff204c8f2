"""How a job stands, for whoever watches it.

While workers say something of a running job, one read of Redis tells all. When they fall silent,
when Redis does not know the job, and once it has ended, the catalog is asked; what it says of a job
that does not move is kept in Redis for a moment, for others who ask.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from redis.exceptions import RedisError

from celeriac.catalog.jobs import FINAL, Job, JobState, Seen
from celeriac.catalog.pages import Trouble
from celeriac.model import Counters, EntityFailure
from celeriac.picture import Picture, Waiting
from celeriac.runtime import Runtime
from celeriac.stages import Stage, Timing
from celeriac.waiting import Facts, at_a_glance, confirmation, explain

logger = logging.getLogger(__name__)

SILENCE = 10.0
"""Seconds after which workers that said nothing of a running job are asked about no more."""
BELIEVED = 1.0
"""Seconds for which what the catalog said of a job is believed."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A job as it stands."""

    job: Job
    counters: Counters
    """Of committed pages and of those in hand."""
    errors: Sequence[EntityFailure]
    message: str
    """Of a job that has ended, why; else what it tries again."""
    waiting: Waiting | None
    stages: Mapping[Stage, Timing] = field(default_factory=dict)

    @property
    def tenant(self) -> str:
        return self.job.tenant


class Watch:
    """Looks at jobs."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def job(self, job_id: str) -> Watched | None:
        """The job as it stands; None where there is none.

        Raises:
            CatalogUnavailable: Redis does not know it, and the catalog cannot be asked.
        """
        picture = self._runtime.progress.picture(job_id)
        if picture is not None and picture.job.state not in FINAL:
            if _moves(picture):
                return _shown(picture, at_a_glance(picture))
            if picture.looked_for is not None and picture.looked_for < BELIEVED:
                return _shown(picture, picture.waiting)
        return self._look(job_id, picture)

    def _look(self, job_id: str, picture: Picture | None) -> Watched | None:
        catalog = self._runtime.catalog
        seen = catalog.jobs.seen(job_id)
        if seen is None:
            return None
        errors = catalog.job_errors.first(job_id)
        stages = picture.stages if picture else {}
        if seen.job.state in FINAL:
            job = seen.job
            waiting = confirmation(job) if self._is_latest(job) else None
            return Watched(job, job.counters, errors, job.message, waiting, stages)
        return self._diagnosed(seen, errors, picture)

    def _diagnosed(
        self, seen: Seen, errors: Sequence[EntityFailure], picture: Picture | None
    ) -> Watched:
        troubles = self._troubles(seen.job, picture)
        facts = Facts(
            job=seen.job,
            troubles=troubles,
            listing_for=picture.listing_for if picture else 0.0,
            loading=picture.loading if picture else None,
            standings=self._runtime.catalog.standings.now(),
            workers=self._workers(),
        )
        waiting = explain(facts)
        self._runtime.progress.found(seen, errors, troubles, waiting)
        counters = seen.job.counters + (picture.in_hand if picture else Counters())
        expected = picture.job.expected if picture else seen.job.expected
        load_seconds = picture.load_seconds if picture else 0.0
        return Watched(
            job=replace(seen.job, expected=expected, load_seconds=load_seconds),
            counters=counters,
            errors=errors,
            message=_message(troubles),
            waiting=waiting,
            stages=picture.stages if picture else {},
        )

    def _troubles(self, job: Job, picture: Picture | None) -> list[Trouble]:
        """Of pages by the catalog, of other steps by Redis, which alone has them."""
        of_steps = [one for one in picture.troubles if one.page is None] if picture else []
        return of_steps + self._runtime.catalog.pages.troubles(job.id)

    def _workers(self) -> int | None:
        try:
            return self._runtime.workers.count()
        except RedisError as error:
            logger.warning("workers not counted", extra={"action": "watch", "error": str(error)})
            return None

    def _is_latest(self, job: Job) -> bool:
        """Whether no later job of the index has made up for it."""
        latest = self._runtime.catalog.jobs.of_index(job.index_id, limit=1)
        return not latest or latest[0].id == job.id


def _moves(picture: Picture) -> bool:
    """Whether workers say something of it."""
    runs = picture.job.state == JobState.RUNNING and not picture.job.paused
    return runs and picture.silent_for is not None and picture.silent_for < SILENCE


def _shown(picture: Picture, waiting: Waiting | None) -> Watched:
    return Watched(
        job=replace(picture.job, load_seconds=picture.load_seconds),
        counters=picture.job.counters + picture.in_hand,
        errors=picture.errors,
        message=_message(picture.troubles),
        waiting=waiting,
        stages=picture.stages,
    )


def _message(troubles: Sequence[Trouble]) -> str:
    return str(troubles[0]) if troubles else ""
