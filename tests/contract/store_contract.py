"""What every vector store promises: inherit `StoreContract` and give it a `store` fixture."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from celeriac.errors import ConfigurationError, EntityError, NotFound, StoreMismatch
from celeriac.model import FilterField, FilterType, MetadataValue, Partition, Range
from celeriac.store.base import VOID, Census, Point, StoredChunk, VectorStore

DIMENSION = 8
STRANGE_IDS = ["ключ", "日本/語", "a b", "a:1/0", "", "🌱" * 300, 'quote"d', "line\nbreak\x00"]
FIELDS = [
    FilterField("code", FilterType.STRING),
    FilterField("stock", FilterType.INTEGER),
    FilterField("price", FilterType.FLOAT),
    FilterField("serial", FilterType.INTEGER),
    FilterField("weight", FilterType.FLOAT),
    FilterField("sizes", FilterType.LIST),
    FilterField("sold", FilterType.BOOLEAN),
    FilterField("changed", FilterType.DATETIME),
    FilterField("released", FilterType.DATE),
    FilterField("opens", FilterType.TIME),
    FilterField("tags", FilterType.LIST),
    FilterField("dotted.key", FilterType.STRING),
    FilterField("ключ с пробелом", FilterType.STRING),
    FilterField("extra", FilterType.OBJECT),
]
METADATA: dict[str, MetadataValue] = {
    "code": "A-1",
    "stock": 7,
    "price": 19.9,
    "serial": 2**62 + 1,
    "weight": 20.0,
    "sizes": [38, 42],
    "sold": True,
    "changed": "2025-03-01T12:00:00+01:00",
    "released": "2025-03-01",
    "opens": "08:30:00",
    "tags": ["red", "round"],
    "dotted.key": "dots",
    "ключ с пробелом": "пробел",
}


def new_partition(collection: str, generation: int = 1) -> Partition:
    return Partition(collection, str(uuid.uuid4()), generation)


def vector_of(text: str, dimension: int = DIMENSION) -> NDArray[np.float32]:
    """A vector of length 1 that differs from text to text."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    vector = np.random.default_rng(seed).normal(size=dimension).astype(np.float32)
    return vector / np.linalg.norm(vector)


def points_of(
    entity_id: str,
    texts: Sequence[str] = ("first", "second", "third"),
    *,
    fingerprint: str = "f1",
    metadata: Mapping[str, MetadataValue] | None = None,
) -> list[Point]:
    """An entity's points, the marker last."""
    shared = {**(metadata or {}), "tenant": "acme", "entity_type": "product"}
    points = [
        Point(
            entity_id=entity_id,
            chunk=number,
            chunk_count=len(texts),
            text=text,
            fingerprint=fingerprint,
            digest=hashlib.sha256(text.encode()).hexdigest(),
            vector=vector_of(text),
            metadata=shared,
        )
        for number, text in enumerate(texts)
    ]
    return [*points[1:], points[0]]


def everything(store: VectorStore, partition: Partition) -> dict[tuple[str, int], StoredChunk]:
    scanned = [chunk for chunks in store.scan(partition) for chunk in chunks]
    found = {(chunk.entity_id, chunk.chunk): chunk for chunk in scanned}
    assert len(found) == len(scanned)
    return found


