"""One page of a job: claimed, fetched, listed, indexed, committed; whatever goes wrong ends in
the catalog."""

from __future__ import annotations

import logging
import random
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from celeriac import logs
from celeriac.carried import Carried
from celeriac.catalog.indexes import Generation, GenerationState
from celeriac.catalog.jobs import Job, JobMode, Seen
from celeriac.catalog.pages import Claim
from celeriac.catalog.seals import leave_unlisted
from celeriac.configuration import EntityType
from celeriac.counts import Counts
from celeriac.dispatch import LONGEST_WAIT, Dispatcher
from celeriac.endings import NOTHING, Ending
from celeriac.entry_keeper import EntryKeeper
from celeriac.errors import (
    BrokerUnavailable,
    CeleriacError,
    CollectionMissing,
    ConfigurationError,
    DuplicateId,
    JobPaused,
    JobStopped,
    LeaseLost,
    StoreUnavailable,
    TransientError,
    TurnOver,
    WorkerStopping,
)
from celeriac.fetching import fetch
from celeriac.generations import ensure_collection, in_force
from celeriac.indexer import Indexer, Rendered
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
    Seal,
)
from celeriac.runtime import Runtime
from celeriac.sealing import counted, source_version
from celeriac.stages import Stage, Stages
from celeriac.tally import PageResult, Tally, entity_key
from celeriac.turns import PutOff, Turn, Turns

logger = logging.getLogger(__name__)

LONGEST_DELAY = 30.0
"""Seconds between two tries at most, unless the other side asks for more."""
MOST_CLAIMS = 6
"""Times a page is taken before it is held to bring its workers down."""


@dataclass(frozen=True, slots=True)
class _Listed:
    """A page's content, less what an earlier page lists too."""

    entities: tuple[Entity, ...]
    rendered: Rendered
    """The same entities."""
    failures: tuple[EntityFailure, ...]
    """Of the source: listed, but not to be had as entities."""
    repeated: dict[str, uuid.UUID]
    """Keys of the entities that an earlier page lists too, by entity id."""

    @property
    def counters(self) -> Counters:
        """What is known of the page before any of its entities is looked at."""
        refused = len(_refused(self.failures))
        return Counters(listed=len(self.entities) + refused, failed=refused)


@dataclass(frozen=True, slots=True)
class _Work:
    """What a page is indexed for, and into what."""

    job: Job
    entity_type: EntityType
    generation: Generation
    indexer: Indexer
    keeper: EntryKeeper
    stages: Stages


