"""What a reindex would do, without doing it: nothing is written to Qdrant or the catalog."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from celeriac.catalog.indexes import (
    USABLE,
    Generation,
    GenerationState,
    collection_of,
    index_id_of,
)
from celeriac.catalog.jobs import JobState
from celeriac.catalog.specs import SpecChange, spec_changes
from celeriac.chunking import Chunker, SplitText
from celeriac.configuration import EntityType
from celeriac.errors import NotFound
from celeriac.generations import in_force
from celeriac.indexer import GROUP_CHUNKS
from celeriac.ledger import Ledger, temporary_ledger
from celeriac.model import EntityFailure, Outcome, Partition, RenderedEntity
from celeriac.rendering import Renderer
from celeriac.runtime import Runtime
from celeriac.store.base import VOID, Marker, VectorStore
from celeriac.survey import Survey, SurveyedPage
from celeriac.throughput import Throughput, throughput_of

FIRST_ERRORS = 10
LAST_JOBS = 20
_MASS_REMOVAL = "The index would lose more than one job may remove: that has to be confirmed."
"""Succeeded jobs whose speed is looked at."""

Checkpoint = Callable[[int], None]
"""Called after each page with the entities listed so far; may raise to end the planning."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a reindex would do now. Entities are counted once each:
    listed = added + changed + unchanged + failed."""

    tenant: str
    entity_type: str
    index_id: str
    generation: int
    """The generation that would be written."""
    live_generation: int | None
    """The generation that searches read; None before the first job succeeded."""
    builds: bool
    """Whether the one written is not the live one: searches then see it when it is complete."""
    changes: tuple[SpecChange, ...]
    """What differs from the spec of the live generation: why another one is built."""
    rejected: int | None
    """The generation that was built as it is declared, where that was rolled back from: the live
    one is gone on with instead."""
    listed: int
    added: int
    changed: int
    unchanged: int
    failed: int
    emptied: int
    """Of the failed ones, those that leave the index because they have no text any more."""
    removed: int
    """Entities of the index that the source does not list, and half-written ones that cannot be
    indexed any more."""
    removal_refused: bool
    """Whether the job would fail because that, or what a new generation would lack of the live
    one, is more than one job may take out of an index unconfirmed."""
    errors: tuple[EntityFailure, ...]
    """The first ones."""
    chunks_to_embed: int
    tokens_to_embed: int
    """tiktoken tokens of the chunks to embed."""
    chunks_reused: int
    """Chunks of added and changed entities whose vector is there or computed once for several."""
    refusal: str | None
    """Why the job would fail; None where it would not."""
    throughput: Throughput | None
    """Of this index's last succeeded jobs; None where there is none."""
    expected_seconds: float | None
    """None where that was never measured."""


@dataclass(slots=True)
class _Counts:
    listed: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    failed: int = 0
    emptied: int = 0
    removed: int = 0
    markers: int = 0
    """Markers that the generation has now."""
    live_markers: int = 0
    """Markers of the live generation, where another one is built."""
    lost: int = 0
    """Those of them whose entities the new one would not have."""
    chunks_to_embed: int = 0
    tokens_to_embed: int = 0
    chunks_reused: int = 0
    errors: list[EntityFailure] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Target:
    """The generation that a reindex would write."""

    partition: Partition
    exists: bool
    live: Generation | None
    changes: tuple[SpecChange, ...]
    rejected: int | None

    @property
    def replaced(self) -> Partition | None:
        """The live generation, where it is another one."""
        live, target = self.live, self.partition
        if live is None or live.number == target.generation:
            return None
        return live.partition


def plan(
    runtime: Runtime, tenant: str, entity_type: str, *, checkpoint: Checkpoint | None = None
) -> Plan:
    """List the whole source and compare it with the generation that a reindex would write.

    A source whose listing can skip an entity is listed twice, as a job does. Texts that the model
    turns out not to take are found only by embedding them.

    Raises:
        NotFound: the entity type is not declared.
        SourceUnavailable, SourceError: the source cannot be listed to its end.
        StoreUnavailable, CatalogUnavailable: Qdrant or the catalog is away.
    """
    written = runtime.entity_type(tenant, entity_type)
    declared = in_force(runtime, written)
    index_id = index_id_of(declared.tenant, declared.name)
    generations = runtime.catalog.generations.of_index(index_id)
    target = _target(declared, written.spec.digest, index_id, generations)
    with temporary_ledger() as ledger:
        counts = _Planner(runtime, declared, target, ledger).run(checkpoint or (lambda _: None))
    return _plan(declared, target, counts, throughput(runtime, declared))