class StoreContract:
    @pytest.fixture
    def shared_collection(self, collection_name: str) -> str:
        """Name of a collection that may hold the partitions of other tests."""
        return collection_name

    @pytest.fixture
    def partition(self, store: VectorStore, shared_collection: str) -> Partition:
        """An empty partition of a collection with FIELDS."""
        store.ensure_collection(shared_collection, DIMENSION, FIELDS)
        return new_partition(shared_collection)

    # ensure_collection

    def test_a_collection_is_ensured_any_number_of_times(
        self, store: VectorStore, partition: Partition
    ) -> None:
        store.upsert(partition, points_of("a"))

        store.ensure_collection(partition.collection, DIMENSION, FIELDS)
        store.ensure_collection(partition.collection, DIMENSION, [*FIELDS, FilterField("later")])

        assert store.count(partition) == 3

    def test_a_census_tells_a_set_of_points_from_any_other(
        self, store: VectorStore, partition: Partition, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("celeriac.store.qdrant.LISTED_IDS", 2)
        other = new_partition(partition.collection)
        store.upsert(other, points_of("z"))
        assert store.census(partition) == Census()

        store.upsert(partition, [*points_of("a"), *points_of("b", ["alone"])])
        ids = partition.sum_of_ids("a", 3) + partition.sum_of_ids("b", 1)
        assert store.census(partition) == Census(4, ids)

        store.delete_chunks(partition, [("a", 1)])
        store.upsert(partition, points_of("c", ["alone"]))
        found = store.census(partition)
        assert found.points == 4
        assert found.ids != ids

    def test_workers_ensure_one_collection_at_once(
        self, store: VectorStore, collection_name: str
    ) -> None:
        barrier = threading.Barrier(6)

        def ensure(_: int) -> None:
            barrier.wait()
            store.ensure_collection(collection_name, DIMENSION, FIELDS)

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(ensure, range(6)))

        assert store.count(new_partition(collection_name)) == 0

    def test_another_dimension_is_a_mismatch(
        self, store: VectorStore, partition: Partition
    ) -> None:
        with pytest.raises(StoreMismatch, match="own_collection"):
            store.ensure_collection(partition.collection, DIMENSION + 1, FIELDS)

    @pytest.mark.parametrize("key", ["", 'a"b', "a\\b"])
    def test_a_key_without_a_path_is_refused(
        self, store: VectorStore, collection_name: str, key: str
    ) -> None:
        with pytest.raises(ConfigurationError, match="key of a filter field"):
            store.ensure_collection(collection_name, DIMENSION, [FilterField(key)])

    def test_a_missing_collection_is_not_found(
        self, store: VectorStore, collection_name: str
    ) -> None:
        partition = new_partition(collection_name)

        for call in (
            lambda: store.count(partition),
            lambda: store.markers(partition, ["a"]),
            lambda: store.upsert(partition, points_of("a")),
            lambda: store.void(partition, {"a": 1}),
            lambda: store.search(partition, vector_of("a"), top_k=1),
            lambda: list(store.scan(partition)),
        ):
            with pytest.raises(NotFound, match=collection_name):
                call()

    # upsert, chunks

    def test_points_are_read_back_as_written(
        self, store: VectorStore, partition: Partition
    ) -> None:
        points = points_of("a", metadata=METADATA)

        store.upsert(partition, points)

        chunks = store.chunks(partition, [("a", 0), ("a", 1), ("a", 2)], with_vectors=True)
        read = {chunk.chunk: chunk for chunk in chunks}
        assert len(chunks) == 3
        for point in points:
            chunk = read[point.chunk]
            assert chunk.entity_id == "a"
            assert chunk.chunk_count == 3
            assert (chunk.text, chunk.fingerprint, chunk.digest) == (point.text, "f1", point.digest)
            assert chunk.vector is not None
            np.testing.assert_allclose(chunk.vector, point.vector, atol=1e-6)

    def test_the_payload_is_laid_out_for_retrievers(
        self, store: VectorStore, partition: Partition
    ) -> None:
        store.upsert(partition, points_of("a", ["first", "second"], metadata=METADATA))

        read = everything(store, partition)
        metadata = {
            **METADATA,
            "tenant": "acme",
            "entity_type": "product",
            "entity_id": "a",
            "chunk": 0,
            "chunk_count": 2,
        }
        marker = read["a", 0].payload
        assert marker == {
            "page_content": "first",
            "metadata": metadata,
            "partition": partition.key,
            "marker": int(partition.point_id("a", 0)[:8], 16),
            "fingerprint": "f1",
            "digest": read["a", 0].digest,
            "extent": 2,
        }
        follower = read["a", 1].payload
        assert follower["metadata"] == {**metadata, "chunk": 1}
        assert "marker" not in follower
        assert "extent" not in follower

    def test_vectors_come_back_with_length_1(
        self, store: VectorStore, partition: Partition
    ) -> None:
        (point,) = points_of("a", ["text"])
        store.upsert(partition, [replace(point, vector=point.vector * 5)])

        (chunk,) = store.chunks(partition, [("a", 0)], with_vectors=True)
        assert chunk.vector is not None
        assert chunk.vector.dtype == np.float32
        np.testing.assert_allclose(chunk.vector, point.vector, atol=1e-6)

    def test_vectors_are_left_out_unless_asked_for(
        self, store: VectorStore, partition: Partition
    ) -> None:
        store.upsert(partition, points_of("a"))

        (chunk,) = store.chunks(partition, [("a", 2)])
        assert chunk.vector is None

    def test_an_upsert_replaces(self, store: VectorStore, partition: Partition) -> None:
        store.upsert(partition, points_of("a", ["old", "old too"], metadata={"code": "A"}))
        store.upsert(partition, points_of("a", ["new", "new too"], fingerprint="f2"))

        read = everything(store, partition)
        assert [read["a", n].text for n in range(2)] == ["new", "new too"]
        assert read["a", 0].fingerprint == "f2"
        assert "code" not in read["a", 0].payload["metadata"]

    def test_writing_twice_changes_nothing(self, store: VectorStore, partition: Partition) -> None:
        store.upsert(partition, points_of("a"))
        before = everything(store, partition)

        store.upsert(partition, points_of("a"))

        assert everything(store, partition) == before

    def test_nothing_is_asked_for_nothing(self, store: VectorStore, partition: Partition) -> None:
        store.upsert(partition, [])
        store.void(partition, {})
        store.delete_chunks(partition, [])

        assert store.markers(partition, []) == {}
        assert store.chunks(partition, []) == []
        assert store.count(partition) == 0

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_a_vector_that_is_no_number_is_refused(
        self, store: VectorStore, partition: Partition, bad: float
    ) -> None:
        (point,) = points_of("poison", ["text"])
        vector = point.vector.copy()
        vector[3] = bad

        with pytest.raises(EntityError, match="'poison', chunk 0"):
            store.upsert(partition, [*points_of("sound"), replace(point, vector=vector)])

    def test_a_vector_of_another_dimension_is_a_mismatch(
        self, store: VectorStore, partition: Partition
    ) -> None:
        (point,) = points_of("a", ["text"])

        with pytest.raises(StoreMismatch):
            store.upsert(partition, [replace(point, vector=vector_of("text", DIMENSION + 1))])
        with pytest.raises(StoreMismatch):
            store.search(partition, vector_of("text", DIMENSION + 1), top_k=1)

    def test_a_text_of_a_megabyte_is_stored_whole(
        self, store: VectorStore, partition: Partition
    ) -> None:
        text = "Sellerie 🌱 " * 90_000

        store.upsert(partition, points_of("a", [text, "short"]))

        assert everything(store, partition)["a", 0].text == text

    def test_any_id_and_any_text_is_kept_apart(
        self, store: VectorStore, partition: Partition
    ) -> None:
        for entity_id in STRANGE_IDS:
            store.upsert(partition, points_of(entity_id, [f"text of {entity_id}"]))

        assert set(store.markers(partition, STRANGE_IDS)) == set(STRANGE_IDS)
        read = everything(store, partition)
        assert {one.entity_id: one.text for one in read.values()} == {
            entity_id: f"text of {entity_id}" for entity_id in STRANGE_IDS
        }

    def test_writers_in_several_threads_lose_nothing(
        self, store: VectorStore, partition: Partition
    ) -> None:
        def write(worker: int) -> None:
            for number in range(10):
                entity_id = f"{worker}-{number}"
                store.upsert(partition, points_of(entity_id))
                assert store.markers(partition, [entity_id])
                store.void(partition, {entity_id: 3})
                store.delete_chunks(partition, [(entity_id, 2)])

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, range(4)))

        assert set(everything(store, partition)) == {
            (f"{worker}-{number}", chunk)
            for worker in range(4)
            for number in range(10)
            for chunk in (0, 1)
        }

    # markers, void

    def test_markers_are_those_of_present_entities(
        self, store: VectorStore, partition: Partition
    ) -> None:
        store.upsert(partition, [*points_of("a"), *points_of("b", ["one"], fingerprint="f2")])
        store.upsert(partition, points_of("without marker")[:-1])

        markers = store.markers(partition, ["a", "b", "missing", "without marker"])

        assert set(markers) == {"a", "b"}
        assert (markers["a"].fingerprint, markers["a"].chunk_count) == ("f1", 3)
        assert (markers["b"].fingerprint, markers["b"].chunk_count) == ("f2", 1)
        assert markers["a"].point_id == partition.point_id("a", 0)

    def test_void_takes_the_fingerprint_and_sets_the_extent(
        self, store: VectorStore, partition: Partition
    ) -> None:
        store.upsert(partition, [*points_of("a"), *points_of("b"), *points_of("c")])

        store.void(partition, {"a": 7, "b": 7})

        markers = store.markers(partition, ["a", "b", "c"])
        assert (markers["a"].fingerprint, markers["a"].chunk_count) == (VOID, 7)
        assert (markers["b"].fingerprint, markers["b"].chunk_count) == (VOID, 7)
        assert (markers["c"].fingerprint, markers["c"].chunk_count) == ("f1", 3)
        marker = everything(store, partition)["a", 0]
        assert (marker.text, marker.chunk_count) == ("first", 3)

    def test_void_creates_nothing(self, store: VectorStore, partition: Partition) -> None:
        store.upsert(partition, points_of("a"))

        store.void(partition, {"missing": 4, "a": 4, "missing too": 2})

        assert store.count(partition) == 3
        assert store.markers(partition, ["a"])["a"].fingerprint == VOID
        assert store.markers(partition, ["missing", "missing too"]) == {}

    def test_an_upsert_ends_the_void(self, store: VectorStore, partition: Partition) -> None:
        store.upsert(partition, points_of("a"))
        store.void(partition, {"a": 9})

        store.upsert(partition, points_of("a", ["only"], fingerprint="f2"))

        marker = store.markers(partition, ["a"])["a"]
        assert (marker.fingerprint, marker.chunk_count) == ("f2", 1)

    # delete_chunks, delete_partition, count

    def test_chunks_are_deleted_by_name(self, store: VectorStore, partition: Partition) -> None:
        store.upsert(partition, [*points_of("a"), *points_of("b")])

        store.delete_chunks(partition, [("a", 1), ("a", 2), ("a", 99), ("missing", 0)])

        assert set(everything(store, partition)) == {("a", 0), ("b", 0), ("b", 1), ("b", 2)}

    def test_partitions_of_one_collection_are_apart(
        self, store: VectorStore, partition: Partition
    ) -> None:
        following = replace(partition, generation=2)
        other = new_partition(partition.collection)
        for one, text in ((partition, "live"), (following, "next"), (other, "other")):
            store.upsert(one, points_of("a", [text]))

        store.void(following, {"a": 1})
        store.delete_chunks(other, [("a", 0)])

        assert store.markers(partition, ["a"])["a"].fingerprint == "f1"
        assert [hit.text for hit in store.search(following, vector_of("live"), top_k=9)] == ["next"]
        assert [store.count(one) for one in (partition, following, other)] == [1, 1, 0]

    def test_a_partition_is_deleted_whole_and_alone(
        self, store: VectorStore, partition: Partition
    ) -> None:
        other = new_partition(partition.collection)
        store.upsert(partition, points_of("a", [str(number) for number in range(2500)]))
        store.upsert(other, points_of("a"))

        store.delete_partition(partition)
        store.delete_partition(partition)

        assert store.count(partition) == 0
        assert store.count(other) == 3

    def test_a_deletion_that_is_interrupted_is_gone_on_with(
        self, store: VectorStore, partition: Partition
    ) -> None:
        store.upsert(partition, points_of("a", [str(number) for number in range(2500)]))
        steps: list[int] = []

        def interrupt() -> None:
            steps.append(store.count(partition))
            if len(steps) == 2:
                raise InterruptedError

        with pytest.raises(InterruptedError):
            store.delete_partition(partition, checkpoint=interrupt)
        assert 0 < store.count(partition) == steps[1] < steps[0] == 2500

        store.delete_partition(partition)

        assert store.count(partition) == 0

    def test_a_partition_without_collection_is_deleted_already(
        self, store: VectorStore, collection_name: str
    ) -> None:
        store.delete_partition(new_partition(collection_name))

    # scan

    def test_a_scan_is_complete_in_batches(self, store: VectorStore, partition: Partition) -> None:
        entities = {f"entity {number}" for number in range(120)}
        store.upsert(partition, [p for entity in sorted(entities) for p in points_of(entity)])

        batches = list(store.scan(partition, batch=50))
        markers = list(store.scan_markers(partition, batch=50))

        assert [len(batch) for batch in batches] == [50] * 7 + [10]
        names = [(chunk.entity_id, chunk.chunk) for batch in batches for chunk in batch]
        assert len(names) == 360
        assert set(names) == {(entity, n) for entity in entities for n in range(3)}
        assert [len(batch) for batch in markers] == [50, 50, 20]
        assert {marker.entity_id for batch in markers for marker in batch} == entities

    def test_what_a_scan_has_shown_may_be_deleted_meanwhile(
        self, store: VectorStore, partition: Partition
    ) -> None:
        entities = {f"entity {number}" for number in range(60)}
        store.upsert(partition, [p for entity in sorted(entities) for p in points_of(entity, "x")])

        seen = set()
        for markers in store.scan_markers(partition, batch=7):
            seen |= {marker.entity_id for marker in markers}
            store.delete_chunks(partition, [(marker.entity_id, 0) for marker in markers])

        assert seen == entities
        assert store.count(partition) == 0

    def test_a_scan_goes_on_where_its_next_point_is_gone(
        self, store: VectorStore, partition: Partition
    ) -> None:
        entities = [f"entity {number}" for number in range(30)]
        store.upsert(partition, [p for entity in entities for p in points_of(entity, "x")])

        batches = store.scan_markers(partition, batch=10)
        first = {marker.entity_id for marker in next(batches)}
        survivors = set(sorted(set(entities) - first)[::2])
        gone = set(entities) - first - survivors
        store.delete_chunks(partition, [(entity, 0) for entity in gone])

        assert {marker.entity_id for batch in batches for marker in batch} == survivors

    def test_an_empty_partition_is_scanned(self, store: VectorStore, partition: Partition) -> None:
        assert list(store.scan(partition)) == []
        assert list(store.scan_markers(partition)) == []

    # search

    @pytest.mark.parametrize("exact", [False, True])
    def test_the_most_similar_chunks_are_found_best_first(
        self, store: VectorStore, partition: Partition, exact: bool
    ) -> None:
        texts = [f"text {number}" for number in range(200)]
        store.upsert(partition, points_of("a", texts, metadata=METADATA))
        query = vector_of("a question")

        hits = store.search(partition, query, top_k=5, exact=exact)

        similarity = {text: float(vector_of(text) @ query) for text in texts}
        best = sorted(texts, key=lambda text: -similarity[text])[:5]
        assert [hit.text for hit in hits] == best
        for hit in hits:
            assert hit.score == pytest.approx(similarity[hit.text], abs=1e-5)
            assert hit.text == texts[hit.chunk]
            assert hit.metadata["code"] == "A-1"
            assert hit.metadata["chunk"] == hit.chunk

    @pytest.mark.parametrize(
        ("key", "same", "other"),
        [
            ("code", "A-1", "A-2"),
            ("stock", 7, 8),
            ("stock", 7.0, 8.0),
            ("serial", 2**62 + 1, 2**62),
            ("weight", 20, 21),
            ("weight", 20.0, 20.5),
            ("sizes", 42, 43),
            ("price", 19.9, 19.8),
            ("sold", True, False),
            ("changed", "2025-03-01T12:00:00+01:00", "2025-03-01T12:00:00Z"),
            ("changed", "2025-03-01T11:00:00Z", "2025-03-01T11:00:01Z"),
            ("changed", "2025-03-01 11:00", "2025-03-01 12:00"),
            ("released", "2025-03-01", "2025-03-02"),
            ("opens", "08:30:00", "08:30"),
            ("tags", "round", "square"),
            ("dotted.key", "dots", "dot"),
            ("ключ с пробелом", "пробел", ""),
            ("tenant", "acme", "other"),
            ("entity_id", "a", "b"),
            ("chunk", 1, 2),
        ],
    )
    def test_a_filter_takes_its_value_and_no_other(
        self,
        store: VectorStore,
        partition: Partition,
        key: str,
        same: str | float,
        other: str | float,
    ) -> None:
        store.upsert(partition, points_of("a", ["first", "second"], metadata=METADATA))

        def found(value: MetadataValue) -> set[str]:
            hits = store.search(partition, vector_of("x"), top_k=5, filters={key: value})
            return {hit.text for hit in hits}

        assert "second" in found(same)
        assert found(other) == set()
        assert found([other, same]) == found(same)
        assert found([other]) == set()
        assert found([]) == set()

    @pytest.mark.parametrize(
        ("key", "bounds", "found"),
        [
            ("stock", Range(gte=2), "bc"),
            ("stock", Range(gt=2), "c"),
            ("stock", Range(lte=2), "ab"),
            ("stock", Range(gte=2, lt=3), "b"),
            ("price", Range(gt=1.5, lte=3.0), "b"),
            ("released", Range(gte="2026-02-01"), "bc"),
            ("released", Range(gt="2026-02-01", lte="2026-03-01"), "c"),
            ("changed", Range(lt="2026-02-01T12:00:00+01:00"), "a"),
            ("changed", Range(lte="2026-02-01T12:00:00+01:00"), "ab"),
            ("changed", Range(gte="2026-02-01T11:00:00", lt="2026-02-01T11:00:01"), "b"),
        ],
    )
    def test_a_filter_takes_what_is_within_bounds(
        self, store: VectorStore, partition: Partition, key: str, bounds: Range, found: str
    ) -> None:
        for number, name in enumerate("abc", start=1):
            at = f"2026-0{number}-01T11:00:00+00:00"
            values = {"stock": number, "price": number * 1.5, "released": at[:10], "changed": at}
            store.upsert(partition, points_of(name, [name], metadata=values))
        hits = store.search(partition, vector_of("x"), top_k=9, filters={key: bounds})
        assert "".join(sorted(hit.entity_id for hit in hits)) == found

    def test_filters_must_all_hold(self, store: VectorStore, partition: Partition) -> None:
        store.upsert(partition, points_of("a", ["a"], metadata={"code": "A", "stock": 1}))
        store.upsert(partition, points_of("b", ["b"], metadata={"code": "A", "stock": 2}))
        store.upsert(partition, points_of("c", ["c"], metadata={"code": "C", "stock": 2}))

        hits = store.search(
            partition, vector_of("x"), top_k=9, filters={"code": ["A", "B"], "stock": 2}
        )

        assert [hit.entity_id for hit in hits] == ["b"]

    def test_ping_answers(self, store: VectorStore) -> None:
        store.ping()
