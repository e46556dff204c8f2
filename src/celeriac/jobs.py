"""A job's life: requested, started, ended one way or another, recovered.

`celeriac.paging` runs its pages, `celeriac.finish` its end. Every step reads from the catalog what
is to be done and may be run twice: a message that is lost is sent again by `recover`, one that
arrives twice finds nothing left to do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from celeriac import loading, logs
from celeriac.catalog.indexes import index_id_of
from celeriac.catalog.jobs import FINAL, Job, JobMode, JobState, class_of
from celeriac.catalog.pages import Trouble
from celeriac.catalog.requests import Request, Terms
from celeriac.counts import Counts
from celeriac.dispatch import LONGEST_WAIT, Dispatcher
from celeriac.endings import NOTHING, Ending
from celeriac.errors import (
    BrokerUnavailable,
    CeleriacError,
    ConfigurationError,
    NotFound,
    TransientError,
)
from celeriac.generations import ensure_collection, in_force
from celeriac.progress import START
from celeriac.removal import remove_dropped
from celeriac.retrying import require_jobs, writable_generation
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
    index_id = index_id_of(declared.tenant, declared.name)
    terms = Terms(declared.priority, declared.max_entities_per_second)
    request = runtime.catalog.requests.queue(
        index_id, declared.tenant, declared.name, removal_limit, terms=terms
    )
    runtime.job_names.note(request.job)
    if not request.joined:
        runtime.tracing.keep(request.job.id)
    if not (request.joined and runtime.announced.has(request.job.id)):
        # Where that fails the row stays: others may have joined it, and `recover` starts it.
        dispatcher.start_job(request.job.id)
        runtime.announced.note(request.job.id)
    return request


class JobRunner:
    """Takes jobs from one state to the next."""

    def __init__(self, runtime: Runtime, dispatcher: Dispatcher) -> None:
        self._runtime = runtime
        self._catalog = runtime.catalog
        self._dispatcher = dispatcher

    def ending(self, job_id: str, *, running: Ending) -> Ending:
        """How a step that starts or finishes a job ended, by the state that it left the job in;
        `running` where its pages are there and are run."""
        job = self._catalog.jobs.get(job_id)
        if job is None:
            return NOTHING
        if job.state == JobState.FAILED:
            return Ending.failed(job.message)
        if job.state in FINAL:
            return Ending.done(f"the job is {job.state}")
        if job.state == JobState.QUEUED:
            return Ending.later("the job is paused or waits for another of its index")
        if self._catalog.pages.count(job.id) == 0:
            return Ending.later("the job waits for a service")
        return running

    def start(self, job_id: str) -> None:
        """Take up a queued job, unless it is paused or another of its index runs or still has a
        page in hand."""
        job = self._catalog.jobs.get(job_id)
        if job is None or job.state in FINAL or job.paused:
            return
        if job.state == JobState.QUEUED:
            if self._catalog.pages.held_for_index(job.index_id, other_than=job.id):
                return
            job = self._catalog.jobs.take_up(job_id)
        if job is not None and self._catalog.pages.count(job.id) == 0:
            with (
                logs.about(job=job.id, tenant=job.tenant),
                self._runtime.tracing.span_of_job(job.id, "start"),
            ):
                self._plan(job)

    def _plan(self, job: Job) -> None:
        try:
            self._prepare(job)
        except TransientError as error:
            self._wait(job, error)
        except CeleriacError as error:
            self.fail(job.id, str(error), error)
        except Exception as error:
            logger.exception("planning failed", extra={"action": "start", "job": job.id})
            self.fail(job.id, f"{type(error).__name__}: {error}", error)

    def _prepare(self, job: Job) -> None:
        """Settle which generation the job writes, have its collection, send the first page."""
        declared = self._runtime.entity_type(job.tenant, job.entity_type)
        entity_type = in_force(self._runtime, declared)
        if job.mode == JobMode.RETRY:
            require_jobs(self._runtime, job)
            generation = writable_generation(self._runtime, job.index_id, entity_type)
        else:
            generation = self._catalog.indexes.generation_for(job.index_id, entity_type.spec)
        ensure_collection(self._runtime, generation, entity_type)
        self._catalog.jobs.plan(job.id, generation.number)
        loading.begin(self._runtime, generation)
        self._catalog.pages.add(job.id, 0, None)
        seen = self._catalog.jobs.seen(job.id)
        if seen is not None:
            self._runtime.progress.start(seen)
        self._send(lambda: self._dispatcher.index_page(job.id, 0))

    def _wait(self, job: Job, error: TransientError) -> None:
        waited = self._catalog.jobs.running_for(job.id)
        if waited > RETRY_FOR:
            self.fail(job.id, f"Given up after {waited:.0f} s: {error}", error)
        else:
            logger.warning(
                "job waits", extra={"action": "start", "job": job.id, "error": str(error)}
            )
            self.held_up(job.id, START, error, waited)

    def held_up(self, job_id: str, step: str, error: TransientError, seconds: float) -> None:
        """Announce that a step fails, and has for so long, and is tried again."""
        seen = self._catalog.jobs.seen(job_id)
        if seen is not None:
            trouble = Trouble(None, class_of(error), str(error), seen.at - seconds, seconds)
            self._runtime.progress.held_up(seen, step, trouble)

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

    def fail(self, job_id: str, message: str, error: Exception | None = None) -> None:
        """End a job with the reason why it cannot succeed, and the error, if it is one."""
        if self._catalog.jobs.fail(job_id, message, error):
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
        picture = self._runtime.progress.picture(job_id)
        if picture is not None and picture.load_seconds:
            self._catalog.jobs.loaded(job_id, picture.load_seconds)
        seen = self._catalog.jobs.seen(job_id)
        if seen is not None:
            self._runtime.progress.end(seen)
            Counts(self._runtime).end(seen.job)
            self._settle(seen.job)
        self.start_waiting(job_id)
        loading.end(self._runtime)

    def _settle(self, job: Job) -> None:
        """Bring the entries of a knowledge base's index in step with a job that ended."""
        index = self._catalog.knowledge_bases.index_by_key(job.tenant, job.entity_type)
        if index is None:
            return
        self._catalog.settlement.settle()
        if job.state == JobState.SUCCEEDED:
            self._catalog.settlement.forget_unlisted(index.id)
            self._catalog.documents.forget_unlisted(index.knowledge_base_id)

    def recover(self) -> None:
        """Send again what was lost: run regularly, by any number of processes."""
        standings = [one for one in self._catalog.standings.now() if not one.paused]
        # A message serves whichever page is next: none is missing where as many wait as pages do.
        lost = sum(one.waiting for one in standings if one.open) > self._dispatcher.depth()
        for one in standings:
            self._send_step(one.job_id, one.state)
            if lost and one.open:
                self._send_pages(one.job_id, silent_for=SILENCE)
        self._catalog.retention.clear_ended()
        self._catalog.settlement.settle()
        for index_id in self._catalog.generations.orphaned():
            self._catalog.generations.let_go(index_id)
        for index_id in self._catalog.settlement.unattended(SILENCE):
            self._attend(index_id)
        loading.end(self._runtime)
        remove_dropped(self._runtime)

    def _attend(self, index_id: str) -> None:
        """Request the job that a change of the index waits for."""
        index = self._catalog.indexes.get(index_id)
        try:
            request_job(self._runtime, self._dispatcher, index.tenant, index.entity_type)
        except ConfigurationError as error:
            logger.warning(
                "index cannot be had",
                extra={"action": "recover", "index": index_id, "error": str(error)},
            )

    def send_pending(self, job: Job) -> None:
        """Send whatever a job waits for, if it is to go on."""
        if not job.paused and job.state not in FINAL:
            self._send(lambda: self._send_step(job.id, job.state))
            self.send_pages(job)

    def send_pages(self, job: Job) -> None:
        """Send the pages a job waits for, so that they come as soon as its throttle lets them."""
        delay = min(self._catalog.steering.throttled_for(job.id), LONGEST_WAIT)
        if not job.paused:
            self._send(lambda: self._send_pages(job.id, delay=delay))

    def _send_step(self, job_id: str, state: JobState) -> None:
        """Send for the job's next step, where that is not a page."""
        if state == JobState.QUEUED or self._catalog.pages.count(job_id) == 0:
            self._dispatcher.start_job(job_id)
        elif self._catalog.rounds.all_done(job_id):
            self._dispatcher.finish_job(job_id)

    def _send_pages(self, job_id: str, *, silent_for: float = 0.0, delay: float = 0.0) -> None:
        for number in self._catalog.pages.take_lost(job_id, silent_for=silent_for):
            self._dispatcher.index_page(job_id, number, delay=delay)

    def _send(self, send: Callable[[], None]) -> None:
        try:
            send()
        except BrokerUnavailable as error:
            # The row says what is to be done: `recover` sends it once the broker is back.
            logger.warning("message not sent", extra={"action": "send", "error": str(error)})
