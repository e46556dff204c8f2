"""The repair of exactly those entities that an audit found to differ.

It runs as a job of its own, `celeriac.catalog.repairs`: from before the source is listed until the
index was compared a second time no other job of the index can start. When its process dies, that
job's page is taken up like any other, as the first of an ordinary reindex.

The order is such that this reindex finishes what was begun: markers of damaged entities are voided,
so that nothing takes them for sound any more; chunks that no marker accounts for are deleted; what
does not belong in the index is removed, markers last; the rest goes through the indexer. A repair
that died before it voided anything leaves the index as it was, and the reindex, which trusts
markers, mends only what a count of chunks shows: repair again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from celeriac.catalog.indexes import Generation, IndexRow
from celeriac.catalog.pages import Claim
from celeriac.catalog.repairs import Repairs
from celeriac.comparison import Comparison, Findings
from celeriac.configuration import EntityType
from celeriac.errors import CeleriacError, JobStopped, RemovalRefused
from celeriac.indexer import remove_entities
from celeriac.leases import LEASE
from celeriac.model import Counters, EntityFailure
from celeriac.runtime import Runtime
from celeriac.survey import Survey, SurveyedPage

FIRST_FAILURES = 100
PAUSE_CHECK = 0.5
"""Seconds between two looks whether a paused repair was resumed."""


@dataclass(frozen=True, slots=True)
class Repair:
    """What was done about the differences."""

    job_id: str
    """The job under which it was done."""
    counters: Counters
    """Of the entities that were indexed again or removed."""
    failures: tuple[EntityFailure, ...]
    """The first of the entities that could not be indexed."""
    remaining: Findings
    """What the comparison after it found."""


class Hold:
    """An index that no job but this repair's writes to."""

    def __init__(self, runtime: Runtime, claim: Claim) -> None:
        self.job_id = claim.job_id
        self._catalog = runtime.catalog
        self._claim = claim

    def keep(self) -> None:
        """Renew the lease; raises JobStopped or LeaseLost when the index is no longer held."""
        self._catalog.pages.renew(self._claim, LEASE)

    def renew(self) -> None:
        """Before each step, as `keep`, but only once the job is not paused."""
        while self._catalog.steering.is_paused(self.job_id):
            time.sleep(PAUSE_CHECK)
        self.keep()

    def end(self, counters: Counters, equal: bool) -> None:
        """End the job with what it did.

        Raises:
            JobStopped: it was cancelled meanwhile.
        """
        if not equal:
            self._catalog.jobs.fail(
                self.job_id, "The repair left differences: entities that fail or keep changing."
            )
        elif not Repairs(self._catalog.database).succeed(self._claim, counters):
            raise JobStopped

    def give_up(self, error: BaseException) -> None:
        """End the job with the reason, unless it is another's by now."""
        reason = str(error) or type(error).__name__
        # Where the catalog is away the lease runs out, and a worker finishes with a reindex.
        with suppress(CeleriacError):
            self.keep()
            self._catalog.jobs.fail(self.job_id, f"The repair was broken off: {reason}")

    def release(self) -> None:
        with suppress(CeleriacError):
            self._catalog.pages.release(self._claim)


@contextmanager
def holding(runtime: Runtime, index: IndexRow, generation: Generation) -> Iterator[Hold]:
    """Hold an index while it is repaired.

    A job that is requested meanwhile waits and is started by the next recovery.

    Raises:
        TransientError: a job of the index runs or waits.
    """
    claim = Repairs(runtime.catalog.database).begin(index, generation, LEASE)
    hold = Hold(runtime, claim)
    try:
        with runtime.heartbeat.hold(hold.keep):
            yield hold
    except BaseException as error:
        hold.give_up(error)
        raise
    finally:
        # After the job has ended: a free page of a running job is taken up by a worker.
        hold.release()


class Repairer:
    """Mends one generation while its index is held."""

    def __init__(
        self,
        runtime: Runtime,
        declared: EntityType,
        generation: Generation,
        *,
        survey: Survey,
        comparison: Comparison,
        hold: Hold,
    ) -> None:
        self._declared = declared
        self._partition = generation.partition
        self._store = runtime.store
        self._indexer = runtime.indexer(declared, generation)
        self._survey = survey
        self._comparison = comparison
        self._hold = hold

    def run(
        self, noted: Callable[[SurveyedPage], None]
    ) -> tuple[Counters, tuple[EntityFailure, ...]]:
        """Mend what the comparison found; `noted` is called with each page that is read again.

        Raises:
            RemovalRefused: too much would be removed; nothing was touched.
        """
        spec = self._declared.spec
        self._refuse_mass_removal()
        self._store.ensure_collection(
            self._partition.collection, spec.dimension, spec.filter_fields
        )
        self._void()
        self._delete_strays()
        removed = self._remove()
        counters, failures = self._index(noted)
        return counters + Counters(removed=removed), failures

    def _refuse_mass_removal(self) -> None:
        removals, markers = self._comparison.count_to_remove(), self._comparison.markers
        limit = self._declared.removal_limit
        if removals > limit * markers:
            raise RemovalRefused(
                f"The source no longer lists {removals} of the {markers} indexed entities, more "
                f"than the {limit:.0%} that one job may remove. Nothing was repaired. If that is "
                f"right, confirm it: celeriac confirm-removal {self._hold.job_id}, or "
                f"POST /jobs/{self._hold.job_id}/confirm-removal."
            )

    def _delete_strays(self) -> None:
        if not self._comparison.has_strays():
            return
        for chunks in self._store.scan(self._partition):
            strays = self._comparison.strays(chunks)
            self._hold.renew()
            if strays:
                self._store.delete_chunks(self._partition, strays)

    def _void(self) -> None:
        for markers in self._comparison.to_void(self._partition):
            self._hold.renew()
            self._store.void(self._partition, {one.entity_id: one.chunk_count for one in markers})

    def _remove(self) -> int:
        removed = 0
        for markers in self._comparison.to_remove(self._partition):
            self._hold.renew()
            remove_entities(self._store, self._partition, markers)
            removed += len(markers)
        return removed

    def _index(
        self, noted: Callable[[SurveyedPage], None]
    ) -> tuple[Counters, tuple[EntityFailure, ...]]:
        counters = Counters()
        failures: list[EntityFailure] = []
        for number in self._comparison.pages_to_index():
            wanted = self._comparison.ids_to_index(number)
            entities, page = self._survey.read_again(number, wanted)
            noted(page)
            result = self._indexer.index(
                self._indexer.render(entities), lambda _: self._hold.renew()
            )
            counters += result.counters
            failures += result.failures[: FIRST_FAILURES - len(failures)]
        return counters, tuple(failures)
