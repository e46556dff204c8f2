"""The oracle: what an index must hold, worked out from the source, and what it does hold."""

from __future__ import annotations

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
    found = [
        IndexedChunk(chunk.entity_id, chunk.chunk, chunk.chunk_count, chunk.text, chunk.fingerprint)
        for batch in store.scan(partition)
        for chunk in batch
    ]
    assert len({(one.entity_id, one.chunk) for one in found}) == len(found)
    return set(found)
