"""What a point carries besides its vector, by key; LangChain's retrievers read the first two.

page_content    the chunk's text
metadata        tenant, entity_type, entity_id, chunk, chunk_count, and the filter fields
partition       Partition.key: which generation of which index
marker          chunk 0 only: a number of its own, by which markers are found
fingerprint     the entity's; VOID on a marker whose entity is being rewritten
digest          of the chunk's text and the model
extent          markers only: how many chunk ids, counted from 0, may exist
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from celeriac.model import Partition
from celeriac.store.base import Hit, Marker, Point, StoredChunk

TEXT = "page_content"
METADATA = "metadata"
PARTITION = "partition"
MARKER = "marker"
FINGERPRINT = "fingerprint"
DIGEST = "digest"
EXTENT = "extent"

TENANT = "tenant"
ENTITY_TYPE = "entity_type"
ENTITY_ID = "entity_id"
CHUNK = "chunk"
CHUNK_COUNT = "chunk_count"

MARKER_KEYS = [f"{METADATA}.{ENTITY_ID}", FINGERPRINT, EXTENT]
"""What `marker_of` reads."""
HIT_KEYS = [TEXT, METADATA]
"""What `hit_of` reads."""

Payload = Mapping[str, Any]


def payload_of(partition: Partition, point: Point) -> dict[str, Any]:
    """The payload of a point; the entity's own keys win over filter fields of the same name."""
    payload: dict[str, Any] = {
        TEXT: point.text,
        METADATA: {
            **point.metadata,
            ENTITY_ID: point.entity_id,
            CHUNK: point.chunk,
            CHUNK_COUNT: point.chunk_count,
        },
        PARTITION: partition.key,
        FINGERPRINT: point.fingerprint,
        DIGEST: point.digest,
    }
    if point.chunk == 0:
        payload[MARKER] = _own_number(partition.point_id(point.entity_id, 0))
        payload[EXTENT] = point.chunk_count
    return payload


def _own_number(point_id: str) -> int:
    # One value on all markers would have Qdrant build a graph of them, which nothing searches; no
    # value is on as many points as that takes, and whether there is one is in the index too.
    return int(point_id[:8], 16)


def marker_of(point_id: str, payload: Payload) -> Marker:
    return Marker(
        point_id=point_id,
        entity_id=payload[METADATA][ENTITY_ID],
        fingerprint=payload[FINGERPRINT],
        chunk_count=payload[EXTENT],
    )


def chunk_of(payload: Payload, vector: object) -> StoredChunk:
    metadata = payload[METADATA]
    return StoredChunk(
        entity_id=metadata[ENTITY_ID],
        chunk=metadata[CHUNK],
        chunk_count=metadata[CHUNK_COUNT],
        text=payload[TEXT],
        fingerprint=payload[FINGERPRINT],
        digest=payload[DIGEST],
        vector=None if vector is None else np.asarray(vector, dtype=np.float32),
        payload=payload,
    )


def hit_of(score: float, payload: Payload) -> Hit:
    metadata = payload[METADATA]
    return Hit(
        entity_id=metadata[ENTITY_ID],
        chunk=metadata[CHUNK],
        score=score,
        text=payload[TEXT],
        metadata=metadata,
    )
