"""One entity as it stands in the index, and what the catalog says about it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from celeriac.catalog.job_errors import RecordedError
from celeriac.catalog.jobs import Job
from celeriac.encodings import encoding
from celeriac.generations import in_force, live_generation
from celeriac.model import Partition
from celeriac.runtime import Runtime
from celeriac.store.base import VOID, Marker, StoredChunk, VectorStore

TEXT_START = 80
"""Characters of a chunk's text that are shown."""
PROBED = 256
"""Chunks that are looked for where no marker says how many there are."""
MOST_CHUNKS = 10_000
"""Chunks that are read of one entity."""
MOST_COMPARED = 10_000
"""Ids that one which is not known is compared with."""


class EntityState(StrEnum):
    """How an entity stands in the live generation."""

    INDEXED = "indexed"
    ABSENT = "absent"
    VOID = "void"
    """It is being rewritten, or its rewriting was interrupted; the next job completes it."""
    HALF_WRITTEN = "half_written"
    """Its chunks do not belong together; an audit with repair mends it."""


@dataclass(frozen=True, slots=True)
class ExplainedChunk:
    """A chunk as it is stored."""

    number: int
    tokens: int
    """tiktoken tokens of this text by itself."""
    characters: int
    start: str
    """Its first characters."""
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is known of one entity."""

    tenant: str
    entity_type: str
    entity_id: str
    index_id: str
    generation: int
    """The live one."""
    current: bool
    """Whether jobs go on with the live generation, and do not build another one."""
    state: EntityState
    fingerprint: str | None
    """The marker's; None where there is no marker."""
    chunk_count: int | None
    """How many chunks the marker says there are."""
    chunks: tuple[ExplainedChunk, ...]
    """Those that exist, in the order of the text."""
    metadata: Mapping[str, Any]
    """Of its first chunk; empty where there is none."""
    last_job: Job | None
    """The index's newest job."""
    last_error: RecordedError | None
    """What a job recorded last against this entity; it may have been indexed since."""
    similar: tuple[str, ...]
    """Ids like it that are indexed, the most alike first; of one that nothing is known of."""
    unknown: bool
    """Whether neither the index nor any job knows of such an entity."""


def explain(runtime: Runtime, tenant: str, entity_type: str, entity_id: str) -> Explanation:
    """Read one entity's points and its last error; the source is not asked.

    Raises:
        NotFound: the entity type is not declared, or nothing is indexed for it yet.
    """
    declared = runtime.entity_type(tenant, entity_type)
    live = live_generation(runtime, declared)
    tokens = live.values["splitting"]["encoding"]
    marker = runtime.store.markers(live.partition, [entity_id]).get(entity_id)
    chunks = _chunks(runtime.store, live.partition, entity_id, marker)
    state = _state(marker, chunks)
    error = runtime.catalog.job_errors.last(live.index_id, entity_id)
    unknown = state is EntityState.ABSENT and error is None
    return Explanation(
        tenant=declared.tenant,
        entity_type=declared.name,
        entity_id=entity_id,
        index_id=live.index_id,
        generation=live.number,
        current=live.spec_digest == in_force(runtime, declared).spec.digest,
        state=state,
        fingerprint=marker.fingerprint if marker else None,
        chunk_count=marker.chunk_count if marker else None,
        chunks=tuple(_explained(chunk, tokens) for chunk in chunks),
        metadata=chunks[0].payload["metadata"] if chunks else {},
        last_job=next(iter(runtime.catalog.jobs.of_index(live.index_id, limit=1)), None),
        last_error=error,
        unknown=unknown,
        similar=_similar(runtime.store, live.partition, entity_id) if unknown else (),
    )


def _similar(store: VectorStore, partition: Partition, entity_id: str) -> tuple[str, ...]:
    """Among the first that the store tells of: whoever mistyped an id wants an answer soon."""
    ids: list[str] = []
    for markers in store.scan_markers(partition):
        ids += (marker.entity_id for marker in markers)
        if len(ids) >= MOST_COMPARED:
            break
    return tuple(difflib.get_close_matches(entity_id, ids))


def _chunks(
    store: VectorStore, partition: Partition, entity_id: str, marker: Marker | None
) -> list[StoredChunk]:
    """Those that exist, beyond the marker's count too, by their ids."""
    count = min(marker.chunk_count, MOST_CHUNKS) if marker else 0
    found = store.chunks(partition, [(entity_id, number) for number in range(count + PROBED)])
    return sorted(found, key=lambda chunk: chunk.chunk)


def _state(marker: Marker | None, chunks: Sequence[StoredChunk]) -> EntityState:
    if not chunks:
        return EntityState.ABSENT
    if marker is not None and marker.fingerprint == VOID:
        return EntityState.VOID
    whole = (
        marker is not None
        and len(chunks) == marker.chunk_count
        and all(chunk.fingerprint == marker.fingerprint for chunk in chunks)
    )
    return EntityState.INDEXED if whole else EntityState.HALF_WRITTEN


def _explained(chunk: StoredChunk, tokens: str) -> ExplainedChunk:
    """`tokens` names the encoding that they are counted in."""
    return ExplainedChunk(
        number=chunk.chunk,
        tokens=len(encoding(tokens).encode_ordinary(chunk.text)),
        characters=len(chunk.text),
        start=chunk.text[:TEXT_START],
        fingerprint=chunk.fingerprint,
    )
