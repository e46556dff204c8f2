"""Servers and data shared by all tests; see `servers` for a server to stop or kill in one test."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import servers
from collection import Cacm, read_cacm
from psycopg import sql
from sqlalchemy.engine import make_url

pytest.register_assert_rewrite("oracle", "trial", "outages")

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def cacm() -> Cacm:
    return read_cacm(DATA / "cacm")


@pytest.fixture(scope="session")
def qdrant_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.QdrantServer]:
    with servers.qdrant(tmp_path_factory.mktemp("qdrant")) as server:
        yield server


@pytest.fixture
def collection_name() -> str:
    """Of a collection that no other test uses; they are left to the server's end."""
    return f"test_{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.RedisServer]:
    with servers.redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def _redis_databases() -> Iterator[int]:
    return itertools.count(1)


@pytest.fixture
def redis_url(redis_server: servers.RedisServer, _redis_databases: Iterator[int]) -> str:
    """URL of an empty database."""
    return f"{redis_server.url.rpartition('/')[0]}/{next(_redis_databases)}"


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.PostgresServer]:
    with servers.postgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: servers.PostgresServer) -> Iterator[str]:
    """SQLAlchemy URL of an empty database, dropped after the test."""
    url = make_url(postgres_server.url)
    name = f"test_{uuid.uuid4().hex}"
    maintenance = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield url.set(database=name).render_as_string(hide_password=False)
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
