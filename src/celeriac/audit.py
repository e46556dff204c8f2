"""Source and index held against each other entity by entity, and what differs repaired."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from celeriac.catalog.indexes import Generation, IndexRow
from celeriac.catalog.jobs import JobState
from celeriac.chunking import Chunker, SplitText
from celeriac.comparison import Comparison, Findings, content_of
from celeriac.configuration import EntityType
from celeriac.errors import ConfigurationError, TransientError
from celeriac.generations import in_force, index_of, live_generation
from celeriac.leases import Renew
from celeriac.ledger import Ledger, Listed, temporary_ledger
from celeriac.model import Counters, EntityFailure, Outcome
from celeriac.rendering import Renderer
from celeriac.repairing import Hold, Repair, Repairer, holding
from celeriac.runtime import Runtime
from celeriac.survey import Survey, SurveyedPage

FIRST_ERRORS = 10

Checkpoint = Callable[[int], None]
"""Called after each page with the entities listed so far; may raise to end the audit."""


@dataclass(frozen=True, slots=True)
class Audit:
    """How the live generation compares with the source."""

    tenant: str
    entity_type: str
    index_id: str
    generation: int
    listed: int
    """Entities of the source."""
    failed: int
    """Those that cannot be indexed; what the index holds of them stays and is no difference."""
    errors: tuple[EntityFailure, ...]
    """Why, for the first of them."""
    indexed: int
    """Entities that have a marker."""
    points: int
    found: Findings
    disturbed: bool
    """Whether a job of the index ran meanwhile: what it was at may show as a difference."""
    repair: Repair | None = None
    """None where none was asked for or nothing was to be repaired."""

    @property
    def equal(self) -> bool:
        """Whether the index equals the source now."""
        return (self.repair.remaining if self.repair else self.found).count == 0


def audit(
    runtime: Runtime,
    tenant: str,
    entity_type: str,
    *,
    repair: bool = False,
    checkpoint: Checkpoint | None = None,
) -> Audit:
    """Compare every entity of the source with every point of the live generation.

    Entities are rendered and cut again, so a chunk whose text is not what the source gives is
    found even where all fingerprints are right. Vectors are not computed again. A source whose
    listing can skip an entity is listed twice.

    With `repair`, exactly the differing entities are mended, as `celeriac.repairing` says.

    Raises:
        NotFound: the entity type is not declared, or nothing is indexed for it yet.
        ConfigurationError: the declaration is not that of the live generation.
        SourceUnavailable, SourceError: the source cannot be listed to its end.
        TransientError: repairing, a job of the index runs or waits.
        RemovalRefused: repairing would remove more than one job may; nothing was repaired.
    """
    declared = in_force(runtime, runtime.entity_type(tenant, entity_type))
    index, generation = _live(runtime, declared)
    heard = checkpoint or (lambda _: None)
    with temporary_ledger() as ledger:
        auditor = _Auditor(runtime, declared, generation, ledger, heard)
        if repair:
            return _repaired(runtime, index, auditor)
        before = _latest(runtime, index)
        auditor.run(lambda: None)
        disturbed = _latest(runtime, index) != before or (before is not None and before[1])
        return auditor.result(disturbed=disturbed)


def _live(runtime: Runtime, declared: EntityType) -> tuple[IndexRow, Generation]:
    index, live = index_of(runtime, declared), live_generation(runtime, declared)
    name = f"{declared.tenant}/{declared.name}"
    if live.spec_digest != declared.spec.digest:
        raise ConfigurationError(
            f"{name} is declared otherwise than its live generation {live.number} was built, so "
            f"all of it differs; see what changed with: celeriac plan {name.replace('/', ' ')}"
        )
    return index, live


def _latest(runtime: Runtime, index: IndexRow) -> tuple[str, bool] | None:
    """The index's newest job and whether any of its jobs runs."""
    jobs = runtime.catalog.jobs
    latest = jobs.of_index(index.id, limit=1)
    running = bool(jobs.of_index(index.id, JobState.RUNNING, limit=1))
    return (latest[0].id, running) if latest else None


