"""What becomes of a page's entities, collected while it is indexed, and what it means for them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from celeriac.catalog.listings import IN_INDEX, Expected
from celeriac.chunking import SplitText
from celeriac.model import COUNTERS, Counters, EntityFailure, ListedEntity, Outcome, Partition
from celeriac.stages import Stages
from celeriac.store.base import VOID, Marker


@dataclass(frozen=True, slots=True)
class PageResult:
    """What became of a page's entities."""

    counters: Counters
    listed: tuple[ListedEntity, ...]
    failures: tuple[EntityFailure, ...]


def stays(marker: Marker, entity: Expected | None) -> bool:
    """Whether an entity belongs in the index. One that failed stays as it was before, unless that
    was half written."""
    if entity is None:
        return False
    if entity.outcome == Outcome.FAILED:
        return marker.fingerprint != VOID
    return entity.outcome in IN_INDEX


def removed_keys(gone: Iterable[tuple[Marker, Expected | None]]) -> list[uuid.UUID]:
    """Keys of those that count as removed; one without text counts as failed."""
    return [
        uuid.UUID(marker.point_id)
        for marker, entity in gone
        if entity is None or entity.outcome != Outcome.EMPTY
    ]


def entity_key(partition: Partition, entity_id: str) -> uuid.UUID:
    """The key under which listings know an entity: the id of its marker's point."""
    return partition.marker_key(entity_id)


class Tally:
    """Counts entities once each, and what was done to them."""

    def __init__(self, stages: Stages | None = None) -> None:
        self.stages = stages or Stages()
        """What times the page's stages."""
        self.shares: dict[str, float] = {}
        """Of entities that take more than one batch: how much is embedded, 0 to 1, by id."""
        # Added up for each entity: a frozen `Counters` for each would cost more than the entity.
        self._counted = dict.fromkeys(COUNTERS, 0)
        self._settled = dict(self._counted)
        self._outcomes: dict[str, tuple[Outcome, str | None]] = {}
        self._failures: list[EntityFailure] = []

    @property
    def counters(self) -> Counters:
        return Counters(**self._counted)

    @property
    def settled(self) -> Counters:
        """As the counters were when an entity was written last, what was in the making left out."""
        return Counters(**self._settled)

    def unchanged(self, entity_id: str, fingerprint: str, chunks: int) -> None:
        self._outcomes[entity_id] = (Outcome.UNCHANGED, fingerprint)
        self._count(listed=1, unchanged=1, chunks=chunks)

    def indexed(self, entity_id: str, fingerprint: str, split: SplitText) -> None:
        self._outcomes[entity_id] = (Outcome.INDEXED, fingerprint)
        self._count(
            listed=1,
            indexed=1,
            chunks=len(split.chunks),
            tokens=split.tokens,
            split_for_model=split.split_for_model,
        )
        self._settled = dict(self._counted)

    def embedded(self, chunks: int) -> None:
        self._count(embedded=chunks)

    def fail(self, entity_id: str, error: Exception, outcome: Outcome = Outcome.FAILED) -> None:
        self._outcomes[entity_id] = (outcome, None)
        self._failures.append(EntityFailure.of(entity_id, error))
        self._count(listed=1, failed=1)

    def result(self, partition: Partition) -> PageResult:
        return PageResult(
            counters=self.counters,
            listed=tuple(
                ListedEntity(entity_key(partition, entity_id), outcome, fingerprint)
                for entity_id, (outcome, fingerprint) in self._outcomes.items()
            ),
            failures=tuple(self._failures),
        )

    def _count(self, **added: int) -> None:
        for name, number in added.items():
            self._counted[name] += number
