"""The end of a retry: the entities that it took, and they alone, held against the store."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from celeriac.catalog.jobs import Job
from celeriac.catalog.listings import IN_INDEX, Expected, batches
from celeriac.errors import SourceError, VerificationFailed
from celeriac.indexer import remove_entities
from celeriac.model import Counters, Outcome, Partition
from celeriac.runtime import Runtime
from celeriac.sources.base import LookupSource, Source, look_up
from celeriac.store.base import Marker
from celeriac.tally import entity_key, removed_keys, stays

PROBED = 256
"""Chunks looked for at a time beyond those that a marker accounts for."""
CONTROLS = 3
"""Listed entities that a lookup is tried on."""


@dataclass(frozen=True, slots=True)
class _Taken:
    """An entity that the retry took."""

    id: str
    key: uuid.UUID
    expected: Expected | None
    """What its page found; None where no page listed it."""
    marker: Marker | None
    """What the index holds of it."""

    @property
    def stays(self) -> bool:
        return self.marker is not None and stays(self.marker, self.expected)

    @property
    def is_indexed(self) -> bool:
        return self.expected is not None and self.expected.outcome in IN_INDEX

    @property
    def fingerprint(self) -> str | None:
        return self.expected.fingerprint if self.expected else None

    @property
    def is_marked(self) -> bool:
        return self.marker is not None and self.marker.fingerprint == self.fingerprint

    @property
    def extent(self) -> int:
        """The first chunk that its marker, which is chunk 0, does not account for."""
        return self.marker.chunk_count if self.marker else 1


@dataclass(slots=True)
class Found:
    """How the entities stand."""

    gone: int = 0
    """Not in the source any more, as far as was listed or looked up."""
    unlisted: int = 0
    """Those of them that no page listed, and none looked up."""
    to_remove: int = 0
    """Markers of entities that do not belong in the index."""
    to_mend: set[int] = field(default_factory=set)
    """Pages of entities that are not in the store as they were fetched."""


class RetriedEntities:
    """What a retry took, once every page of it is committed."""

    def __init__(
        self, runtime: Runtime, job: Job, partition: Partition, checkpoint: Callable[[], None]
    ) -> None:
        self._runtime = runtime
        self._catalog = runtime.catalog
        self._store = runtime.store
        self._job = job
        self._partition = partition
        self._checkpoint = checkpoint

    def compare(self) -> Found:
        """Hold the store against what the pages found; damaged markers are voided."""
        found = Found()
        for entities in self._batches():
            for one in entities:
                found.unlisted += one.expected is None
                found.gone += one.expected is None or one.expected.outcome == Outcome.GONE
                found.to_remove += one.marker is not None and not one.stays
            broken = self._broken([one for one in entities if one.is_indexed])
            if broken:
                found.to_mend.update(self._void(broken))
        return found

    def remove(self) -> None:
        """Remove what does not belong in the index, and chunks that no marker accounts for."""
        for entities in self._batches():
            gone = [
                (one.marker, one.expected)
                for one in entities
                if one.marker is not None and not one.stays
            ]
            if gone:
                self._catalog.listings.remove(self._job.id, removed_keys(gone))
                remove_entities(self._store, self._partition, [marker for marker, _ in gone])
            self._remove_strays(entities)

    def require_sound_lookups(self, source: Source) -> None:
        """Try lookups on what the source lists: a wrong URL would have every entity gone.

        Raises:
            SourceError: none of the first entities of the listing is found.
        """
        if not isinstance(source, LookupSource):
            return
        listed = [one.id for one in source.page(None).entities[:CONTROLS]]
        if listed and len(look_up(source, listed).gone) == len(listed):
            raise SourceError(
                f"The source lists {listed[0]!r} and does not find it by its id, so what it does "
                "not find is not known to be gone. Nothing was removed; check the source's "
                "`item_url`."
            )

    def count_indexed(self, at_least: float) -> int:
        """Entities in the index, counted until there are `at_least` so many."""
        counted = 0
        for markers in self._store.scan_markers(self._partition):
            self._checkpoint()
            counted += len(markers)
            if counted >= at_least:
                break
        return counted

    def summary(self, found: Found, counted_twice: Counters) -> str:
        """What the retry did, for its message."""
        counted = self._job.counters + counted_twice
        retried = list(dict.fromkeys(one.job_id for one in self._job.retries))
        parts = [f"{counted.indexed + counted.unchanged} now equal the source"]
        if counted.failed:
            parts.append(f"{counted.failed} failed again")
        if found.gone:
            parts.append(f"{found.gone} left the source")
        lines = [
            f"Retried {counted.listed + found.gone} of what failed in {', '.join(retried)}: "
            f"{', '.join(parts)}. Nothing else was looked at."
        ]
        unnamed = self._catalog.retries.unnamed(retried)
        if unnamed:
            lines.append(
                f"{unnamed} more cannot be retried alone, for want of an entity's id: reindex."
            )
        return " ".join(lines)

    def _batches(self) -> Iterator[list[_Taken]]:
        for ids in self._catalog.retries.walk(self._job.retries):
            self._checkpoint()
            keys = {one: entity_key(self._partition, one) for one in ids}
            expected = self._catalog.listings.expected(self._job.id, keys.values())
            markers = self._store.markers(self._partition, ids)
            yield [
                _Taken(one, key, expected.get(key), markers.get(one)) for one, key in keys.items()
            ]

    def _broken(self, indexed: Sequence[_Taken]) -> list[_Taken]:
        """Those that are not in the store, chunk by chunk, as they were written."""
        self._require_markers(indexed)
        marked = [one for one in indexed if one.is_marked]
        chunks = [(one.id, number) for one in marked for number in range(one.extent)]
        whole: Counter[tuple[str, str | None]] = Counter()
        for few in batches(chunks):
            for chunk in self._store.chunks(self._partition, few):
                whole[chunk.entity_id, chunk.fingerprint] += 1
        return [
            one
            for one in indexed
            if not one.is_marked or whole[one.id, one.fingerprint] != one.extent
        ]

    def _require_markers(self, indexed: Sequence[_Taken]) -> None:
        for one in indexed:
            if one.marker is None:
                raise VerificationFailed(
                    f"Entity {one.id!r} was written and is not in the index. Something else "
                    "removes points from the collection; retry once it is stopped."
                )

    def _void(self, broken: Sequence[_Taken]) -> list[int]:
        self._store.void(self._partition, {one.id: one.extent for one in broken})
        return self._catalog.listings.pages_of(self._job.id, [one.key for one in broken])

    def _remove_strays(self, entities: Sequence[_Taken]) -> None:
        """Delete what a crash left of a first writing. Chunks are written in their order, so there
        are more only where the first of them is."""
        beyond = {one.id: one.extent for one in entities}
        for few in batches(list(beyond.items())):
            for chunk in self._store.chunks(self._partition, few):
                self._remove_from(chunk.entity_id, chunk.chunk)

    def _remove_from(self, entity_id: str, first: int) -> None:
        while True:
            ids = [(entity_id, number) for number in range(first, first + PROBED)]
            found = self._store.chunks(self._partition, ids)
            if not found:
                return
            self._store.delete_chunks(
                self._partition, [(one.entity_id, one.chunk) for one in found]
            )
            first += PROBED
