"""What Qdrant and the catalog take for a point and an entity, beside what `celeriac capacity` says.

    PYTHONPATH=src:tests python -m benchmarks.capacity [--points 20000] [--entities 5000]

Qdrant: a server of its own for each dimension, points with about 1 KB of text and two filter
fields; what is in its memory and on its disk by the kind of file, once its optimizers rest, and
after a restart and a search. The catalog: a job in this process, the database measured before it
finishes and after; Redis likewise.
"""

from __future__ import annotations

import argparse
import json
import re
import sqlite3
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import cycle
from pathlib import Path

import numpy as np
import psycopg
import servers
from harness import World, article
from qdrant_client import QdrantClient, models

from celeriac.capacity import Texts, needs
from celeriac.model import FilterField, FilterType, Partition
from celeriac.store.base import Point
from celeriac.store.opening import open_local, open_server

DIMENSIONS = (384, 1024)
CHUNKS_AN_ENTITY = 4
FILTERS = (FilterField("code", FilterType.STRING), FilterField("stock", FilterType.INTEGER))
TEXT_BYTES = 1024
BATCH = 1000
CACM = Path(__file__).parents[1] / "tests" / "data" / "cacm" / "documents.jsonl"
KINDS = ("vector_storage", "vector_index", "payload_index", "payload_storage", "wal")
"""Folders of a collection."""
MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+ *(.*)$")
REST_SECONDS = 1800.0
"""Graphs take long to build on a machine that has other work."""
MIB = 1 << 20


def in_memory(server: servers.Server, storage: Path) -> Counter[str]:
    """Bytes of the server's memory, each page once: its own, and mapped files by their kind."""
    assert server.process is not None
    found: Counter[str] = Counter()
    kind = ""
    for line in Path(f"/proc/{server.process.pid}/smaps").read_text("utf-8").splitlines():
        if mapping := MAPPING.match(line):
            kind = kind_of(mapping[1], storage)
        elif line.startswith("Pss:"):
            found[kind] += int(line.split()[1]) << 10
    return found


def on_disk(storage: Path) -> Counter[str]:
    """Bytes that are really there, by kind: files that Qdrant reserves are mostly holes."""
    found: Counter[str] = Counter()
    for one in storage.rglob("*"):
        if one.is_file():
            found[kind_of(str(one), storage)] += one.stat().st_blocks * 512
    return found


def kind_of(path: str, storage: Path) -> str:
    if not path.startswith(str(storage)):
        return "program" if path.startswith("/") else "own"
    return next((kind for kind in KINDS if f"/{kind}" in path), "other files")


def texts() -> Iterator[str]:
    """Pieces of real prose, again and again."""
    abstracts = [json.loads(line)["abstract"] for line in CACM.read_text("utf-8").splitlines()]
    prose = "\n".join(one for one in abstracts if one)
    size = TEXT_BYTES
    return cycle([prose[start : start + size] for start in range(0, len(prose) - size, size)])


def points_of(count: int, dimension: int) -> Iterator[list[Point]]:
    random, prose = np.random.default_rng(0), texts()
    for start in range(0, count, BATCH):
        vectors = random.normal(size=(min(BATCH, count - start), dimension)).astype(np.float32)
        yield [point(start + number, next(prose), vector) for number, vector in enumerate(vectors)]


def point(number: int, text: str, vector: np.ndarray) -> Point:
    entity, chunk = divmod(number, CHUNKS_AN_ENTITY)
    metadata = {"tenant": "acme", "entity_type": "product", "code": f"A-{entity}", "stock": number}
    fingerprint, digest = f"{entity:032x}", f"{number:032x}"
    return Point(str(entity), chunk, CHUNKS_AN_ENTITY, text, fingerprint, digest, vector, metadata)


