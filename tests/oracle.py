"""The oracle: what an index must hold, worked out from the source, and what it does hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from celeriac.chunking import Chunker
from celeriac.configuration import EntityType
from celeriac.embedding import registry
from celeriac.model import Entity, Partition
from celeriac.rendering import Renderer
from celeriac.store.base import VectorStore


@dataclass(frozen=True)
class IndexedChunk:
    """What one point must say."""

    entity_id: str
    chunk: int
    chunk_count: int
    text: str
    fingerprint: str


@dataclass(frozen=True)
class Comparison:
    """An index held against its source."""

    expected: set[IndexedChunk]
    indexed: Counter[IndexedChunk]
    """The points, by how many say the same."""

    @property
    def entities(self) -> int:
        """How many were compared: those of the source and those of the index."""
        return len({one.entity_id for one in [*self.expected, *self.indexed]})

    @property
    def lost(self) -> set[str]:
        """Entities of which a chunk is not there as it must be."""
        return {one.entity_id for one in self.expected - set(self.indexed)}

    @property
    def surplus(self) -> set[str]:
        """Entities that have a point too many: stale, twice there, or not in the source."""
        return {one.entity_id for one in self.indexed - Counter(self.expected)}

    def assert_equal(self) -> None:
        """Every entity, every chunk, its text and its fingerprint; nothing else."""
        assert self.indexed == Counter(self.expected), (
            f"lost: {sorted(self.lost)[:5]}, too many: {sorted(self.surplus)[:5]}"
        )


def compare(
    store: VectorStore, partition: Partition, declared: EntityType, entities: Sequence[Entity]
) -> Comparison:
    """What the partition must hold of the entities, and what it does hold."""
    return Comparison(expected_chunks(declared, entities), indexed_points(store, partition))


def expected_chunks(declared: EntityType, entities: Sequence[Entity]) -> set[IndexedChunk]:
    """Every chunk of the entities, as the declaration cuts them."""
    renderer = Renderer(declared.spec)
    model = registry.BUILTIN[declared.spec.model]
    chunker = Chunker(declared.spec.splitting, registry.counter(model, {}))
    expected = set()
    for entity in entities:
        rendered = renderer.render(entity)
        chunks = chunker.split(rendered.text).chunks
        fingerprint = renderer.fingerprint(rendered)
        for chunk in chunks:
            expected.add(
                IndexedChunk(entity.id, chunk.number, len(chunks), chunk.text, fingerprint)
            )
    return expected


def indexed_chunks(store: VectorStore, partition: Partition) -> set[IndexedChunk]:
    """Every point of the partition; fails where two say the same chunk."""
    found = indexed_points(store, partition)
    assert len({(one.entity_id, one.chunk) for one in found}) == found.total()
    return set(found)


def indexed_points(store: VectorStore, partition: Partition) -> Counter[IndexedChunk]:
    """Every point of the partition."""
    return Counter(
        IndexedChunk(chunk.entity_id, chunk.chunk, chunk.chunk_count, chunk.text, chunk.fingerprint)
        for batch in store.scan(partition)
        for chunk in batch
    )
