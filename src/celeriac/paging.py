"""One page of a job: claimed, fetched, listed, indexed, committed; whatever goes wrong ends in
the catalog."""

from __future__ import annotations

import logging
import random
import uuid
from dataclasses import dataclass

from celeriac.catalog.indexes import Generation
from celeriac.catalog.jobs import Job
from celeriac.catalog.pages import Claim
from celeriac.configuration import EntityType
from celeriac.dispatch import Dispatcher
from celeriac.errors import (
    BrokerUnavailable,
    CeleriacError,
    ConfigurationError,
    DuplicateId,
    JobStopped,
    LeaseLost,
    TransientError,
    WorkerStopping,
)
from celeriac.jobs import RETRY_FOR, JobRunner
from celeriac.leases import LEASE
from celeriac.model import (
    Counters,
    Entity,
    EntityFailure,
    ListedEntity,
    Outcome,
    Page,
    Partition,
)
from celeriac.runtime import Runtime
from celeriac.tally import PageResult, entity_key

logger = logging.getLogger(__name__)

LONGEST_DELAY = 30.0
"""Seconds between two tries at most, unless the other side asks for more."""
MOST_CLAIMS = 6
"""Times a page is taken before it is held to bring its workers down."""


@dataclass(frozen=True, slots=True)
class _Listed:
    """A page's content, less what an earlier page lists too."""

    entities: tuple[Entity, ...]
    failures: tuple[EntityFailure, ...]
    """Of the source: listed, but not to be had as entities."""
    repeated: dict[str, uuid.UUID]
    """Keys of the entities that an earlier page lists too, by entity id."""