def measure_qdrant(count: int, dimension: int) -> None:
    with tempfile.TemporaryDirectory() as name, servers.qdrant(Path(name), own=True) as server:
        storage = Path(name) / "storage"
        partition = Partition(f"capacity_{dimension}", str(uuid.uuid4()), 1)
        empty = in_memory(server, storage)
        with closing(open_server(server.url)) as store:
            store.ensure_collection(partition.collection, dimension, FILTERS)
            for points in points_of(count, dimension):
                store.upsert(partition, points)
        indexed = await_rest(server.url, partition.collection, dimension)
        written = in_memory(server, storage)
        server.restart()
        await_rest(server.url, partition.collection, dimension)
        again, disk = in_memory(server, storage), on_disk(storage)
    print(f"\n{count:,} points of {dimension} dimensions, {indexed:,} in a graph; MiB")
    print(f"{'':16}{'empty':>10}{'written':>10}{'restarted':>10}{'disk':>10}")
    for kind in ("own", "program", "other files", *KINDS):
        cells = (one[kind] / MIB for one in (empty, written, again, disk))
        print(f"{kind:16}" + "".join(f"{cell:10.1f}" for cell in cells))
    compare(count, dimension, written, again, disk)


def compare(
    count: int, dimension: int, written: Counter[str], again: Counter[str], disk: Counter[str]
) -> None:
    """What was estimated, and its ratio to what was measured."""
    texts = Texts(count // CHUNKS_AN_ENTITY, count, 0, TEXT_BYTES)
    said = needs(texts, dimension, len(FILTERS)).stages[0]
    for what, estimated, measured in (
        ("memory, written", said.memory, sum(written.values())),
        ("memory, restarted", said.memory, sum(again.values())),
        ("disk", said.disk, sum(disk.values())),
    ):
        print(
            f"{what}: {estimated / MIB:.0f} MiB estimated, {measured / MIB:.0f} measured, "
            f"ratio {estimated / measured:.2f}"
        )


def await_rest(url: str, collection: str, dimension: int) -> int:
    """Wait until the optimizers rest, and search; how many vectors are in a graph then."""
    quiet, deadline = 0, time.monotonic() + REST_SECONDS
    with closing(QdrantClient(url=url, check_compatibility=False, timeout=60)) as client:
        while quiet < 5:
            assert time.monotonic() < deadline, "Qdrant does not come to rest"
            info = client.get_collection(collection)
            quiet = quiet + 1 if info.status is models.CollectionStatus.GREEN else 0
            time.sleep(0.5)
        client.query_points(collection, [1.0] * dimension, limit=10)
    return info.indexed_vectors_count or 0


def measure_catalog(entities: int, kind: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with servers.redis(folder) as redis, servers.postgres(folder, own=True) as postgres:
            sqlite = f"sqlite:///{folder / 'catalog.sqlite'}"
            url = sqlite if kind == "sqlite" else postgres.url
            world = World(
                home=folder, database_url=url, redis_url=redis.url, store=open_local(None)
            )
            with closing(world), closing(redis.client()) as client:
                world.source.page_size = 100
                size = sizes_of(folder, postgres.dsn, kind)
                empty, told = size(), client.info()["used_memory"]
                world.source.entities = [article(number, 5) for number in range(entities)]
                job = world.request()
                while world.messages.waiting[0][0] != "finish":
                    world.deliver(world.messages.waiting.pop(0))
                running, busy = size() - empty, client.info()["used_memory"] - told
                world.run()
                world.assert_succeeded(world.job(job.id))
                world.runtime.catalog.listings.clear_ended()
                left = size() - empty
    print(
        f"{kind:10} {entities:,} entities: {running / entities:.0f} bytes each while the job runs, "
        f"{left / entities:.0f} once its listing is forgotten; Redis {busy / 1024:.0f} KiB"
    )


def sizes_of(folder: Path, dsn: str, kind: str) -> Callable[[], int]:
    """Asks for the bytes that the database takes, less what it could use again."""

    def sqlite() -> int:
        with closing(sqlite3.connect(folder / "catalog.sqlite")) as connection:
            pages, free, size = (
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count", "page_size")
            )
        return int((pages - free) * size)

    def postgresql() -> int:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("VACUUM")
            query = "SELECT pg_database_size(current_database())"
            return int(connection.execute(query).fetchone()[0])

    return sqlite if kind == "sqlite" else postgresql


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--points", type=int, default=20_000)
    parser.add_argument("--entities", type=int, default=5_000)
    arguments = parser.parse_args()
    for kind in ("sqlite", "postgresql"):
        measure_catalog(arguments.entities, kind)
    for dimension in DIMENSIONS:
        measure_qdrant(arguments.points, dimension)


if __name__ == "__main__":
    main()
