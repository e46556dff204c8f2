"""Servers and data shared by all tests; see `servers` for a server to stop or kill in one test."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import servers
from psycopg import sql
from sqlalchemy.engine import make_url

DATA = Path(__file__).parent / "data"
JsonObject = dict[str, Any]


@dataclass(frozen=True)
class Cacm:
    """The CACM collection; see its README."""

    folder: Path
    documents: list[JsonObject]
    """With id, title, abstract, authors, published, keywords."""
    queries: dict[str, str]
    """Text by query id."""
    relevant: dict[str, set[str]]
    """Ids of the relevant documents by query id; judged queries only."""


@pytest.fixture(scope="session")
def cacm() -> Cacm:
    folder = DATA / "cacm"
    documents = _read_jsonl(folder / "documents.jsonl")
    queries = _read_jsonl(folder / "queries.jsonl")
    relevant: dict[str, set[str]] = {}
    for line in (folder / "qrels.tsv").read_text("utf-8").splitlines()[1:]:
        query, document, _ = line.split("\t")
        relevant.setdefault(query, set()).add(document)
    return Cacm(folder, documents, {query["id"]: query["text"] for query in queries}, relevant)


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


def _read_jsonl(path: Path) -> list[JsonObject]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