class PageRunner:
    """Runs pages with what a process's runtime holds."""

    def __init__(self, runtime: Runtime, dispatcher: Dispatcher, jobs: JobRunner) -> None:
        self._runtime = runtime
        self._catalog = runtime.catalog
        self._dispatcher = dispatcher
        self._jobs = jobs

    def run(self, job_id: str, number: int) -> None:
        """Index one page if it is free."""
        claim = self._catalog.pages.claim(job_id, number, LEASE)
        if claim is None:
            return
        if claim.claims > MOST_CLAIMS:
            self._fail(claim, f"Page {number} brought its worker down {claim.claims - 1} times.")
            return
        with self._runtime.heartbeat.hold(lambda: self._catalog.pages.renew(claim, LEASE)):
            self._attempt(claim)

    def _attempt(self, claim: Claim) -> None:
        try:
            self._run(claim)
        except LeaseLost:
            logger.warning("page was taken over", extra=_context(claim))
        except JobStopped:
            self._catalog.pages.release(claim)
            self._jobs.start_waiting(claim.job_id)
        except WorkerStopping:
            self._give_back(claim)
        except TransientError as error:
            self._postpone(claim, error)
        except MemoryError:
            self._postpone(claim, TransientError("A worker ran out of memory at this page."))
        except CeleriacError as error:
            self._fail(claim, f"Page {claim.number}: {error}")
        except Exception as error:
            logger.exception("page failed", extra=_context(claim))
            if self._runtime.stopping.is_set():
                # What this process holds is being closed: no fault of the page.
                self._give_back(claim)
            else:
                self._fail(claim, f"Page {claim.number}: {type(error).__name__}: {error}")

    def _give_back(self, claim: Claim) -> None:
        self._catalog.pages.give_back(claim)
        self._send(claim.job_id, claim.number)

    def _fail(self, claim: Claim, reason: str) -> None:
        """Fail the job, unless the page is another worker's by now: then it is for that one to say.
        The lease goes first, or the job that waits would wait for it to run out."""
        if self._catalog.pages.release(claim):
            self._jobs.fail(claim.job_id, reason)

    def _run(self, claim: Claim) -> None:
        job, entity_type, generation = self._work_of(claim)
        page = self._runtime.source(entity_type).page(claim.cursor)
        listed = self._list(claim, generation.partition, page)
        expected = page.total if page.total is not None else page.estimate
        if expected is not None and claim.number == 0:
            self._catalog.jobs.expect(job.id, expected)

        def checkpoint(counted: Counters) -> None:
            if self._runtime.stopping.is_set():
                raise WorkerStopping
            self._catalog.pages.renew(claim, LEASE)
            self._runtime.progress.page(job.id, claim.number, counted)

        result = self._runtime.indexer(entity_type, generation).index(listed.entities, checkpoint)
        self._commit(claim, generation.partition, page, listed, result)

    def _work_of(self, claim: Claim) -> tuple[Job, EntityType, Generation]:
        job = self._catalog.jobs.get(claim.job_id)
        if job is None or job.generation is None:
            raise JobStopped
        entity_type = self._runtime.entity_type(job.tenant, job.entity_type)
        generation = self._catalog.indexes.generation(job.index_id, job.generation)
        if generation.spec_digest != entity_type.spec.digest:
            raise ConfigurationError(
                f"The configuration of {job.tenant}/{job.entity_type} changed while the job ran, "
                "or differs between workers; reindex once all of them run the same."
            )
        return job, entity_type, generation

    def _list(self, claim: Claim, partition: Partition, page: Page) -> _Listed:
        """Record what the page lists and send the next one on its way."""
        ids = [entity.id for entity in page.entities]
        ids += [failure.entity_id for failure in page.failures if failure.entity_id is not None]
        keys = {entity_id: entity_key(partition, entity_id) for entity_id in ids}
        earlier = self._catalog.pages.list_entities(claim, keys.values(), page.next_cursor)
        if page.next_cursor is not None:
            self._send(claim.job_id, claim.number + 1)
        repeated = {entity_id: key for entity_id, key in keys.items() if key in earlier}
        return _Listed(
            entities=tuple(one for one in page.entities if one.id not in repeated),
            failures=tuple(one for one in page.failures if one.entity_id not in repeated),
            repeated=repeated,
        )

    def _send(self, job_id: str, number: int, delay: float = 0) -> None:
        try:
            self._dispatcher.index_page(job_id, number, delay=delay)
        except BrokerUnavailable as error:
            # Its row is written: `recover` sends it once the broker is back.
            logger.warning(
                "message not sent",
                extra={"action": "send", "job": job_id, "page": number, "error": str(error)},
            )

    def _commit(
        self, claim: Claim, partition: Partition, page: Page, listed: _Listed, result: PageResult
    ) -> None:
        refused = _refused(listed.failures)
        counters = Counters(listed=len(refused), failed=len(refused), bytes=page.bytes_read)
        self._catalog.pages.commit(
            claim,
            result.counters + counters,
            [*result.listed, *_unreadable(partition, refused), *_repetitions(listed)],
            [*result.failures, *listed.failures, *_repetition_failures(claim, listed)],
            is_last=page.next_cursor is None,
        )
        self._runtime.progress.committed(claim.job_id, claim.number)
        if self._catalog.pages.all_done(claim.job_id):
            self._dispatcher.finish_job(claim.job_id)

    def _postpone(self, claim: Claim, error: TransientError) -> None:
        delay = max(_delay(claim.postponed), error.retry_after or 0)
        failing_for = self._catalog.pages.postpone(claim, delay, str(error))
        if failing_for > RETRY_FOR:
            self._jobs.fail(
                claim.job_id, f"Page {claim.number}, given up after {failing_for:.0f} s: {error}"
            )
            return
        logger.warning("page is tried again", extra={**_context(claim), "error": str(error)})
        self._send(claim.job_id, claim.number, delay)


def _refused(failures: tuple[EntityFailure, ...]) -> list[EntityFailure]:
    """Failures that stand for an entity: a second occurrence of one id does not."""
    return [one for one in failures if one.error_class != DuplicateId.__name__]


def _unreadable(partition: Partition, refused: list[EntityFailure]) -> list[ListedEntity]:
    """What the index holds of an entity that cannot be read now stays: it is still listed."""
    return [
        ListedEntity(entity_key(partition, one.entity_id), Outcome.FAILED)
        for one in refused
        if one.entity_id is not None
    ]


def _repetitions(listed: _Listed) -> list[ListedEntity]:
    return [ListedEntity(key, Outcome.REPEATED) for key in listed.repeated.values()]


def _repetition_failures(claim: Claim, listed: _Listed) -> list[EntityFailure]:
    if claim.round > 1:
        return []  # a second listing lists everything again
    message = f"Listed again on page {claim.number}; what an earlier page listed is indexed."
    return [EntityFailure.of(entity_id, DuplicateId(message)) for entity_id in listed.repeated]


def _delay(postponed: int) -> float:
    """Exponential backoff with full jitter, seconds."""
    return random.uniform(0.5, min(LONGEST_DELAY, 2.0 ** min(postponed, 10)))  # noqa: S311


def _context(claim: Claim) -> dict[str, object]:
    return {"action": "page", "job": claim.job_id, "page": claim.number}
