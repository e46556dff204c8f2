"""The end of a reindex: the whole index, held against what its pages listed."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from celeriac.canaries import Sample
from celeriac.catalog import Catalog
from celeriac.catalog.jobs import Job, JobMode
from celeriac.catalog.listings import IN_INDEX, Expected
from celeriac.errors import VerificationFailed
from celeriac.gate import refuse_mass_removal
from celeriac.indexer import remove_entities
from celeriac.lookups import MOST_LOOKUPS
from celeriac.model import Partition
from celeriac.runtime import Runtime
from celeriac.store.base import Census, Marker, MarkerCensus
from celeriac.tally import removed_keys, stays

logger = logging.getLogger(__name__)

MOST_MENDINGS = 3
"""Times a job writes again what the store has lost."""


@dataclass(slots=True)
class Comparison:
    """The store's markers held against the listing."""

    markers: int = 0
    matching: int = 0
    """Markers of listed entities with the listed fingerprint."""
    staying: MarkerCensus = field(default_factory=MarkerCensus)
    """Markers that are not to be removed, and the points that they account for."""
    ids: int = 0
    """The sum of those points' ids."""
    gone: int = 0
    """Markers of entities that the listing does not have, or that have no text now."""
    differing: list[Marker] = field(default_factory=list)
    """Markers of listed entities with another fingerprint."""
    unlisted: list[str] = field(default_factory=list)
    """Entities that no page listed and none looked up, up to one more than are looked up."""
    suspect: list[Marker] = field(default_factory=list)
    """Markers of entities that two pages dealt with."""
    sample: Sample = field(default_factory=Sample)
    """Of the matching ones."""


