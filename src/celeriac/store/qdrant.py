"""The vector store in Qdrant: a server over gRPC, or qdrant-client's local mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models

from celeriac.errors import CollectionMissing
from celeriac.model import FilterField, FilterValue, Partition
from celeriac.store import payload
from celeriac.store.base import VOID, Census, Fault, Hit, Indexing, Marker, Point, StoredChunk
from celeriac.store.collections import Collections
from celeriac.store.filters import partition_filter
from celeriac.store.readers import Reader
from celeriac.store.writers import Writer, requests, require_completed, require_finite

IDS_PER_REQUEST = 1000
LISTED_IDS = 10_000
"""Ids listed at a time: each listing walks the partition's index."""

Ids = list[models.ExtendedPointId]
Found = TypeVar("Found")


class QdrantStore:
    """A `VectorStore` in Qdrant; `opening` makes one.

    Open it in the process that uses it: a gRPC channel does not survive a fork.
    """

    def __init__(
        self,
        client: QdrantClient,
        *,
        guard: Callable[[], AbstractContextManager[None]],
        writer: Writer,
        reader: Reader,
        ping: Callable[[], object],
        collections: Collections,
        approximate: bool,
    ) -> None:
        """Each call to the client is made within `guard()`, which translates its errors.

        `approximate` says whether searches go through a graph unless they are told not to.
        """
        self._client = client
        self._guard = guard
        self._writer = writer
        self._reader = reader
        self._ping = ping
        self._collections = collections
        self._exact = models.SearchParams(exact=True) if approximate else None

    def ensure_collection(
        self, collection: str, dimension: int, filter_fields: Sequence[FilterField]
    ) -> None:
        with self._calling(collection):
            self._collections.ensure(collection, dimension, filter_fields)

    def faults(
        self, collection: str, dimension: int, filter_fields: Sequence[FilterField]
    ) -> list[Fault] | None:
        with self._guard():
            return self._collections.faults(collection, dimension, filter_fields)

    def indexing(self, collection: str) -> Indexing | None:
        with self._calling(collection):
            return self._collections.indexing(collection)

    def index_from(self, collection: str, kilobytes: int) -> None:
        with self._calling(collection):
            self._collections.index_from(collection, kilobytes)

    def markers(self, partition: Partition, entity_ids: Sequence[str]) -> dict[str, Marker]:
        ids = [partition.point_id(entity_id, 0) for entity_id in entity_ids]
        found: list[Marker] = []
        for start in range(0, len(ids), IDS_PER_REQUEST):
            with self._calling(partition.collection):
                found += self._reader.markers(partition, ids[start : start + IDS_PER_REQUEST])
        return {marker.entity_id: marker for marker in found}

    def void(self, partition: Partition, chunk_counts: Mapping[str, int]) -> None:
        by_extent: dict[int, Ids] = {}
        for entity_id, extent in chunk_counts.items():
            by_extent.setdefault(extent, []).append(partition.point_id(entity_id, 0))
        operations = [
            _voiding(extent, ids[start : start + IDS_PER_REQUEST])
            for extent, ids in by_extent.items()
            for start in range(0, len(ids), IDS_PER_REQUEST)
        ]
        if operations:
            with self._calling(partition.collection):
                results = self._client.batch_update_points(partition.collection, operations)
            for result in results:
                _require_completed(result)

    def upsert(self, partition: Partition, points: Sequence[Point]) -> None:
        require_finite(points)
        for request in requests(points):
            with self._calling(partition.collection):
                self._writer.write(partition, request)

    def delete_chunks(self, partition: Partition, chunks: Sequence[tuple[str, int]]) -> None:
        self._delete(partition, [partition.point_id(*chunk) for chunk in chunks])

    def chunks(
        self,
        partition: Partition,
        chunks: Sequence[tuple[str, int]],
        *,
        with_vectors: bool = False,
    ) -> list[StoredChunk]:
        ids = [partition.point_id(*chunk) for chunk in chunks]
        records = self._retrieve(partition, ids, with_vectors=with_vectors)
        return [payload.chunk_of(one.payload or {}, one.vector) for one in records]

    def scan_markers(self, partition: Partition, *, batch: int = 1000) -> Iterator[list[Marker]]:
        scroll = self._reader.scroll_markers
        return self._scrolled(partition, lambda offset: scroll(partition, offset, batch))

    def scan(self, partition: Partition, *, batch: int = 1000) -> Iterator[list[StoredChunk]]:
        chosen = partition_filter(partition)

        def scroll(offset: Any) -> tuple[list[models.Record], Any]:
            return self._client.scroll(
                partition.collection, scroll_filter=chosen, limit=batch, offset=offset
            )

        for records in self._scrolled(partition, scroll):
            yield [payload.chunk_of(one.payload or {}, None) for one in records]

    def count(self, partition: Partition) -> int:
        with self._calling(partition.collection):
            counted = self._client.count(
                partition.collection, count_filter=partition_filter(partition), exact=True
            )
        return counted.count

    def census(
        self, partition: Partition, *, checkpoint: Callable[[], None] = lambda: None
    ) -> Census:
        found = Census()
        scroll = self._reader.scroll_ids
        for ids in self._scrolled(
            partition, lambda offset: scroll(partition, offset, LISTED_IDS), checkpoint
        ):
            found += Census(len(ids), sum(ids))
        return found

    def delete_partition(
        self, partition: Partition, *, checkpoint: Callable[[], None] = lambda: None
    ) -> None:
        try:
            while ids := self._some_ids(partition):
                for start in range(0, len(ids), IDS_PER_REQUEST):
                    checkpoint()
                    self._delete(partition, ids[start : start + IDS_PER_REQUEST])
        except CollectionMissing:
            return  # without the collection there is nothing left of the partition

    def search(
        self,
        partition: Partition,
        vector: NDArray[np.float32],
        *,
        top_k: int,
        filters: Mapping[str, FilterValue] | None = None,
        exact: bool = False,
    ) -> list[Hit]:
        if any(value == [] for value in (filters or {}).values()):
            return []
        with self._calling(partition.collection):
            found = self._client.query_points(
                partition.collection,
                query=vector.tolist(),
                query_filter=partition_filter(partition, filters),
                search_params=self._exact if exact else None,
                limit=top_k,
                with_payload=payload.HIT_KEYS,
            )
        return [payload.hit_of(point.score, point.payload or {}) for point in found.points]

    def ping(self) -> None:
        with self._calling():
            self._ping()

    def close(self) -> None:
        with self._guard():
            self._client.close()

    @contextmanager
    def _calling(self, collection: str | None = None) -> Iterator[None]:
        try:
            with self._guard():
                yield
        except CollectionMissing:
            if collection is not None:
                self._collections.forget(collection)
            raise

    def _scrolled(
        self,
        partition: Partition,
        scroll: Callable[[Any], tuple[list[Found], Any]],
        checkpoint: Callable[[], None] = lambda: None,
    ) -> Iterator[list[Found]]:
        """What `scroll` gives from its beginning on, batch by batch."""
        offset: Any = None
        while True:
            checkpoint()
            with self._calling(partition.collection):
                found, offset = scroll(offset)
            if found:
                yield found
            if offset is None:
                return

    def _retrieve(
        self,
        partition: Partition,
        ids: Sequence[str],
        *,
        with_vectors: bool,
    ) -> list[models.Record]:
        records: list[models.Record] = []
        for start in range(0, len(ids), IDS_PER_REQUEST):
            with self._calling(partition.collection):
                records += self._client.retrieve(
                    partition.collection,
                    ids[start : start + IDS_PER_REQUEST],
                    with_payload=True,
                    with_vectors=with_vectors,
                )
        return records

    def _delete(self, partition: Partition, ids: Sequence[models.ExtendedPointId]) -> None:
        for start in range(0, len(ids), IDS_PER_REQUEST):
            selector = models.PointIdsList(points=list(ids[start : start + IDS_PER_REQUEST]))
            with self._calling(partition.collection):
                result = self._client.delete(partition.collection, selector, wait=True)
            _require_completed(result)

    def _some_ids(self, partition: Partition) -> Ids:
        with self._calling(partition.collection):
            records, _ = self._client.scroll(
                partition.collection,
                scroll_filter=partition_filter(partition),
                limit=LISTED_IDS,
                with_payload=False,
            )
        return [record.id for record in records]


def _voiding(extent: int, ids: Ids) -> models.SetPayloadOperation:
    # A filter of ids passes over those that do not exist; a list of ids is an error then.
    return models.SetPayloadOperation(
        set_payload=models.SetPayload(
            payload={payload.FINGERPRINT: VOID, payload.EXTENT: extent},
            filter=models.Filter(must=[models.HasIdCondition(has_id=ids)]),
        )
    )


def _require_completed(result: models.UpdateResult) -> None:
    require_completed(result.status is models.UpdateStatus.COMPLETED)