def _repaired(runtime: Runtime, index: IndexRow, auditor: _Auditor) -> Audit:
    """Audit and repair while the index is held, so that what was found still stands."""
    with holding(runtime, index, auditor.generation) as hold:
        live = runtime.catalog.indexes.live(index.id)
        if live is None or live.number != auditor.generation.number:
            raise TransientError("A job has just switched the index to another generation; repeat.")
        auditor.run(hold.renew)
        repair = auditor.repair(hold) if auditor.found.count else None
        audit = auditor.result(disturbed=False, repair=repair)
        done = repair.counters if repair else Counters()
        unchanged = audit.listed - audit.failed - done.indexed - done.failed
        seen = Counters(listed=audit.listed, unchanged=unchanged, failed=audit.failed)
        hold.end(seen + replace(done, listed=0), audit.equal)
    return audit


class _Auditor:
    """Lists the source, reads the index, and keeps both in a ledger."""

    def __init__(
        self,
        runtime: Runtime,
        declared: EntityType,
        generation: Generation,
        ledger: Ledger,
        heard: Checkpoint,
    ) -> None:
        self.generation = generation
        self._runtime = runtime
        self._declared = declared
        self._source = runtime.source(declared)
        self._survey = Survey(self._source, Renderer(declared.spec), ledger)
        self._chunker = Chunker(declared.spec.splitting, runtime.counter(declared.spec.model))
        self._ledger = ledger
        self._comparison = Comparison(ledger)
        self._heard = heard
        self._listed = self._failed = 0
        self._errors: list[EntityFailure] = []

    def run(self, renew: Renew) -> None:
        """List and compare."""
        self._list(renew, again=False)
        if not self._source.stable_listing:
            self._list(renew, again=True)
        self._compare(renew)

    def repair(self, hold: Hold) -> Repair:
        """Mend what was found, and compare once more."""
        repairer = Repairer(
            self._runtime,
            self._declared,
            self.generation,
            survey=self._survey,
            comparison=self._comparison,
            hold=hold,
        )
        counters, failures = repairer.run(self._note_content)
        remaining = self._comparison.run(self._runtime.store, self.generation.partition, hold.renew)
        return Repair(hold.job_id, counters, failures, remaining)

    def result(self, *, disturbed: bool, repair: Repair | None = None) -> Audit:
        return Audit(
            tenant=self._declared.tenant,
            entity_type=self._declared.name,
            index_id=self.generation.index_id,
            generation=self.generation.number,
            listed=self._listed,
            failed=self._failed,
            errors=tuple(self._errors),
            indexed=self._indexed,
            points=self._points,
            found=self.found,
            disturbed=disturbed,
            repair=repair,
        )

    def _list(self, renew: Renew, *, again: bool) -> None:
        for page in self._survey.pages(again=again):
            renew()
            self._note_content(page)
            self._listed += page.listed
            self._failed += page.failed
            self._errors += page.failures[: FIRST_ERRORS - len(self._errors)]
            self._heard(self._listed)

    def _note_content(self, page: SurveyedPage) -> None:
        """Note what the chunks of a page's entities must say."""
        splits = self._chunker.split_many([one.text for one, _ in page.rendered])
        self._ledger.record(
            Listed(one.id, page.number, Outcome.INDEXED, fingerprint, _content(split))
            for (one, fingerprint), split in zip(page.rendered, splits, strict=True)
        )

    def _compare(self, renew: Renew) -> None:
        partition = self.generation.partition
        self.found = self._comparison.run(self._runtime.store, partition, renew)
        self._indexed = self._comparison.markers
        self._points = self._comparison.points


def _content(split: SplitText) -> int:
    count = len(split.chunks)
    return content_of((chunk.number, count, chunk.text) for chunk in split.chunks)
