"""A world to run jobs in, on local mode and on a Qdrant server; applications to ask."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import servers
from application import BOOTSTRAP_KEY, Open, Site
from harness import World

from api import create_app
from celeriac.runtime import Runtime
from celeriac.settings import Settings
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


@pytest.fixture
def open_site(tmp_path: Path, redis_url: str) -> Iterator[Open]:
    """Opens applications on one catalog and Redis, each with a section `security` of its own."""
    opened: list[Runtime] = []

    def open_one(*, redis: str = redis_url, **security: Any) -> Site:
        file = tmp_path / f"celeriac-{len(opened)}.yaml"
        file.write_text(json.dumps({"security": security}), "utf-8")
        environ = {
            "CELERIAC_HOME": str(tmp_path),
            "CELERIAC_CONFIG": str(file),
            "CELERIAC_REDIS_URL": redis,
            "CELERIAC_DATABASE_URL": f"sqlite:///{tmp_path / 'catalog.sqlite'}",
            "CELERIAC_API_KEY": BOOTSTRAP_KEY,
        }
        runtime = Runtime(Settings.load(environ))
        opened.append(runtime)
        return Site(create_app(runtime), runtime)

    yield open_one
    for runtime in opened:
        runtime.close()


@pytest.fixture
def site(open_site: Open) -> Site:
    return open_site()
