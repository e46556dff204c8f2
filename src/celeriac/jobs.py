"""A job's life: requested, started, ended one way or another, recovered.

`celeriac.paging` runs its pages, `celeriac.finish` its end. Every step reads from the catalog what
is to be done and may be run twice: a message that is lost is sent again by `recover`, one that
arrives twice finds nothing left to do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from celeriac.catalog.jobs import FINAL, Job, JobState, Request
from celeriac.dispatch import Dispatcher
from celeriac.errors import BrokerUnavailable, CeleriacError, NotFound, TransientError
from celeriac.generations import in_force
from celeriac.removal import remove_dropped
from celeriac.runtime import Runtime

logger = logging.getLogger(__name__)

RETRY_FOR = 900.0
"""Seconds that a step may keep failing for want of a service before its job fails."""
SILENCE = 30.0
"""Seconds after which a message that nobody took up is held to be lost."""


def request_job(
    runtime: Runtime,
    dispatcher: Dispatcher,
    tenant: str,
    entity_type: str,
    *,
    removal_limit: float | None = None,
) -> Request:
    """Queue a reindex of an entity type, or join the one that waits, and announce it.

    Raises:
        NotFound: the tenant or the entity type is not declared.
        DependencyUnavailable: the catalog or the broker is away. A job that was queued before the
            broker refused stays: others may have joined it, and it runs once the broker is back.
    """
    declared = runtime.entity_type(tenant, entity_type)
    index_id = runtime.catalog.indexes.ensure(declared.tenant, declared.name)
    request = runtime.catalog.jobs.request(index_id, declared.tenant, declared.name, removal_limit)
    # Where that fails the row stays: others may have joined it, and `recover` starts it.
    dispatcher.start_job(request.job.id)
    return request


class JobRunner:
    """Takes jobs from one state to the next."""

    def __init__(self, runtime: Runtime, dispatcher: Dispatcher) -> None:
        self._runtime = runtime
        self._catalog = runtime.catalog
        self._dispatcher = dispatcher

    def start(self, job_id: str) -> None:
        """Take up a queued job, unless another of its index runs or still has a page in hand."""
        job = self._catalog.jobs.get(job_id)
        if job is None or job.state in FINAL:
            return
        if job.state == JobState.QUEUED:
            if self._catalog.pages.held_for_index(job.index_id, other_than=job.id):
                return
            job = self._catalog.jobs.take_up(job_id)
        if job is not None and self._catalog.pages.count(job.id) == 0:
            self._plan(job)

    def _plan(self, job: Job) -> None:
        try:
            self._prepare(job)
        except TransientError as error:
            self._wait(job, error)
        except CeleriacError as error:
            self.fail(job.id, str(error))
        except Exception as error:
            logger.exception("planning failed", extra={"action": "start", "job": job.id})
            self.fail(job.id, f"{type(error).__name__}: {error}")

    def _prepare(self, job: Job) -> None:
        """Settle which generation the job writes, have its collection, send the first page."""
        declared = self._runtime.entity_type(job.tenant, job.entity_type)
        entity_type = in_force(self._runtime, declared)
        generation = self._catalog.indexes.generation_for(job.index_id, entity_type.spec)
        self._runtime.store.ensure_collection(
            generation.collection, entity_type.spec.dimension, entity_type.spec.filter_fields
        )
        self._catalog.jobs.plan(job.id, generation.number)
        self._catalog.pages.add(job.id, 0, None)
        self._runtime.progress.start(job.id)
        self._send(lambda: self._dispatcher.index_page(job.id, 0))

    def _wait(self, job: Job, error: TransientError) -> None:
        waited = self._catalog.jobs.running_for(job.id)
        if waited > RETRY_FOR:
            self.fail(job.id, f"Given up after {waited:.0f} s: {error}")
        else:
            logger.warning(
                "job waits", extra={"action": "start", "job": job.id, "error": str(error)}
            )

    def cancel(self, job_id: str) -> Job:
        """Cancel a job that has not ended; nothing is written for it after its next checkpoint.

        Raises:
            NotFound: there is no such job.
        """
        if self._catalog.jobs.cancel(job_id):
            self._ended(job_id)
        job = self._catalog.jobs.get(job_id)
        if job is None:
            raise NotFound(f"There is no job {job_id!r}.")
        return job

    def fail(self, job_id: str, message: str) -> None:
        """End a job with the reason why it cannot succeed."""
        if self._catalog.jobs.fail(job_id, message):
            logger.error("job failed", extra={"action": "fail", "job": job_id, "reason": message})
            self._ended(job_id)

    def succeeded(self, job_id: str) -> None:
        """Announce a job whose index was found to equal its source."""
        logger.info("job succeeded", extra={"action": "succeed", "job": job_id})
        self._ended(job_id)

    def start_waiting(self, job_id: str) -> None:
        """Let the job start that waits for this one's index."""
        job = self._catalog.jobs.get(job_id)
        waiting = self._catalog.jobs.waiting(job.index_id) if job else None
        if waiting is not None:
            self._send(lambda: self._dispatcher.start_job(waiting.id))

    def _ended(self, job_id: str) -> None:
        job = self._catalog.jobs.get(job_id)
        if job is not None:
            self._runtime.progress.end(job_id, job.state, job.counters)
        self.start_waiting(job_id)

    def recover(self) -> None:
        """Send again what was lost: run regularly, by any number of processes."""
        for job in self._catalog.jobs.in_state(JobState.QUEUED):
            self._dispatcher.start_job(job.id)
        for job in self._catalog.jobs.in_state(JobState.RUNNING):
            self._recover(job)
        self._catalog.listings.clear_ended()
        remove_dropped(self._runtime)

    def _recover(self, job: Job) -> None:
        if self._catalog.pages.count(job.id) == 0:
            self._dispatcher.start_job(job.id)
        elif self._catalog.pages.all_done(job.id):
            self._dispatcher.finish_job(job.id)
        for number in self._catalog.pages.take_lost(job.id, silent_for=SILENCE):
            self._dispatcher.index_page(job.id, number)

    def _send(self, send: Callable[[], None]) -> None:
        try:
            send()
        except BrokerUnavailable as error:
            # The row says what is to be done: `recover` sends it once the broker is back.
            logger.warning("message not sent", extra={"action": "send", "error": str(error)})