def _target(
    declared: EntityType, written: str, index_id: str, generations: Sequence[Generation]
) -> _Target:
    """As `Indexes.generation_for`, which would make the row."""
    spec = declared.spec
    ours = [one for one in generations if one.spec_digest == spec.digest and one.state in USABLE]
    found = next(iter(ours), None)
    live = next((one for one in generations if one.state == GenerationState.LIVE), None)
    rejected = [one for one in generations if one.rejected_at and one.spec_digest == written]
    number = found.number if found else 1 + max((one.number for one in generations), default=0)
    return _Target(
        partition=Partition(collection_of(spec, index_id), index_id, number),
        exists=found is not None,
        live=live,
        changes=spec_changes(live.values, spec) if live and live.number != number else (),
        rejected=rejected[0].number if rejected else None,
    )


class _Planner:
    """Goes through the source and the markers once, and counts."""

    def __init__(
        self, runtime: Runtime, declared: EntityType, target: _Target, ledger: Ledger
    ) -> None:
        self._source = runtime.source(declared)
        self._store = _Reader(runtime.store, target)
        self._survey = Survey(self._source, Renderer(declared.spec), ledger)
        self._chunker = Chunker(declared.spec.splitting, runtime.counter(declared.spec.model))
        self._digest = declared.spec.chunk_digest
        self._ledger = ledger
        self._counts = _Counts()

    def run(self, checkpoint: Checkpoint) -> _Counts:
        self._list(checkpoint, again=False)
        if not self._source.stable_listing:
            self._list(checkpoint, again=True)
        self._count_removed()
        self._count_lost()
        return self._counts

    def _list(self, checkpoint: Checkpoint, *, again: bool) -> None:
        for page in self._survey.pages(again=again):
            self._count_page(page)
            checkpoint(self._counts.listed)

    def _count_page(self, page: SurveyedPage) -> None:
        counts = self._counts
        counts.listed += page.listed
        counts.failed += page.failed
        counts.errors += page.failures[: FIRST_ERRORS - len(counts.errors)]
        counts.emptied += len(self._store.markers(page.empty))
        markers = self._store.markers([one.id for one, _ in page.rendered])
        changed = []
        for one, fingerprint in page.rendered:
            marker = markers.get(one.id)
            if marker is None:
                counts.added += 1
            elif marker.fingerprint == fingerprint:
                counts.unchanged += 1
                continue
            else:
                counts.changed += 1
            changed.append((one, marker))
        self._count_chunks(changed)

    def _count_chunks(self, changed: Sequence[tuple[RenderedEntity, Marker | None]]) -> None:
        splits = self._chunker.split_many([one.text for one, _ in changed])
        for group in _groups(splits):
            held = self._store.digests(
                [marker for position in group if (marker := changed[position][1]) is not None]
            )
            for chunk in (chunk for position in group for chunk in splits[position].chunks):
                digest = self._digest(chunk.text)
                if digest in held:
                    self._counts.chunks_reused += 1
                else:
                    held.add(digest)
                    self._counts.chunks_to_embed += 1
                    self._counts.tokens_to_embed += chunk.tokens

    def _count_removed(self) -> None:
        for markers in self._store.scan_markers():
            outcomes = self._ledger.outcomes([marker.entity_id for marker in markers])
            self._counts.markers += len(markers)
            self._counts.removed += sum(
                1 for marker in markers if _goes(marker, outcomes.get(marker.entity_id))
            )

    def _count_lost(self) -> None:
        for markers in self._store.scan_live_markers():
            outcomes = self._ledger.outcomes([marker.entity_id for marker in markers])
            kept = sum(1 for outcome in outcomes.values() if outcome == Outcome.INDEXED)
            self._counts.live_markers += len(markers)
            self._counts.lost += len(markers) - kept


