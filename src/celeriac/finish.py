"""The end of a job: sweep what the source no longer lists, verify, switch, report.

Runs once every page is committed, under a lease; interrupted, it is begun again. Only after it
found that the store holds every listed entity's chunks, with the listed fingerprints, and nothing
else, does the job succeed. A generation that is to go live passes `celeriac.gate` first.
"""

from __future__ import annotations

import logging
import math
import uuid
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

from celeriac import loading, logs
from celeriac.catalog.indexes import Generation
from celeriac.catalog.jobs import Job, JobMode
from celeriac.dispatch import Dispatcher
from celeriac.endings import NOTHING, Ending
from celeriac.errors import (
    CeleriacError,
    CollectionMissing,
    JobPaused,
    JobStopped,
    TransientError,
    VerificationFailed,
    WorkerStopping,
)
from celeriac.gate import Gate, refuse_mass_removal, removal_limit
from celeriac.jobs import RETRY_FOR, JobRunner
from celeriac.leases import LEASE
from celeriac.lookups import MOST_LOOKUPS, begin_lookups, missed_by_rebuild, to_look_up
from celeriac.model import Counters, Seal
from celeriac.progress import FINISH
from celeriac.reindexed import Comparison, ReindexedEntities, pages_to_write_again
from celeriac.removal import remove_dropped
from celeriac.retried import Found, RetriedEntities
from celeriac.runtime import Runtime
from celeriac.sealing import UNLISTED, holds, seal_of
from celeriac.sources.base import Source

logger = logging.getLogger(__name__)

RETRY_DELAY = 5.0
"""Seconds until a finish that failed for want of a service is tried again."""


AGAIN = Ending.later("pages of the job are run again")


