"""A world to run jobs in, on local mode and on a Qdrant server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import servers
from harness import World

from celeriac.store.base import VectorStore
from celeriac.store.opening import open_local, open_server


@pytest.fixture(params=["local", "server"])
def store(request: pytest.FixtureRequest) -> Iterator[VectorStore]:
    if request.param == "local":
        store = open_local(None)
    else:
        server: servers.QdrantServer = request.getfixturevalue("qdrant_server")
        store = open_server(server.url)
    yield store
    store.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty catalog."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'catalog.sqlite'}"
    found: str = request.getfixturevalue("postgres_url")
    return found


@pytest.fixture
def world(store: VectorStore, tmp_path: Path, redis_url: str) -> Iterator[World]:
    world = World(
        home=tmp_path,
        database_url=f"sqlite:///{tmp_path / 'catalog.sqlite'}",
        redis_url=redis_url,
        store=store,
    )
    yield world
    world.clear()
    world.close()
