"""Models that fail. One that runs out of memory: the batch is halved until it fits, the vectors are
the same and the workers live on. One that breaks on a text: that entity is reported alone."""

from __future__ import annotations

import corpora
import pytest
from collection import Cacm
from injection.injected.models import POISON
from trial import Trial

from celeriac.embedding import registry
from celeriac.embedding.base import Vectors
from celeriac.store.base import StoredChunk

MODEL = "all-minilm-l6-v2"
TOLERANCE = 1e-5
"""Of a vector's numbers: sums of float32 depend on the batch."""


@pytest.fixture
def kind() -> str:
    return "torch"


@pytest.mark.matrix("memory")
def test_batches_that_do_not_fit_are_halved(trial: Trial, cacm: Cacm) -> None:
    trial.write(corpora.some(trial.chance, cacm, 16))
    workers = [worker.running().pid for worker in trial.workers]
    trial.failpoints.switch("memory", 2)
    trial.failpoints.log("memory")
    job = trial.end_right(trial.request())
    trial.injected(len(trial.failpoints.logged("memory")))
    assert trial.record.injected > 0
    assert job["errors"] == []
    assert [worker.running().pid for worker in trial.workers if worker.alive] == workers
    points = trial.points(job)
    for name, vector in expected_vectors(points).items():
        assert points[name].vector == pytest.approx(vector, abs=TOLERANCE)


@pytest.mark.matrix("poison")
def test_a_text_that_breaks_the_model_is_reported_alone(trial: Trial, cacm: Cacm) -> None:
    documents = corpora.some(trial.chance, cacm, 16)
    poisoned = trial.chance.sample(range(16), 3)
    for number in poisoned:
        documents[number] = {**documents[number], "title": f"{POISON} {number}"}
    trial.write(documents)
    trial.documents = [one for one in documents if POISON not in one["title"]]
    job = trial.await_end(trial.request())
    trial.injected(len(poisoned))
    trial.assert_right(job, failed=3)
    assert {error["entity_id"] for error in job["errors"]} == {
        documents[number]["id"] for number in poisoned
    }
    assert {(error["class"], error["retryable"]) for error in job["errors"]} == {
        ("ModelError", False)
    }


def expected_vectors(points: dict[tuple[str, int], StoredChunk]) -> dict[tuple[str, int], Vectors]:
    """What the model gives where there is room."""
    model = registry.load(registry.BUILTIN[MODEL], device="cpu", dtype="float32", environ={})
    try:
        vectors = model.embed([chunk.text for chunk in points.values()])
    finally:
        model.close()
    return dict(zip(points, vectors, strict=True))
