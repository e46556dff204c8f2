"""How markers and ids are read: straight from gRPC's messages of a server, as objects from local
mode.

They are what a reindex reads most of. The client makes a validated object of each point, which
takes more than twice as long as taking three values from the message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from qdrant_client import QdrantClient, grpc, models
from qdrant_client.conversions.conversion import RestToGrpc

from celeriac.model import Partition
from celeriac.store import payload
from celeriac.store.base import Marker
from celeriac.store.filters import partition_filter

Offset = Any
"""Where a listing goes on: whatever the client gave for it."""


class Reader(Protocol):
    """Reads markers and ids of one partition."""

    def markers(self, partition: Partition, point_ids: Sequence[str]) -> list[Marker]:
        """Those of these ids that exist."""
        ...

    def scroll_markers(
        self, partition: Partition, offset: Offset | None, limit: int
    ) -> tuple[list[Marker], Offset | None]:
        """Up to `limit` of them, and where the others are."""
        ...

    def scroll_ids(
        self, partition: Partition, offset: Offset | None, limit: int
    ) -> tuple[list[int], Offset | None]:
        """Up to `limit` of the points' ids as numbers, and where the others are."""
        ...


class ServerReader:
    """Reads from a server."""

    def __init__(self, client: QdrantClient, timeout: float) -> None:
        self._client = client
        self._timeout = timeout
        keys = grpc.PayloadIncludeSelector(fields=payload.MARKER_KEYS)
        self._selector = grpc.WithPayloadSelector(include=keys)

    def markers(self, partition: Partition, point_ids: Sequence[str]) -> list[Marker]:
        """See `Reader.markers`."""
        request = grpc.GetPoints(
            collection_name=partition.collection,
            ids=[grpc.PointId(uuid=one) for one in point_ids],
            with_payload=self._selector,
        )
        answer = self._client.grpc_points.Get(request, timeout=self._timeout)
        return [_marker(point) for point in answer.result]

    def scroll_markers(
        self, partition: Partition, offset: Offset | None, limit: int
    ) -> tuple[list[Marker], Offset | None]:
        """See `Reader.scroll_markers`."""
        chosen = partition_filter(partition, markers_only=True)
        points, following = self._scroll(partition, chosen, self._selector, offset, limit)
        return [_marker(point) for point in points], following

    def scroll_ids(
        self, partition: Partition, offset: Offset | None, limit: int
    ) -> tuple[list[int], Offset | None]:
        """See `Reader.scroll_ids`."""
        chosen = partition_filter(partition)
        points, following = self._scroll(partition, chosen, _NOTHING, offset, limit)
        return [_number(point.id.uuid or point.id.num) for point in points], following

    def _scroll(
        self,
        partition: Partition,
        chosen: models.Filter,
        selector: grpc.WithPayloadSelector,
        offset: Offset | None,
        limit: int,
    ) -> tuple[Sequence[grpc.RetrievedPoint], Offset | None]:
        request = grpc.ScrollPoints(
            collection_name=partition.collection,
            filter=RestToGrpc.convert_filter(chosen),
            offset=offset,
            limit=limit,
            with_payload=selector,
        )
        answer = self._client.grpc_points.Scroll(request, timeout=self._timeout)
        following = answer.next_page_offset if answer.HasField("next_page_offset") else None
        return answer.result, following


class LocalReader:
    """Reads from qdrant-client's local mode."""

    def __init__(self, client: QdrantClient) -> None:
        self._client = client

    def markers(self, partition: Partition, point_ids: Sequence[str]) -> list[Marker]:
        """See `Reader.markers`."""
        records = self._client.retrieve(
            partition.collection, point_ids, with_payload=payload.MARKER_KEYS
        )
        return [payload.marker_of(str(one.id), one.payload or {}) for one in records]

    def scroll_markers(
        self, partition: Partition, offset: Offset | None, limit: int
    ) -> tuple[list[Marker], Offset | None]:
        """See `Reader.scroll_markers`."""
        chosen = partition_filter(partition, markers_only=True)
        records, following = self._client.scroll(
            partition.collection,
            scroll_filter=chosen,
            limit=limit,
            offset=offset,
            with_payload=payload.MARKER_KEYS,
        )
        return [payload.marker_of(str(one.id), one.payload or {}) for one in records], following

    def scroll_ids(
        self, partition: Partition, offset: Offset | None, limit: int
    ) -> tuple[list[int], Offset | None]:
        """See `Reader.scroll_ids`."""
        records, following = self._client.scroll(
            partition.collection,
            scroll_filter=partition_filter(partition),
            limit=limit,
            offset=offset,
            with_payload=False,
        )
        return [_number(one.id) for one in records], following


_NOTHING = grpc.WithPayloadSelector(enable=False)


def _number(point_id: models.ExtendedPointId) -> int:
    """Ours are UUIDs; a number is somebody else's."""
    return point_id if isinstance(point_id, int) else int(str(point_id).replace("-", ""), 16)


def _marker(point: grpc.RetrievedPoint) -> Marker:
    values = point.payload
    return Marker(
        point_id=point.id.uuid,
        entity_id=values[payload.METADATA].struct_value.fields[payload.ENTITY_ID].string_value,
        fingerprint=values[payload.FINGERPRINT].string_value,
        chunk_count=values[payload.EXTENT].integer_value,
    )
