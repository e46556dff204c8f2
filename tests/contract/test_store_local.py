"""The contract in qdrant-client's local mode, in memory and in a folder."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_contract import DIMENSION, StoreContract, everything, new_partition, points_of

from celeriac.errors import ConfigurationError
from celeriac.store import open_store
from celeriac.store.base import VectorStore


class TestStoreInMemory(StoreContract):
    @pytest.fixture
    def store(self) -> Iterator[VectorStore]:
        store = open_store(":memory:")
        yield store
        store.close()


class TestStoreInFolder(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[VectorStore]:
        store = open_store(path=tmp_path / "vectors")
        yield store
        store.close()


def test_what_was_written_is_there_when_the_folder_is_opened_again(tmp_path: Path) -> None:
    partition = new_partition("collection")
    store = open_store(path=tmp_path)
    store.ensure_collection(partition.collection, DIMENSION, [])
    store.upsert(partition, points_of("a"))
    store.void(partition, {"a": 5})
    written = everything(store, partition)
    store.close()

    store = open_store(path=tmp_path)

    assert everything(store, partition) == written
    store.close()


def test_a_folder_is_open_in_one_process_only(tmp_path: Path) -> None:
    store = open_store(path=tmp_path)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        message = pool.apply(_error_of_opening, [tmp_path])
    store.close()

    assert "another process" in message
    assert str(tmp_path) in message


def test_a_store_needs_a_place() -> None:
    with pytest.raises(ConfigurationError, match="CELERIAC_QDRANT_URL"):
        open_store()


def _error_of_opening(folder: Path) -> str:
    try:
        open_store(path=folder)
    except ConfigurationError as error:
        return str(error)
    return ""
