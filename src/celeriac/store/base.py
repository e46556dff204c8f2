"""The vector store protocol: what the pipeline asks of a store, by point id or partition."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from celeriac.model import FilterField, FilterValue, MetadataValue, Partition

VOID = ""
"""The fingerprint of a marker whose entity is being rewritten."""


@dataclass(frozen=True, slots=True)
class Point:
    """One chunk as it is stored."""

    entity_id: str
    chunk: int
    """0-based; chunk 0 is the entity's marker."""
    chunk_count: int
    text: str
    fingerprint: str
    """The entity's; the same on each of its chunks."""
    digest: str
    """`IndexSpec.chunk_digest` of this chunk's text."""
    vector: NDArray[np.float32]
    """Shape (dimension,)."""
    metadata: Mapping[str, MetadataValue]
    """Filter fields under their keys, and tenant and entity_type."""


@dataclass(frozen=True, slots=True)
class Marker:
    """Chunk 0 of an entity without its text: the commit mark."""

    point_id: str
    entity_id: str
    fingerprint: str
    """VOID while the entity is being rewritten."""
    chunk_count: int
    """How many chunk ids, counted from 0, may exist: what to delete to remove the entity."""


@dataclass(frozen=True, slots=True)
class Census:
    """Which points there are: two sets of them with one census are the same set, for ids are as
    good as random."""

    points: int = 0
    ids: int = 0
    """The sum of their ids as numbers."""

    def __add__(self, other: Census) -> Census:
        return Census(self.points + other.points, self.ids + other.ids)


@dataclass(slots=True)
class MarkerCensus:
    """Which markers there are, and what they say; no two sets of them have the same but by a
    chance of 1 in 2**128 (AdHash: Bellare and Micciancio, 1997)."""

    markers: int = 0
    points: int = 0
    """That they account for."""
    digest: int = 0
    """The sum of a digest of each, modulo 2**128."""

    def add(self, marker: Marker) -> None:
        said = f"{marker.point_id}{marker.chunk_count}/{marker.fingerprint}".encode()
        one = int.from_bytes(hashlib.blake2b(said, digest_size=16).digest())
        self.markers += 1
        self.points += marker.chunk_count
        self.digest = (self.digest + one) % 2**128


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk as read back."""

    entity_id: str
    chunk: int
    chunk_count: int
    text: str
    fingerprint: str
    digest: str
    vector: NDArray[np.float32] | None
    """Shape (dimension,), of length 1 whatever was written; None where it was not asked for."""
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Hit:
    """A search result."""

    entity_id: str
    chunk: int
    score: float
    text: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something about a collection that is not as it has to be."""

    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Indexing:
    """How far a collection's points are indexed. Those that are not are searched one by one:
    slower, and with the same answers."""

    points: int
    indexed: int
    """Of the points, about."""
    settled: bool
    """Whether nothing is being indexed now, or waits for it."""
    threshold: int
    """From how many kilobytes of vectors on a segment is indexed; 0: it never is."""


class VectorStore(Protocol):
    """Where points live. Every write has happened when the call returns.

    Safe to call from several threads. Any method raises

    - StoreUnavailable: the store cannot be reached or does not do as asked for now;
    - CollectionMissing: the collection does not exist (but for `ensure_collection` and
      `delete_partition`);
    - StoreMismatch: a vector has another dimension than the collection;
    - ConfigurationError: the store refuses access.
    """

    def ensure_collection(
        self, collection: str, dimension: int, filter_fields: Sequence[FilterField]
    ) -> None:
        """Create what is missing: the collection, then its payload indexes.

        Several workers may do so at once. Of a collection that was found once no more is asked
        than whether it is there.

        Raises:
            ConfigurationError: a filter field's key cannot be addressed in the store.
            StoreMismatch: it exists with another dimension, or a filter field with another type.
        """
        ...

    def faults(
        self, collection: str, dimension: int, filter_fields: Sequence[FilterField]
    ) -> list[Fault] | None:
        """What keeps the collection from being as `ensure_collection` would have it; None where
        it does not exist. Nothing is changed.

        Raises:
            ConfigurationError: a filter field's key cannot be addressed in the store.
        """
        ...

    def indexing(self, collection: str) -> Indexing | None:
        """How far a collection is indexed; None where points are not indexed at all."""
        ...

    def index_from(self, collection: str, kilobytes: int) -> None:
        """Have segments with that many kilobytes of vectors indexed, and no smaller ones; what is
        indexed stays so."""
        ...

    def markers(self, partition: Partition, entity_ids: Sequence[str]) -> dict[str, Marker]:
        """The markers of those entities that have one, by entity id."""
        ...

    def void(self, partition: Partition, chunk_counts: Mapping[str, int]) -> None:
        """Void existing markers and set their chunk_count, by entity id.

        A marker that does not exist is not created.
        """
        ...

    def upsert(self, partition: Partition, points: Sequence[Point]) -> None:
        """Insert or replace points, in requests of bounded size, in the order given.

        When it fails, the points before the failing request are there.

        Raises:
            EntityError: a point that cannot be stored: a vector with NaN, a text with half of a
                surrogate pair.
        """
        ...

    def delete_chunks(self, partition: Partition, chunks: Sequence[tuple[str, int]]) -> None:
        """Delete points named by (entity id, chunk); a missing one is no error."""
        ...

    def chunks(
        self,
        partition: Partition,
        chunks: Sequence[tuple[str, int]],
        *,
        with_vectors: bool = False,
    ) -> list[StoredChunk]:
        """Those of the chunks named by (entity id, chunk) that exist, in any order."""
        ...

    def scan_markers(self, partition: Partition, *, batch: int = 1000) -> Iterator[list[Marker]]:
        """Every marker of the partition, in batches."""
        ...

    def scan(self, partition: Partition, *, batch: int = 1000) -> Iterator[list[StoredChunk]]:
        """Every point of the partition, in batches, without vectors."""
        ...

    def count(self, partition: Partition) -> int:
        """Points of the partition, counted exactly."""
        ...

    def census(
        self, partition: Partition, *, checkpoint: Callable[[], None] = lambda: None
    ) -> Census:
        """Every point of the partition; `checkpoint` is called before each step."""
        ...

    def delete_partition(
        self, partition: Partition, *, checkpoint: Callable[[], None] = lambda: None
    ) -> None:
        """Remove every point of the partition by id, in bounded steps; none is no error.

        `checkpoint` is called before each step; what it raises ends the removal, and another call
        goes on with it.
        """
        ...

    def search(
        self,
        partition: Partition,
        vector: NDArray[np.float32],
        *,
        top_k: int,
        filters: Mapping[str, FilterValue] | None = None,
        exact: bool = False,
    ) -> list[Hit]:
        """The `top_k` chunks of highest cosine similarity, best first.

        A graph may miss one of them, unless the search is to be `exact`: every point is compared.

        `filters` gives filter field keys and the value each must have (one of, for a list; where
        the field itself is a list, any of its elements counts), or the range it must be in. Text in
        the form of a date or datetime stands for its instant, UTC where it names no zone.
        """
        ...

    def ping(self) -> None:
        """Return when the store answers, within seconds; raise StoreUnavailable otherwise."""
        ...

    def close(self) -> None:
        """Release connections."""
        ...
