"""How points are packed, cut into requests and addressed, without a store."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from qdrant_client import grpc

from celeriac.model import Partition
from celeriac.store import writers
from celeriac.store.base import Point

PARTITION = Partition("collection", "6f1c3f5e-6d0b-4a8e-9d6a-2f3d2b1c0a99", 3)


def point(number: int, text: str, dimension: int = 4) -> Point:
    vector = np.ones(dimension, np.float32)
    return Point("entity", number, 9, text, "fingerprint", "digest", vector, {})


@given(arrays.arrays(np.float32, st.integers(1, 5000), elements=st.floats(width=32)))
def test_a_packed_vector_is_what_protobuf_writes(vector: NDArray[np.float32]) -> None:
    expected = grpc.DenseVector(data=vector.tolist()).SerializeToString()

    assert writers.packed(vector) == expected


def test_a_view_of_a_matrix_is_packed_like_its_copy() -> None:
    matrix = np.arange(12, dtype=np.float32).reshape(3, 4)

    assert writers.packed(matrix[:, 1]) == writers.packed(matrix[:, 1].copy())


@given(st.lists(st.sampled_from([0, 10, 2**18, writers.MAX_BYTES]), max_size=400))
def test_requests_keep_every_point_in_order_and_are_bounded(lengths: list[int]) -> None:
    text = "x" * writers.MAX_BYTES
    points = [point(number, text[:length]) for number, length in enumerate(lengths)]

    requests = list(writers.requests(points))

    assert [one for request in requests for one in request] == points
    for request in requests:
        assert 1 <= len(request) <= writers.MAX_POINTS
        size = sum(len(one.text) for one in request)
        assert len(request) == 1 or size <= writers.MAX_BYTES


def test_a_request_waits_and_carries_the_point() -> None:
    request = writers.upsert_request(PARTITION, [point(0, "text"), point(1, "more")])

    assert request.collection_name == "collection"
    assert request.wait is True
    assert [one.id.uuid for one in request.points] == [
        PARTITION.point_id("entity", 0),
        PARTITION.point_id("entity", 1),
    ]
    assert list(request.points[0].vectors.vector.dense.data) == [1, 1, 1, 1]


@pytest.mark.parametrize("module", ["celeriac.store", "celeriac.store.base"])
def test_the_protocol_is_imported_without_the_client(module: str) -> None:
    program = f"import sys, {module}; print('qdrant_client' in sys.modules, 'grpc' in sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.split() == ["False", "False"]