class ReindexedEntities:
    """What a generation holds, once every page of a reindex is committed."""

    def __init__(
        self, runtime: Runtime, job: Job, partition: Partition, checkpoint: Callable[[], None]
    ) -> None:
        self._runtime = runtime
        self._catalog = runtime.catalog
        self._store = runtime.store
        self._job = job
        self._partition = partition
        self._checkpoint = checkpoint

    def compare(self) -> Comparison:
        """Hold the store's markers against the listing."""
        contested = set(self._catalog.listings.contested(self._job.id))
        found = Comparison()
        for markers, expected in self._scan():
            for marker, entity in zip(markers, expected, strict=True):
                self._compare_one(found, marker, entity)
                if contested and uuid.UUID(marker.point_id) in contested:
                    found.suspect.append(marker)
        return found

    def _scan(self) -> Iterator[tuple[list[Marker], list[Expected | None]]]:
        for markers in self._store.scan_markers(self._partition):
            self._checkpoint()
            keys = [uuid.UUID(marker.point_id) for marker in markers]
            expected = self._catalog.listings.expected(self._job.id, keys)
            yield markers, [expected.get(key) for key in keys]

    def _compare_one(self, found: Comparison, marker: Marker, entity: Expected | None) -> None:
        found.markers += 1
        if entity is None and len(found.unlisted) <= MOST_LOOKUPS:
            found.unlisted.append(marker.entity_id)
        if entity is None or not stays(marker, entity):
            found.gone += 1
            return
        found.staying.add(marker)
        found.ids += self._partition.sum_of_ids(marker.entity_id, marker.chunk_count)
        if entity.outcome in IN_INDEX:
            if entity.fingerprint == marker.fingerprint:
                found.matching += 1
                found.sample.offer(marker)
            else:
                found.differing.append(marker)

    def pages_to_mend(self, found: Comparison) -> list[int]:
        """Pages of entities that are not in the store as they were listed; their markers are
        voided."""
        broken = found.differing + [
            marker for marker in found.suspect if not self._is_whole(marker)
        ]
        if not broken:
            return []
        self._store.void(
            self._partition, {marker.entity_id: marker.chunk_count for marker in broken}
        )
        return self._catalog.listings.pages_of(
            self._job.id, [uuid.UUID(marker.point_id) for marker in broken]
        )

    def _is_whole(self, marker: Marker) -> bool:
        ids = [(marker.entity_id, number) for number in range(marker.chunk_count)]
        chunks = self._store.chunks(self._partition, ids)
        return len(chunks) == marker.chunk_count and all(
            chunk.fingerprint == marker.fingerprint for chunk in chunks
        )

    def sweep(self, found: Comparison) -> None:
        """Remove the entities that the listing does not have, and those without text.

        Raises:
            RemovalRefused: they are too many; nothing was removed.
        """
        if not found.gone:
            return
        refuse_mass_removal(self._runtime, self._job, found.gone, found.markers)
        for markers, expected in self._scan():
            pairs = zip(markers, expected, strict=True)
            gone = [(marker, entity) for marker, entity in pairs if not stays(marker, entity)]
            if gone:
                self._catalog.listings.remove(self._job.id, removed_keys(gone))
                remove_entities(self._store, self._partition, [marker for marker, _ in gone])

    def verify(self, found: Comparison) -> list[int]:
        """Hold the store against the listing: every entity, and not a point more.

        Returns the pages to run again because entities of theirs are missing, or chunks of them:
        a store that was restored from a backup, or came back without its disk.

        Raises:
            VerificationFailed: something else writes to the collection.
        """
        listed = self._catalog.listings.count_in_index(self._job.id)
        if found.matching != listed:
            if pages := pages_to_write_again(self._catalog, self._job):
                return pages
            raise VerificationFailed(
                f"{listed} entities were written, {found.matching} of them are in the index, also "
                f"after all of them were written {MOST_MENDINGS} times more. "
                "Something else removes points from the collection; reindex once it is stopped."
            )
        expected = Census(found.staying.points, found.ids)
        if self._census() == expected:
            return []
        self._remove_orphans()
        census = self._census()
        if census == expected:
            return []
        if pages := self._pages_of_incomplete():
            return pages
        raise VerificationFailed(
            f"The index has {census.points} chunks, not the {found.staying.points} that the source "
            f"gives, or others; celeriac audit {self._job.tenant} {self._job.entity_type} "
            "--repair says which and mends them."
        )

    def _census(self) -> Census:
        return self._store.census(self._partition, checkpoint=self._checkpoint)

    def _pages_of_incomplete(self) -> list[int]:
        """Void the markers of entities that lack chunks; the pages that list them."""
        numbers: set[int] = set()
        for markers in self._store.scan_markers(self._partition):
            self._checkpoint()
            broken = [marker for marker in markers if not self._is_whole(marker)]
            if broken:
                extents = {marker.entity_id: marker.chunk_count for marker in broken}
                self._store.void(self._partition, extents)
                keys = [uuid.UUID(marker.point_id) for marker in broken]
                numbers.update(self._catalog.listings.pages_of(self._job.id, keys))
        return sorted(numbers)

    def _remove_orphans(self) -> None:
        """Delete chunks that no marker accounts for: what a crash left of a first writing."""
        for chunks in self._store.scan(self._partition):
            self._checkpoint()
            markers = self._store.markers(
                self._partition, list({chunk.entity_id for chunk in chunks})
            )
            orphans = [
                (chunk.entity_id, chunk.chunk)
                for chunk in chunks
                if chunk.entity_id not in markers
                or chunk.chunk >= markers[chunk.entity_id].chunk_count
            ]
            if orphans:
                self._store.delete_chunks(self._partition, orphans)


def pages_to_write_again(catalog: Catalog, job: Job) -> list[int]:
    """Every page with entities in the index, since the store has lost some: what it still has costs
    a lookup. None for a retry, which does not list all of them, and none where the store loses them
    again and again."""
    if job.mode == JobMode.RETRY or not catalog.pages.mend(job.id, MOST_MENDINGS):
        return []
    logger.warning("what was written is gone", extra={"action": "finish", "job": job.id})
    return catalog.listings.written_pages(job.id)
