"""What a point costs on each way into Qdrant: client CPU and wall time, in microseconds.

    PYTHONPATH=src:tests python -m benchmarks.store_write

Points have about 1 KB of text; each figure is the best of three runs into a new collection.
"""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import servers
from qdrant_client import QdrantClient, models

from celeriac.model import Partition
from celeriac.store import open_store, writers
from celeriac.store.base import Point
from celeriac.store.payload import payload_of

POINTS = 4096
DIMENSIONS = (384, 1024)
BATCHES = (64, 128, 256)
REPEATS = 3

Write = Callable[[Partition, list[Point]], None]


def points_of(dimension: int) -> list[Point]:
    vectors = np.random.default_rng(0).normal(size=(POINTS, dimension)).astype(np.float32)
    text = "Celeriac is a variety of celery cultivated for its edible root. " * 16
    metadata = {"tenant": "acme", "entity_type": "product", "code": "A-1", "stock": 7}
    return [
        Point(str(n // 4), n % 4, 4, text, "f" * 32, f"{n:032x}", vector, metadata)
        for n, vector in enumerate(vectors)
    ]


def with_objects(client: QdrantClient) -> Write:
    def write(partition: Partition, points: list[Point]) -> None:
        for start in range(0, len(points), writers.MAX_POINTS):
            structs = [
                models.PointStruct(
                    id=partition.point_id(point.entity_id, point.chunk),
                    vector=point.vector.tolist(),
                    payload=payload_of(partition, point),
                )
                for point in points[start : start + writers.MAX_POINTS]
            ]
            client.upsert(partition.collection, structs, wait=True)

    return write


def with_upload_collection(client: QdrantClient) -> Write:
    def write(partition: Partition, points: list[Point]) -> None:
        client.upload_collection(
            partition.collection,
            vectors=np.stack([point.vector for point in points]),
            payload=[payload_of(partition, point) for point in points],
            ids=[partition.point_id(point.entity_id, point.chunk) for point in points],
            batch_size=writers.MAX_POINTS,
            wait=True,
        )

    return write


def measure(write: Write, server: servers.QdrantServer, points: list[Point]) -> tuple[float, float]:
    """CPU and wall time of one run, in microseconds a point."""
    partition = Partition(f"bench_{uuid.uuid4().hex}", str(uuid.uuid4()), 1)
    store = open_store(server.url)
    store.ensure_collection(partition.collection, len(points[0].vector), [])
    wall, cpu = time.perf_counter(), time.process_time()
    write(partition, points)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    assert store.count(partition) == len(points)
    store.delete_partition(partition)
    store.close()
    return cpu / len(points) * 1e6, wall / len(points) * 1e6


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, servers.qdrant(Path(folder)) as server:
        rest = QdrantClient(url=server.url, check_compatibility=False, timeout=60)
        grpc = QdrantClient(
            url=server.url,
            grpc_port=server.grpc_port,
            prefer_grpc=True,
            check_compatibility=False,
            timeout=60,
        )
        store = open_store(server.url)
        ways: dict[str, Write] = {
            "REST, upsert": with_objects(rest),
            "gRPC, upsert": with_objects(grpc),
            "gRPC, upload_collection": with_upload_collection(grpc),
            "celeriac": store.upsert,
        }
        print("us a point: CPU of the client / wall time")
        print(f"{'dimension':>9}  {'way':<24}" + "".join(f"{f'batch {b}':>16}" for b in BATCHES))
        for dimension in DIMENSIONS:
            points = points_of(dimension)
            for name, write in ways.items():
                figures = []
                for batch in BATCHES:
                    writers.MAX_POINTS = batch
                    cpu, wall = min(measure(write, server, points) for _ in range(REPEATS))
                    figures.append(f"{cpu:>9.0f} /{wall:>5.0f}")
                print(f"{dimension:>9}  {name:<24}" + "".join(figures))


if __name__ == "__main__":
    main()
