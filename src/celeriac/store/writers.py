"""How points travel: packed into gRPC requests to a server, as objects into local mode."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from qdrant_client import QdrantClient, grpc, models
from qdrant_client.conversions.conversion import payload_to_grpc

from celeriac.errors import EntityError, StoreUnavailable
from celeriac.model import Partition
from celeriac.store.base import Point
from celeriac.store.payload import payload_of

MAX_POINTS = 128
"""Points a request; beyond 128 nothing is won, see benchmarks/store_write.py."""
MAX_BYTES = 8 * 2**20
"""Estimated bytes a request; a larger point travels alone."""
_POINT_OVERHEAD = 512
_BYTES_PER_CHARACTER = 2

# Field 1 of DenseVector, of packed floats: a tag, their length in bytes, little-endian float32.
_PACKED_FLOATS_TAG = b"\x0a"


class Writer(Protocol):
    """Upserts one request's worth of points and returns when they are applied."""

    def write(self, partition: Partition, points: Sequence[Point]) -> None: ...


class ServerWriter:
    """Writes over gRPC with vectors as bytes, without a Python float in between.

    The client's own fast path, `upload_collection`, opens a channel a call, warns about its
    retries and waits without bound when it is told to slow down.
    """

    def __init__(self, client: QdrantClient, timeout: float) -> None:
        self._client = client
        self._timeout = timeout

    def write(self, partition: Partition, points: Sequence[Point]) -> None:
        request = upsert_request(partition, points)
        response = self._client.grpc_points.Upsert(request, timeout=self._timeout)
        require_completed(response.result.status == grpc.UpdateStatus.Completed)


class LocalWriter:
    """Writes into qdrant-client's local mode."""

    def __init__(self, client: QdrantClient) -> None:
        self._client = client

    def write(self, partition: Partition, points: Sequence[Point]) -> None:
        structs = [
            models.PointStruct(
                id=partition.point_id(point.entity_id, point.chunk),
                vector=point.vector.tolist(),
                payload=payload_of(partition, point),
            )
            for point in points
        ]
        self._client.upsert(partition.collection, structs, wait=True)


def upsert_request(partition: Partition, points: Sequence[Point]) -> grpc.UpsertPoints:
    """The request that writes `points` and waits for it.

    Raises:
        EntityError: a text, a key or a number that the protocol cannot carry.
    """
    request = grpc.UpsertPoints(collection_name=partition.collection, wait=True)
    for point in points:
        try:
            struct = request.points.add(
                id=grpc.PointId(uuid=partition.point_id(point.entity_id, point.chunk)),
                payload=payload_to_grpc(payload_of(partition, point)),
            )
        except (ValueError, TypeError) as error:
            raise EntityError(
                f"entity {point.entity_id!r}, chunk {point.chunk}, cannot be stored: {error}"
            ) from error
        struct.vectors.vector.dense.MergeFromString(packed(point.vector))
    return request


def packed(vector: np.ndarray[tuple[int], np.dtype[np.float32]]) -> bytes:
    """A serialized `DenseVector` of this vector."""
    values = vector.astype("<f4", copy=False).tobytes()
    return _PACKED_FLOATS_TAG + _varint(len(values)) + values


def requests(points: Sequence[Point]) -> Iterator[Sequence[Point]]:
    """Cut into requests of at most MAX_POINTS and about MAX_BYTES, keeping the order."""
    start = size = 0
    for position, point in enumerate(points):
        cost = _POINT_OVERHEAD + point.vector.nbytes + _BYTES_PER_CHARACTER * len(point.text)
        if position > start and (position - start == MAX_POINTS or size + cost > MAX_BYTES):
            yield points[start:position]
            start, size = position, 0
        size += cost
    if start < len(points):
        yield points[start:]


def require_finite(points: Sequence[Point]) -> None:
    """Qdrant takes a vector of NaN and finds it for ever after, or never.

    Raises:
        EntityError: names the first chunk with such a vector.
    """
    for point in points:
        if not np.isfinite(point.vector).all():
            raise EntityError(
                f"entity {point.entity_id!r}, chunk {point.chunk}, has a vector with NaN or "
                "infinity; the embedding model failed on its text"
            )


def require_completed(completed: bool) -> None:
    """A write that was only accepted may still fail.

    Raises:
        StoreUnavailable: the store has not applied it.
    """
    if not completed:
        raise StoreUnavailable("Qdrant accepted a write and has not applied it in time")


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number >= 1 << 7:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
