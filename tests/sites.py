"""A deployment and the servers it runs on, for tests that stop, kill or freeze one of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import servers
from deployment import Service, deployment


@dataclass
class Site:
    """API, workers and beat, and the servers that are theirs alone."""

    service: Service
    redis: servers.RedisServer
    qdrant: servers.QdrantServer
    postgres: servers.PostgresServer

    @property
    def servers(self) -> tuple[servers.Server, ...]:
        return self.redis, self.qdrant, self.postgres


@contextlib.contextmanager
def site(
    folder: Path,
    configuration: Path,
    *,
    workers: int = 2,
    postgres_below: Path | None = None,
    **environment: str,
) -> Iterator[Site]:
    """A running site. Redis and Qdrant keep their data in folders of their names in `folder`, which
    may be there already; PostgreSQL in one below `postgres_below`, or the system's temporary one.
    """
    for name in ("redis", "qdrant"):
        (folder / name).mkdir(exist_ok=True)
    with (
        servers.redis(folder / "redis") as redis,
        servers.qdrant(folder / "qdrant", own=True) as qdrant,
        servers.postgres(folder, own=True, below=postgres_below) as postgres,
        deployment(
            folder,
            configuration,
            redis_url=redis.url,
            database_url=postgres.url,
            qdrant_url=qdrant.url,
            workers=workers,
            **environment,
        ) as service,
    ):
        yield Site(service, redis, qdrant, postgres)