class _Reader:
    """Reads the generation; one that does not exist yet holds nothing."""

    def __init__(self, store: VectorStore, target: _Target) -> None:
        self._store = store
        self._partition = target.partition
        self._exists = target.exists
        self._replaced = target.replaced

    def markers(self, entity_ids: Sequence[str]) -> dict[str, Marker]:
        if not self._exists or not entity_ids:
            return {}
        try:
            return self._store.markers(self._partition, entity_ids)
        except NotFound:
            return {}  # the collection is made by the first job that writes to it

    def digests(self, markers: Sequence[Marker]) -> set[str]:
        """Digests of the chunks that these entities have."""
        ids = [(one.entity_id, number) for one in markers for number in range(one.chunk_count)]
        return (
            {chunk.digest for chunk in self._store.chunks(self._partition, ids)} if ids else set()
        )

    def scan_markers(self) -> Iterator[list[Marker]]:
        return self._scan(self._partition if self._exists else None)

    def scan_live_markers(self) -> Iterator[list[Marker]]:
        """Those of the live generation, where another one is to replace it."""
        return self._scan(self._replaced)

    def _scan(self, partition: Partition | None) -> Iterator[list[Marker]]:
        if partition is None:
            return
        with suppress(NotFound):
            yield from self._store.scan_markers(partition)


def _goes(marker: Marker, outcome: Outcome | None) -> bool:
    """Whether the sweep removes the entity and counts it; one without text is counted apart."""
    return outcome is None or (outcome == Outcome.FAILED and marker.fingerprint == VOID)


def _groups(splits: Sequence[SplitText]) -> Iterator[list[int]]:
    """Positions of the texts that the indexer embeds in one go."""
    group: list[int] = []
    size = 0
    for position, split in enumerate(splits):
        if group and size + len(split.chunks) > GROUP_CHUNKS:
            yield group
            group, size = [], 0
        group.append(position)
        size += len(split.chunks)
    if group:
        yield group


def throughput(runtime: Runtime, declared: EntityType) -> Throughput | None:
    """How fast the entity type's last succeeded jobs were; None where there were none.

    Raises:
        CatalogUnavailable
    """
    index_id = index_id_of(declared.tenant, declared.name)
    generations = runtime.catalog.generations.of_index(index_id)
    jobs = runtime.catalog.jobs.of_index(index_id, JobState.SUCCEEDED, limit=LAST_JOBS)
    same_model = [one for one in generations if one.model == declared.spec.model]
    return throughput_of(jobs, {one.number: one.chunk_size for one in same_model})


def _is_refused(counts: _Counts, limit: float) -> bool:
    """As the end of a job decides, once everything listed is indexed."""
    markers = counts.markers + counts.added
    gone = counts.removed + counts.emptied
    return gone > limit * markers or counts.lost > limit * counts.live_markers


def _total_failure(counts: _Counts) -> str | None:
    """As the end of a job says."""
    if not counts.listed or counts.failed < counts.listed:
        return None
    return f"None of the {counts.listed} listed entities can be indexed."


def _plan(
    declared: EntityType, target: _Target, counts: _Counts, throughput: Throughput | None
) -> Plan:
    live = target.live.number if target.live else None
    refused = _is_refused(counts, declared.removal_limit)
    return Plan(
        tenant=declared.tenant,
        entity_type=declared.name,
        index_id=target.partition.index_id,
        generation=target.partition.generation,
        live_generation=live,
        builds=live != target.partition.generation,
        changes=target.changes,
        rejected=target.rejected,
        listed=counts.listed,
        added=counts.added,
        changed=counts.changed,
        unchanged=counts.unchanged,
        failed=counts.failed,
        emptied=counts.emptied,
        removed=counts.removed,
        removal_refused=refused,
        refusal=_total_failure(counts) or (_MASS_REMOVAL if refused else None),
        errors=tuple(counts.errors),
        chunks_to_embed=counts.chunks_to_embed,
        tokens_to_embed=counts.tokens_to_embed,
        chunks_reused=counts.chunks_reused,
        throughput=throughput,
        expected_seconds=(
            throughput.seconds(counts.listed, counts.tokens_to_embed) if throughput else None
        ),
    )