class PageRunner:
    """Runs pages with what a process's runtime holds."""

    def __init__(self, runtime: Runtime, dispatcher: Dispatcher, jobs: JobRunner) -> None:
        self._runtime = runtime
        self._catalog = runtime.catalog
        self._dispatcher = dispatcher
        self._jobs = jobs
        self._turns = Turns(runtime, self._send)
        self._counts = Counts(runtime)

    def run(self, job_id: str, number: int) -> Ending:
        """Index one page: this one, unless it is another's turn."""
        try:
            with self._turns.take(job_id, number, LEASE) as claim:
                return self._traced(claim) if claim is not None else NOTHING
        except PutOff as reason:
            return Ending.later(f"page {number} is put off: {reason}")

    def _traced(self, claim: Claim) -> Ending:
        page = {"celeriac.page": claim.number}
        with (
            logs.about(job=claim.job_id, page=claim.number),
            self._runtime.tracing.span_of_job(claim.job_id, "page", **page),
        ):
            return self._begin(claim)

    def _begin(self, claim: Claim) -> Ending:
        if claim.claims > MOST_CLAIMS:
            times = claim.claims - 1
            return self._fail(claim, f"Page {claim.number} brought its worker down {times} times.")
        with self._runtime.heartbeat.hold(lambda: self._catalog.pages.renew(claim, LEASE)):
            return self._attempt(claim)

    def _attempt(self, claim: Claim) -> Ending:
        page = f"page {claim.number} of job {claim.job_id}"
        try:
            self._run(claim)
        except LeaseLost:
            logger.warning("page was taken over", extra=_context(claim))
            ending = Ending.later(f"{page} was taken over by another worker")
        except JobStopped:
            self._catalog.pages.release(claim)
            self._jobs.start_waiting(claim.job_id)
            ending = Ending.done(f"{page}: the job has ended, nothing more is written")
        except JobPaused:
            self._catalog.pages.give_back(claim)
            self._runtime.progress.given_back(claim.job_id, claim.number)
            if not self._catalog.steering.is_paused(claim.job_id):
                self._send(claim.job_id, claim.number)  # it was resumed before that was done
            ending = Ending.later(f"{page}: the job is paused")
        except (WorkerStopping, TurnOver):
            ending = self._give_back(claim)
        except TransientError as error:
            ending = self._postpone(claim, error)
        except MemoryError:
            out = TransientError("A worker ran out of memory at this page.")
            ending = self._postpone(claim, out)
        except CeleriacError as error:
            ending = self._fail(claim, f"Page {claim.number}: {error}", error)
        except Exception as error:
            logger.exception("page failed", extra=_context(claim))
            if self._runtime.stopping.is_set():
                # What this process holds is being closed: no fault of the page.
                ending = self._give_back(claim)
            else:
                reason = f"Page {claim.number}: {type(error).__name__}: {error}"
                ending = self._fail(claim, reason, error)
        else:
            ending = Ending.done(f"{page} is committed")
        return ending

    def _give_back(self, claim: Claim) -> Ending:
        self._catalog.pages.give_back(claim)
        self._runtime.progress.given_back(claim.job_id, claim.number)
        self._send(claim.job_id, claim.number)
        return Ending.later(f"page {claim.number} of job {claim.job_id} makes way")

    def _fail(self, claim: Claim, reason: str, error: Exception | None = None) -> Ending:
        """Fail the job, unless the page is another worker's by now: then it is for that one to say.
        The lease goes first, or the job that waits would wait for it to run out."""
        if self._catalog.pages.release(claim):
            self._jobs.fail(claim.job_id, reason, error)
        return Ending.failed(f"job {claim.job_id}: {reason}")

    def _run(self, claim: Claim) -> None:
        turn = Turn()
        work = self._work_of(claim)
        self._runtime.progress.listing(claim.job_id, claim.number)
        seal = self._seal(claim, work)
        if seal is not None:
            self._leave_unlisted(claim, work, seal)
            return
        with work.stages.time(Stage.LIST) as step:
            page = fetch(self._runtime, work.job, work.entity_type, claim)
            step.items = len(page.entities) + len(page.failures)
        if page.disturbed:
            self._catalog.seals.disturb(claim.job_id)
        listed = self._list(work, claim, page)
        work.keeper.begin(listed.entities)
        self._expect(claim, page)
        self._show_listed(claim, work, page, listed)
        result = self._index(claim, work, listed, turn)
        self._commit(claim, work, page, listed, result)

    def _seal(self, claim: Claim, work: _Work) -> Seal | None:
        """The live generation's, where the source is as it was then and nothing of it is listed
        yet. Another generation has a gate to pass first, with what is listed."""
        first = claim.cursor is None and claim.round == 1 and work.job.mode == JobMode.REINDEX
        if not first or work.keeper.keeps:
            return None
        version = source_version(self._runtime, work.entity_type)
        if version is None:
            return None
        begins = self._catalog.seals.note_version(claim, version)
        seal = work.generation.seal if work.keeper.live else None
        same = seal is not None and seal.source == version.content
        return seal if same and begins else None

    def _leave_unlisted(self, claim: Claim, work: _Work, seal: Seal) -> None:
        """Commit the only page without listing it: the job's end looks at the index."""
        counters = counted(seal)
        self._catalog.jobs.expect(claim.job_id, seal.entities)
        seen = self._catalog.pages.commit(
            claim,
            counters,
            (),
            (),
            is_last=True,
            also=lambda connection: leave_unlisted(connection, claim.job_id),
        )
        self._committed(claim, work, seen, counters, ())

    def _expect(self, claim: Claim, page: Page) -> None:
        """Have it known how much there is to come, where the first page says so."""
        expected = page.total if page.total is not None else page.estimate
        if expected is not None and _tells_more(claim.number):
            self._catalog.jobs.expect(claim.job_id, expected)
            seen = self._catalog.jobs.seen(claim.job_id)
            if seen is not None:
                self._runtime.progress.changed(seen)

    def _show_listed(self, claim: Claim, work: _Work, page: Page, listed: _Listed) -> None:
        counted, is_last = listed.counters, page.next_cursor is None
        self._runtime.progress.page(
            claim.job_id, claim.number, counted, work.stages.take(), is_last=is_last
        )

    def _index(self, claim: Claim, work: _Work, listed: _Listed, turn: Turn) -> PageResult:
        carried, tally = Carried.of_json(claim.carried), Tally(work.stages)
        try:
            result = work.indexer.index(
                listed.rendered,
                lambda so_far: self._checkpoint(claim, work, listed, turn, so_far),
                tally,
            )
        except (WorkerStopping, JobPaused, TurnOver):
            done = carried.and_then(tally.result(work.indexer.partition), tally.settled)
            self._catalog.pages.carry(claim, done.as_json())
            raise
        except CollectionMissing as error:
            if work.job.mode == JobMode.RETRY:
                raise  # it does not write all that the collection had
            raise StoreUnavailable(str(error)) from error
        return carried.added_to(result)

    def _checkpoint(
        self, claim: Claim, work: _Work, listed: _Listed, turn: Turn, tally: Tally
    ) -> None:
        if self._runtime.stopping.is_set():
            raise WorkerStopping
        if self._catalog.pages.renew(claim, LEASE):
            raise JobPaused
        self._turns.require(claim.job_id, turn, tally.counters)
        progress = self._runtime.progress
        if turn.is_to_be_told():
            counted = replace(tally.counters, listed=0) + listed.counters
            progress.page(claim.job_id, claim.number, counted, tally.stages.take())
        if work.keeper.keeps and tally.shares:
            progress.entries(claim.job_id, tally.shares)

    def _work_of(self, claim: Claim) -> _Work:
        job = self._catalog.jobs.get(claim.job_id)
        if job is None or job.generation is None:
            raise JobStopped
        logs.add(tenant=job.tenant)
        self._runtime.tracing.note(**{"celeriac.tenant": job.tenant})
        declared = self._runtime.entity_type(job.tenant, job.entity_type)
        entity_type = in_force(self._runtime, declared)
        generation = self._catalog.indexes.generation(job.index_id, job.generation)
        if generation.spec_digest != entity_type.spec.digest:
            raise ConfigurationError(
                f"The configuration of {job.tenant}/{job.entity_type} changed while the job ran, "
                "or differs between workers; reindex once all of them run the same."
            )
        if job.mode == JobMode.REINDEX:
            ensure_collection(self._runtime, generation, entity_type)
        keeper = EntryKeeper(
            self._catalog, entity_type, job, generation.state == GenerationState.LIVE
        )
        stages = Stages(
            self._counts.stage, lambda stage: self._at_stage(claim, entity_type.spec.model, stage)
        )
        indexer = self._runtime.indexer(entity_type, generation)
        return _Work(job, entity_type, generation, indexer, keeper, stages)

    @contextmanager
    def _at_stage(self, claim: Claim, model: str, stage: str) -> Iterator[None]:
        """Have traces and watchers know what the page is at."""
        with ExitStack() as stack:
            stack.enter_context(self._runtime.tracing.span(stage))
            if stage == Stage.LOAD:
                progress = self._runtime.progress
                stack.enter_context(progress.loading(claim.job_id, claim.number, model))
            yield

    def _list(self, work: _Work, claim: Claim, page: Page) -> _Listed:
        """Record what the page lists and send the next one on its way."""
        partition = work.generation.partition
        rendered = work.indexer.render(page.entities)
        ids = [entity.id for entity in page.entities]
        ids += [failure.entity_id for failure in page.failures if failure.entity_id is not None]
        keys = {entity_id: entity_key(partition, entity_id) for entity_id in ids}
        fingerprints = {one.id: fingerprint for one, fingerprint in rendered.entities}
        earlier = self._catalog.pages.list_entities(
            claim, {key: fingerprints.get(one) for one, key in keys.items()}, page.next_cursor
        )
        delay = self._charge(work.job, len(page.entities) + len(page.failures))
        if page.next_cursor is not None:
            self._send(claim.job_id, claim.number + 1, delay)
        repeated = {entity_id: key for entity_id, key in keys.items() if key in earlier}
        return _Listed(
            entities=tuple(one for one in page.entities if one.id not in repeated),
            rendered=rendered.without(repeated) if repeated else rendered,
            failures=tuple(one for one in page.failures if one.entity_id not in repeated),
            repeated=repeated,
        )

    def _charge(self, job: Job, entities: int) -> float:
        """Charge a throttled job for what it listed; for how long its next message is put off."""
        if job.throttle is None:
            return 0.0
        return min(self._catalog.steering.charge(job.id, entities), LONGEST_WAIT)

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
        self, claim: Claim, work: _Work, page: Page, listed: _Listed, result: PageResult
    ) -> None:
        refused = _refused(listed.failures)
        partition = work.generation.partition
        counters = Counters(listed=len(refused), failed=len(refused), bytes=page.bytes_read)
        failures = [*result.failures, *listed.failures, *_repetition_failures(claim, listed)]
        seen = self._catalog.pages.commit(
            claim,
            result.counters + counters,
            [
                *result.listed,
                *_unreadable(partition, refused),
                *_repetitions(listed),
                *_gone(partition, page),
            ],
            failures,
            is_last=page.next_cursor is None,
            also=work.keeper.recorder(partition, listed.entities, result, refused),
        )
        self._committed(claim, work, seen, result.counters + counters, failures)

    def _committed(
        self,
        claim: Claim,
        work: _Work,
        seen: Seen,
        counters: Counters,
        failures: Sequence[EntityFailure],
    ) -> None:
        """Tell everybody, and have the job finished if this was the last page."""
        self._counts.page(seen.job, counters, failures)
        errors = self._catalog.job_errors.first(claim.job_id) if failures else None
        self._runtime.progress.committed(seen, claim.number, work.stages.take(), errors)
        if self._catalog.rounds.all_done(claim.job_id):
            self._dispatcher.finish_job(claim.job_id)

    def _postpone(self, claim: Claim, error: TransientError) -> Ending:
        delay = max(_delay(claim.postponed), error.retry_after or 0)
        trouble = self._catalog.pages.postpone(claim, delay, error)
        if trouble is not None and trouble.seconds > RETRY_FOR:
            reason = f"Page {claim.number}, given up after {trouble.seconds:.0f} s: {error}"
            self._jobs.fail(claim.job_id, reason, error)
            return Ending.failed(f"job {claim.job_id}: {reason}")
        self._counts.retry(error)
        self._runtime.tracing.note(**{"error.type": type(error).__name__})
        self._runtime.progress.given_back(claim.job_id, claim.number, trouble)
        logger.warning("page is tried again", extra={**_context(claim), "error": str(error)})
        self._send(claim.job_id, claim.number, delay)
        return Ending.later(f"page {claim.number} of job {claim.job_id} is tried again: {error}")


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


def _gone(partition: Partition, page: Page) -> list[ListedEntity]:
    return [ListedEntity(entity_key(partition, one), Outcome.GONE) for one in page.gone]


def _repetition_failures(claim: Claim, listed: _Listed) -> list[EntityFailure]:
    if claim.round > 1:
        return []  # a second listing lists everything again
    message = f"Listed again on page {claim.number}; what an earlier page listed is indexed."
    return [EntityFailure.of(entity_id, DuplicateId(message)) for entity_id in listed.repeated]


def _tells_more(number: int) -> bool:
    """Whether a page knows much more than those before it of how many entities there are: each
    that has twice as many before it does."""
    return number & (number - 1) == 0


def _delay(postponed: int) -> float:
    """Exponential backoff with full jitter, seconds."""
    return random.uniform(0.5, min(LONGEST_DELAY, 2.0 ** min(postponed, 10)))  # noqa: S311


def _context(claim: Claim) -> dict[str, object]:
    return {"action": "page", "job": claim.job_id, "page": claim.number}
