"""How markers are read: straight from gRPC's messages of a server, as objects from local mode.

They are what a reindex reads most of. The client makes a validated object of each point, which
takes five times as long as taking three values from the message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from qdrant_client import QdrantClient, grpc
from qdrant_client.conversions.conversion import RestToGrpc

from celeriac.model import Partition
from celeriac.store import payload
from celeriac.store.base import Marker
from celeriac.store.filters import partition_filter

Offset = Any
"""Where a listing goes on: whatever the client gave for it."""


class MarkerReader(Protocol):
    """Reads markers of one partition."""

    def retrieve(self, partition: Partition, point_ids: Sequence[str]) -> list[Marker]:
        """Those of these ids that exist."""
        ...

    def scroll(
        self, partition: Partition, offset: Offset | None, limit: int
    ) -> tuple[list[Marker], Offset | None]:
        """Up to `limit` of them, and where the others are."""
        ...


class ServerMarkerReader:
    """Reads from a server."""

    def __init__(self, client: QdrantClient, timeout: float) -> None:
        self._client = client
        self._timeout = timeout
        keys = grpc.PayloadIncludeSelector(fields=payload.MARKER_KEYS)
        self._selector = grpc.WithPayloadSelector(include=keys)

    def retrieve(self, partition: Partition, point_ids: Sequence[str]) -> list[Marker]:
        """See `MarkerReader.retrieve`."""
        request = grpc.GetPoints(
            collection_name=partition.collection,
            ids=[grpc.PointId(uuid=one) for one in point_ids],
            with_payload=self._selector,
        )
        answer = self._client.grpc_points.Get(request, timeout=self._timeout)
        return [_marker(point) for point in answer.result]

    def scroll(
        self, partition: Partition, offset: Offset | None, limit: int
    ) -> tuple[list[Marker], Offset | None]:
        """See `MarkerReader.scroll`."""
        request = grpc.ScrollPoints(
            collection_name=partition.collection,
            filter=RestToGrpc.convert_filter(partition_filter(partition, markers_only=True)),
            offset=offset,
            limit=limit,
            with_payload=self._selector,
        )
        answer = self._client.grpc_points.Scroll(request, timeout=self._timeout)
        following = answer.next_page_offset if answer.HasField("next_page_offset") else None
        return [_marker(point) for point in answer.result], following


class LocalMarkerReader:
    """Reads from qdrant-client's local mode."""

    def __init__(self, client: QdrantClient) -> None:
        self._client = client

    def retrieve(self, partition: Partition, point_ids: Sequence[str]) -> list[Marker]:
        """See `MarkerReader.retrieve`."""
        records = self._client.retrieve(
            partition.collection, point_ids, with_payload=payload.MARKER_KEYS
        )
        return [payload.marker_of(str(one.id), one.payload or {}) for one in records]

    def scroll(
        self, partition: Partition, offset: Offset | None, limit: int
    ) -> tuple[list[Marker], Offset | None]:
        """See `MarkerReader.scroll`."""
        records, following = self._client.scroll(
            partition.collection,
            scroll_filter=partition_filter(partition, markers_only=True),
            limit=limit,
            offset=offset,
            with_payload=payload.MARKER_KEYS,
        )
        return [payload.marker_of(str(one.id), one.payload or {}) for one in records], following


def _marker(point: grpc.RetrievedPoint) -> Marker:
    values = point.payload
    return Marker(
        point_id=point.id.uuid,
        entity_id=values[payload.METADATA].struct_value.fields[payload.ENTITY_ID].string_value,
        fingerprint=values[payload.FINGERPRINT].string_value,
        chunk_count=values[payload.EXTENT].integer_value,
    )
