"""What is in a system's Qdrant collection, held against the source, chunk by chunk.

What a system must hold is what its own splitter makes of the source. That the splitter itself loses
no text is checked apart from it, by `uncovered`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models

Chunks = Mapping[str, list[str]]
"""Texts of an entity's chunks, by the entity's id."""
ReadPayload = Callable[[Mapping[str, object]], tuple[str, str]]
"""Entity id and text of a payload."""


@dataclass(frozen=True)
class Held:
    """One point that a search may find."""

    entity_id: str
    text: str
    vector: NDArray[np.float32]


@dataclass(frozen=True)
class Findings:
    """The difference between source and collection; all zero where they are equal."""

    missing: int = 0
    """Entities of the source of which a chunk is not there."""
    stale: int = 0
    """Entities of the source of which a chunk is there that the source does not give any more."""
    orphaned: int = 0
    """Entities that the source does not have and the collection does."""
    duplicated: int = 0
    """Points beyond the one that a chunk should have."""
    points: int = 0
    """Points that a search may find."""

    @property
    def equal(self) -> bool:
        return not (self.missing or self.stale or self.orphaned or self.duplicated)


def compare(held: list[Held], expected: Chunks) -> Findings:
    """`expected` has an entry for each entity of the source, also for one without any text."""
    present = Counter((one.entity_id, one.text) for one in held)
    wanted = Counter((entity, text) for entity, texts in expected.items() for text in texts)
    alien = {entity for entity, text in present if (entity, text) not in wanted}
    return Findings(
        missing=len({entity for entity, text in wanted if (entity, text) not in present}),
        stale=len({entity for entity in alien if entity in expected}),
        orphaned=len({entity for entity in alien if entity not in expected}),
        duplicated=sum(max(0, count - max(1, wanted[key])) for key, count in present.items()),
        points=len(held),
    )


def of_old_model(held: list[Held], before: list[Held]) -> int:
    """Points whose vector is the one they had, for the same text, before the model changed."""
    old = {(one.entity_id, one.text): one.vector for one in before}
    return sum(_same(one.vector, old.get((one.entity_id, one.text))) for one in held)


def _same(vector: NDArray[np.float32], old: NDArray[np.float32] | None) -> bool:
    return old is not None and vector.shape == old.shape and bool(vector @ old > 0.999)


def uncovered(texts: Mapping[str, str], chunks: Chunks) -> list[str]:
    """Entities of which the chunks together do not hold every visible character of the text."""
    return [entity for entity, text in texts.items() if not _covered(text, chunks.get(entity, []))]


def _covered(text: str, chunks: list[str]) -> bool:
    reached = start = 0
    for chunk in chunks:
        found = text.find(chunk, start)
        if found < 0 or text[reached:found].strip():
            return False
        start, reached = found, max(reached, found + len(chunk))
    return not text[reached:].strip()


def read(
    client: QdrantClient, served: Mapping[str, str] | None, read_payload: ReadPayload
) -> list[Held]:
    """Every point where a search would read; none where there is no such place."""
    if served is None or not client.collection_exists(served["collection"]):
        return []
    return [
        Held(*read_payload(record.payload or {}), _vector(record.vector))
        for record in _scroll(client, served)
    ]


def read_page_content(payload: Mapping[str, object]) -> tuple[str, str]:
    """LangChain's payload, and celeriac's: they differ in where the entity's id is."""
    metadata = payload["metadata"]
    assert isinstance(metadata, Mapping)
    return metadata.get("entity_id") or metadata["source"], str(payload["page_content"])


def read_node(payload: Mapping[str, object]) -> tuple[str, str]:
    """LlamaIndex's payload."""
    return str(payload["doc_id"]), json.loads(str(payload["_node_content"]))["text"]


def _scroll(client: QdrantClient, served: Mapping[str, str]) -> Iterator[models.Record]:
    offset = None
    match = models.MatchValue(value=served.get("partition", ""))
    condition = models.FieldCondition(key="partition", match=match)
    chosen = models.Filter(must=[condition]) if "partition" in served else None
    while True:
        records, offset = client.scroll(
            served["collection"], chosen, limit=500, offset=offset, with_vectors=True
        )
        yield from records
        if offset is None:
            return


def _vector(vector: object) -> NDArray[np.float32]:
    """A point's only vector, whether it has a name or not."""
    if isinstance(vector, Mapping):
        (vector,) = vector.values()
    found = np.asarray(vector, np.float32)
    return found / np.linalg.norm(found)
