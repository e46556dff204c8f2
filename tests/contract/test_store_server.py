"""The contract on a Qdrant server, and what only a server can do: vanish, refuse, index."""

from __future__ import annotations

import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
import servers
from qdrant_client import QdrantClient, models
from store_contract import (
    DIMENSION,
    FIELDS,
    StoreContract,
    everything,
    new_partition,
    points_of,
    vector_of,
)

from celeriac.errors import ConfigurationError, EntityError, StoreMismatch, StoreUnavailable
from celeriac.model import FilterField, FilterType
from celeriac.store import open_store
from celeriac.store.base import VectorStore

T = TypeVar("T")
PATIENCE_SECONDS = 30
# A collection with its indexes takes a second to make.
SHARED_COLLECTION = f"test_shared_{uuid.uuid4().hex}"


@pytest.fixture
def store(qdrant_server: servers.QdrantServer) -> Iterator[VectorStore]:
    store = open_store(qdrant_server.url)
    yield store
    store.close()


@pytest.fixture
def client(qdrant_server: servers.QdrantServer) -> Iterator[QdrantClient]:
    """To look behind the store."""
    client = QdrantClient(url=qdrant_server.url, check_compatibility=False, timeout=30)
    yield client
    client.close()


def eventually(call: Callable[[], T]) -> T:
    """The first result of a call that finds the store unavailable at first."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return call()
        except StoreUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


class TestStoreOnServer(StoreContract):
    @pytest.fixture
    def store(self, store: VectorStore) -> VectorStore:
        return store

    @pytest.fixture
    def shared_collection(self) -> str:
        return SHARED_COLLECTION


def test_the_collection_is_made_for_many_tenants(
    store: VectorStore, client: QdrantClient, collection_name: str
) -> None:
    store.ensure_collection(collection_name, DIMENSION, FIELDS)

    info = client.get_collection(collection_name)
    assert info.config.hnsw_config.m == 0
    assert info.config.hnsw_config.payload_m == 16
    assert info.config.params.on_disk_payload is True
    assert info.config.params.vectors == models.VectorParams(
        size=DIMENSION, distance=models.Distance.COSINE
    )
    assert {path: index.data_type.value for path, index in info.payload_schema.items()} == {
        "partition": "keyword",
        "marker": "integer",
        "metadata.code": "keyword",
        "metadata.stock": "integer",
        "metadata.price": "float",
        "metadata.serial": "integer",
        "metadata.weight": "float",
        "metadata.sizes": "keyword",
        "metadata.sold": "bool",
        "metadata.changed": "datetime",
        "metadata.released": "datetime",
        "metadata.opens": "keyword",
        "metadata.tags": "keyword",
        'metadata."dotted.key"': "keyword",
        'metadata."ключ с пробелом"': "keyword",
    }
    partition_index = info.payload_schema["partition"].params
    assert isinstance(partition_index, models.KeywordIndexParams)
    assert partition_index.is_tenant is True


def test_a_filter_field_of_another_type_is_a_mismatch(
    store: VectorStore, collection_name: str
) -> None:
    store.ensure_collection(collection_name, DIMENSION, [FilterField("code")])

    with pytest.raises(StoreMismatch, match=r"metadata\.code.*own_collection"):
        store.ensure_collection(
            collection_name, DIMENSION, [FilterField("code", FilterType.INTEGER)]
        )


def test_another_distance_is_a_mismatch(
    store: VectorStore, client: QdrantClient, collection_name: str
) -> None:
    client.create_collection(
        collection_name, models.VectorParams(size=DIMENSION, distance=models.Distance.DOT)
    )

    with pytest.raises(StoreMismatch, match="Dot"):
        store.ensure_collection(collection_name, DIMENSION, [])


def test_named_vectors_are_a_mismatch(
    store: VectorStore, client: QdrantClient, collection_name: str
) -> None:
    vectors = {"text": models.VectorParams(size=DIMENSION, distance=models.Distance.COSINE)}
    client.create_collection(collection_name, vectors)

    with pytest.raises(StoreMismatch, match="unnamed"):
        store.ensure_collection(collection_name, DIMENSION, [])


def test_processes_ensure_one_collection_at_once(
    qdrant_server: servers.QdrantServer, collection_name: str
) -> None:
    stores = [open_store(qdrant_server.url) for _ in range(6)]
    barrier = threading.Barrier(len(stores))

    def ensure(store: VectorStore) -> None:
        barrier.wait()
        store.ensure_collection(collection_name, DIMENSION, FIELDS)
        store.upsert(new_partition(collection_name), points_of("a"))

    with ThreadPoolExecutor(len(stores)) as pool:
        list(pool.map(ensure, stores))
    for store in stores:
        store.close()


def test_a_collection_that_was_dropped_is_made_again_by_whoever_made_it_last(
    store: VectorStore, client: QdrantClient, collection_name: str
) -> None:
    """A worker that only plans jobs makes no call that would tell it."""
    for _ in range(2):
        store.ensure_collection(collection_name, DIMENSION, FIELDS)
        assert client.collection_exists(collection_name)
        client.delete_collection(collection_name)


def test_a_collection_that_was_dropped_is_made_again(
    store: VectorStore, client: QdrantClient, collection_name: str
) -> None:
    partition = new_partition(collection_name)
    store.ensure_collection(collection_name, DIMENSION, FIELDS)
    client.delete_collection(collection_name)
    store.delete_partition(partition)

    store.ensure_collection(collection_name, DIMENSION, FIELDS)
    store.upsert(partition, points_of("a"))

    assert store.count(partition) == 3


def test_text_that_the_protocol_cannot_carry_names_its_entity(
    store: VectorStore, collection_name: str
) -> None:
    store.ensure_collection(collection_name, DIMENSION, [])
    (point,) = points_of("poison", ["text"])

    with pytest.raises(EntityError, match="'poison', chunk 0"):
        store.upsert(new_partition(collection_name), [replace(point, text="half \ud83c")])


def test_search_finds_the_same_before_and_after_indexing(
    store: VectorStore, client: QdrantClient, collection_name: str
) -> None:
    # given two partitions in one collection
    store.ensure_collection(collection_name, DIMENSION, [])
    partition, other = new_partition(collection_name), new_partition(collection_name)
    texts = [f"text {number}" for number in range(3000)]
    store.upsert(partition, points_of("a", texts))
    store.upsert(other, points_of("b", texts))
    best = max(texts, key=lambda text: vector_of(text) @ vector_of("a question"))

    before = store.search(partition, vector_of("a question"), top_k=3)

    # when the server has built its graphs
    eager = models.OptimizersConfigDiff(indexing_threshold=1)
    client.update_collection(collection_name, optimizers_config=eager)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not client.get_collection(collection_name).indexed_vectors_count:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    after = store.search(partition, vector_of("a question"), top_k=3)

    # then
    assert before[0].text == after[0].text == best
    assert {hit.entity_id for hit in before + after} == {"a"}


def test_a_dead_port_is_unavailable() -> None:
    (port,) = servers.free_ports(1)
    store = open_store(f"http://user:secret@127.0.0.1:{port}", timeout=5)

    for call in (
        store.ping,
        lambda: store.ensure_collection("c", DIMENSION, []),
        lambda: store.upsert(new_partition("c"), points_of("a")),
        lambda: store.count(new_partition("c")),
    ):
        with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{port}") as caught:
            call()
        assert "secret" not in str(caught.value)
    store.close()


@pytest.mark.parametrize("url", ["localhost:6333", "ftp://host", "http://", "http://host:port"])
def test_a_url_of_no_server_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigurationError, match="CELERIAC_QDRANT_URL"):
        open_store(url)


def test_the_url_may_name_the_port_of_grpc(
    qdrant_server: servers.QdrantServer, collection_name: str
) -> None:
    store = open_store(f"{qdrant_server.url}?grpc_port={qdrant_server.grpc_port}")

    store.ensure_collection(collection_name, DIMENSION, [])
    store.close()


def test_a_wrong_key_is_refused_and_the_right_one_is_not(tmp_path: Path) -> None:
    with servers.qdrant(tmp_path, QDRANT__SERVICE__API_KEY="right") as server:
        for key in ("wrong", None):
            store = open_store(server.url, api_key=key)
            with pytest.raises(ConfigurationError, match="CELERIAC_QDRANT_API_KEY") as caught:
                store.ping()
            assert "wrong" not in str(caught.value)
            store.close()
        store = open_store(server.url, api_key="right")
        store.ping()
        store.close()


def test_a_server_that_was_killed_is_unavailable_until_it_is_back(tmp_path: Path) -> None:
    with servers.qdrant(tmp_path, own=True) as server:
        # given
        store = open_store(server.url)
        partition = new_partition("collection")
        store.ensure_collection(partition.collection, DIMENSION, FIELDS)
        store.upsert(partition, points_of("a"))
        written = everything(store, partition)

        # when
        server.kill()
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                store.upsert(partition, points_of("b"))
        with pytest.raises(StoreUnavailable):
            store.ping()
        server.start()

        # then
        assert eventually(lambda: everything(store, partition)) == written
        store.close()


def test_a_server_that_hangs_is_unavailable(tmp_path: Path) -> None:
    with servers.qdrant(tmp_path, own=True) as server:
        patient = open_store(server.url)
        patient.ensure_collection("collection", DIMENSION, [])
        patient.close()
        store = open_store(server.url, timeout=1)
        assert server.process
        server.process.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(StoreUnavailable):
                store.ping()
            with pytest.raises(StoreUnavailable):
                store.upsert(new_partition("collection"), points_of("a"))
        finally:
            server.process.send_signal(signal.SIGCONT)
        eventually(store.ping)
        store.close()


def test_what_was_reported_as_written_survives_a_kill(tmp_path: Path) -> None:
    with servers.qdrant(tmp_path, own=True) as server:
        # given writers that note what the store has confirmed
        store = open_store(server.url)
        partition = new_partition("collection")
        store.ensure_collection(partition.collection, DIMENSION, FIELDS)
        confirmed: list[str] = []

        def write(worker: int) -> None:
            for number in range(20_000):
                entity_id = f"{worker}-{number}"
                store.upsert(partition, points_of(entity_id, ["x" * 1000, "y" * 1000]))
                confirmed.append(entity_id)

        # when the server dies under them
        with ThreadPoolExecutor(4) as pool:
            writers = [pool.submit(write, worker) for worker in range(4)]
            while len(confirmed) < 200:
                time.sleep(0.01)
            server.kill()
            errors = [writer.exception() for writer in writers]
        server.start()

        # then
        assert all(isinstance(error, StoreUnavailable) for error in errors)
        found = eventually(lambda: everything(store, partition))
        assert {(entity_id, n) for entity_id in confirmed for n in (0, 1)} <= set(found)
        store.close()