class Finisher:
    """Finishes jobs whose pages are all committed."""

    def __init__(self, runtime: Runtime, dispatcher: Dispatcher, jobs: JobRunner) -> None:
        self._runtime = runtime
        self._catalog = runtime.catalog
        self._dispatcher = dispatcher
        self._jobs = jobs

    def run(self, job_id: str) -> Ending:
        """Finish the job, unless it is paused, a page is open, or another worker is at it."""
        job = self._catalog.jobs.get(job_id)
        if job is None:
            return NOTHING
        with (
            logs.about(job=job_id, tenant=job.tenant),
            self._runtime.tracing.span_of_job(job_id, "finish"),
            self._runtime.slots.hold(job.tenant) as held,
        ):
            if held:
                return self._claim(job_id)
            send = partial(self._dispatcher.finish_job, job_id)
            self._runtime.slots.park(("finish", job_id), send, {job.tenant})
        return Ending.later("no thread is free for its tenant")

    def _claim(self, job_id: str) -> Ending:
        token = str(uuid.uuid4())
        if not self._catalog.rounds.all_done(job_id):
            return NOTHING
        if not self._catalog.jobs.claim_finish(job_id, token, LEASE):
            return NOTHING

        def renew() -> None:
            if not self._catalog.jobs.renew_finish(job_id, token, LEASE):
                raise JobStopped

        def checkpoint() -> None:
            if self._runtime.stopping.is_set():
                raise WorkerStopping
            renew()
            if self._catalog.steering.is_paused(job_id):
                raise JobPaused

        with self._runtime.heartbeat.hold(renew):
            return self._attempt(job_id, token, checkpoint)

    def _attempt(self, job_id: str, token: str, checkpoint: Callable[[], None]) -> Ending:
        job = self._catalog.jobs.get(job_id)
        if job is None:
            return NOTHING
        try:
            self._finish_or_write_again(job, token, checkpoint)
            ending = self._jobs.ending(job_id, running=AGAIN)
        except JobStopped:
            logger.warning("finish was stopped", extra={"action": "finish", "job": job_id})
            self._catalog.jobs.release_finish(job_id, token)
            self._jobs.start_waiting(job_id)
            ending = Ending.done("the job has ended, nothing more is written")
        except WorkerStopping:
            self._catalog.jobs.release_finish(job_id, token)
            self._dispatcher.finish_job(job_id)
            ending = Ending.later("the worker stops")
        except JobPaused:
            self._catalog.jobs.release_finish(job_id, token)
            if not self._catalog.steering.is_paused(job_id):
                self._dispatcher.finish_job(job_id)  # it was resumed before that was done
            ending = Ending.later("the job is paused")
        except CollectionMissing as error:
            ending = self._fail(job_id, token, str(error), error)
        except TransientError as error:
            ending = self._postpone(job, error)
        except CeleriacError as error:
            ending = self._fail(job_id, token, str(error), error)
        except Exception as error:
            logger.exception("finish failed", extra={"action": "finish", "job": job_id})
            ending = self._fail(job_id, token, f"{type(error).__name__}: {error}", error)
        finally:
            self._catalog.jobs.release_finish(job_id, token)
        return ending

    def _fail(self, job_id: str, token: str, reason: str, error: Exception) -> Ending:
        """Fail the job, unless another worker finishes it by now."""
        if self._catalog.jobs.release_finish(job_id, token):
            self._jobs.fail(job_id, reason, error)
        return Ending.failed(reason)

    def _postpone(self, job: Job, error: TransientError) -> Ending:
        waited = self._catalog.pages.idle_for(job.id)
        if waited > RETRY_FOR:
            reason = f"Given up after {waited:.0f} s: {error}"
            self._jobs.fail(job.id, reason, error)
            return Ending.failed(reason)
        self._jobs.held_up(job.id, FINISH, error, waited)
        logger.warning(
            "finish is tried again", extra={"action": "finish", "job": job.id, "error": str(error)}
        )
        self._dispatcher.finish_job(job.id, delay=error.retry_after or RETRY_DELAY)
        return Ending.later(f"finish is tried again: {error}")

    def _finish_or_write_again(self, job: Job, token: str, checkpoint: Callable[[], None]) -> None:
        """Finish the job; where its collection is gone, what was written is written again."""
        try:
            self._finish(job, token, checkpoint)
        except CollectionMissing:
            if not self._run_again(job, token, pages_to_write_again(self._catalog, job)):
                raise

    def _finish(self, job: Job, token: str, checkpoint: Callable[[], None]) -> None:
        if job.generation is None:
            raise JobStopped
        generation = self._catalog.indexes.generation(job.index_id, job.generation)
        if self._run_again(job, token, self._catalog.listings.unclaimed_pages(job.id)):
            return
        loading.end(self._runtime, besides=job.id)
        if job.mode == JobMode.RETRY:
            self._finish_retry(job, generation, token, checkpoint)
        elif self._catalog.seals.is_unlisted(job.id):
            self._finish_unlisted(job, generation, token, checkpoint)
        else:
            self._finish_reindex(job, generation, token, checkpoint)

    def _finish_reindex(
        self, job: Job, generation: Generation, token: str, checkpoint: Callable[[], None]
    ) -> None:
        entities = ReindexedEntities(self._runtime, job, generation.partition, checkpoint)
        found = entities.compare()
        checkpoint()
        if self._list_again(job):
            return
        if self._run_again(job, token, entities.pages_to_mend(found)):
            return
        if self._look_up(job, generation, token, found, checkpoint):
            return
        self._refuse_total_failure(job)
        entities.sweep(found)
        if self._run_again(job, token, entities.verify(found)):
            return
        passed = self._pass_gate(job, generation, found, checkpoint)
        seal = self._seal(job, found)
        checkpoint()
        twice = self._catalog.listings.overcounted(job.id)
        self._switch(job, generation, token, twice.negated(), seal=seal, **passed)

    def _switch(
        self, job: Job, generation: Generation, token: str, counted: Counters, **also: Any
    ) -> None:
        """Have searches read the generation from now on, whatever they read so far."""
        index, number = generation.index_id, generation.number
        if not self._catalog.indexes.switch(index, number, job.id, token, counted, **also):
            raise JobStopped
        self._jobs.succeeded(job.id)
        remove_dropped(self._runtime)

    def _seal(self, job: Job, found: Comparison) -> Seal | None:
        entity_type = self._runtime.entity_type(job.tenant, job.entity_type)
        return seal_of(self._runtime, job, entity_type, found.staying, found.ids)

    def _finish_unlisted(
        self, job: Job, generation: Generation, token: str, checkpoint: Callable[[], None]
    ) -> None:
        seal = generation.seal
        if seal is None or not holds(self._runtime.store, generation, seal, checkpoint):
            self._catalog.seals.list_after_all(job, token)
            self._dispatcher.index_page(job.id, 0)
            return
        checkpoint()
        self._switch(job, generation, token, Counters(), seal=seal, message=UNLISTED)

    def _pass_gate(
        self,
        job: Job,
        generation: Generation,
        found: Comparison,
        checkpoint: Callable[[], None],
    ) -> dict[str, Any]:
        """What the catalog keeps of a switch to a new generation; nothing where it is live."""
        live = self._catalog.indexes.live(job.index_id)
        if live is not None and live.number == generation.number:
            return {}
        gate = Gate(self._runtime, job, generation, checkpoint)
        passed = gate.open(live, found.sample, entities=found.matching, chunks=found.staying.points)
        points = None if live is None else self._runtime.store.count(live.partition)
        return {"gate": asdict(passed), "points": points}

    def _finish_retry(
        self, job: Job, generation: Generation, token: str, checkpoint: Callable[[], None]
    ) -> None:
        retried = RetriedEntities(self._runtime, job, generation.partition, checkpoint)
        found = retried.compare()
        checkpoint()
        if found.unlisted and self._list_again(job):
            return
        if self._run_again(job, token, sorted(found.to_mend)):
            return
        if found.gone:
            retried.require_sound_lookups(self._source(job))
        if found.to_remove:
            self._refuse_removal_of_retried(job, retried, found)
        retried.remove()
        self._refuse_total_failure(job)
        self._require_live(generation)
        counted_twice = self._catalog.listings.overcounted(job.id).negated()
        message = retried.summary(found, counted_twice)
        if not self._catalog.retries.succeed(job.id, token, counted_twice, message):
            raise JobStopped
        self._jobs.succeeded(job.id)

    def _refuse_removal_of_retried(self, job: Job, retried: RetriedEntities, found: Found) -> None:
        limit = removal_limit(self._runtime, job)
        enough = found.to_remove / limit + 1 if limit else math.inf
        indexed = retried.count_indexed(enough)
        refuse_mass_removal(self._runtime, job, found.to_remove, indexed)

    def _source(self, job: Job) -> Source:
        return self._runtime.source(self._runtime.entity_type(job.tenant, job.entity_type))

    def _require_live(self, generation: Generation) -> None:
        """A retry's generation is the one that searches read, to its end."""
        live = self._catalog.indexes.live(generation.index_id)
        if live is None or live.number != generation.number:
            raise VerificationFailed(
                "The index was switched to another generation while the retry ran; retry again."
            )

    def _run_again(self, job: Job, token: str, numbers: list[int]) -> bool:
        if not numbers:
            return False
        self._catalog.pages.reopen(job.id, token, numbers)
        for number in numbers:
            self._dispatcher.index_page(job.id, number)
        return True

    def _list_again(self, job: Job) -> bool:
        """Where a listing can skip an entity, what it missed is not there only if a second
        complete listing misses it too."""
        if self._source(job).stable_listing:
            return False
        number = self._catalog.rounds.begin_second_round(job.id)
        if number is None:
            return False
        self._dispatcher.index_page(job.id, number)
        return True

    def _look_up(
        self,
        job: Job,
        generation: Generation,
        token: str,
        found: Comparison,
        checkpoint: Callable[[], None],
    ) -> bool:
        """Where both listings may have skipped an entity, ask for it by its id before it is
        removed: one that is there is indexed with the pages that ask."""
        source = to_look_up(self._source(job))
        if source is None:
            return False
        missed = found.unlisted + missed_by_rebuild(self._runtime, job, generation, checkpoint)
        if not missed or len(missed) > MOST_LOOKUPS:
            return False
        refuse_mass_removal(self._runtime, job, found.gone, found.markers)
        for number in begin_lookups(self._runtime, job, token, source, missed):
            self._dispatcher.index_page(job.id, number)
        return True

    def _refuse_total_failure(self, job: Job) -> None:
        """Where not one entity could be indexed something is wrong with more than the entities."""
        counted = job.counters
        if counted.listed and counted.failed == counted.listed:
            first = self._catalog.job_errors.first(job.id, limit=1)[0]
            raise VerificationFailed(
                f"None of the {counted.listed} listed entities could be indexed. The first: "
                f"{first.entity_id or 'one without an id'}: {first.error_class}: {first.message}"
            )
