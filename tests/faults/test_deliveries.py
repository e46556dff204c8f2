"""Messages that arrive twice, and clocks that disagree: the same points, the same counters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import corpora
import numpy as np
import pytest
from collection import Cacm
from deployment import Json
from trial import Trial

AHEAD = 15 * 60
COUNTED_ALIKE = ("listed", "indexed", "failed", "removed", "chunks", "tokens", "bytes")


@pytest.mark.matrix("twice")
def test_every_message_delivered_twice_changes_nothing(trial: Trial, cacm: Cacm) -> None:
    trial.write(corpora.some(trial.chance, cacm, 150))
    once = trial.end_right(trial.request())
    other = trial.beside()
    trial.failpoints.switch("twice")
    trial.failpoints.log("twice")
    twice = other.end_right(other.request())
    trial.injected(len(trial.failpoints.logged("twice")))
    assert trial.record.injected > 30
    assert twice["counters"] == once["counters"]
    assert_same_points(trial, once, other, twice)


@pytest.mark.matrix("clocks")
def test_clocks_a_quarter_of_an_hour_apart_change_nothing(trial: Trial, cacm: Cacm) -> None:
    trial.write(corpora.some(trial.chance, cacm, 150))
    right = trial.end_right(trial.request())
    other = trial.beside()
    with clocks_apart(trial):
        location = other.begin()
        # Pages are postponed, by one clock and by another, and a worker's lease has to run out.
        trial.site.qdrant.kill()
        other.workers[0].kill()
        trial.site.qdrant.start()
        wrong = other.end_right(location)
    for name in COUNTED_ALIKE:
        assert wrong["counters"][name] == right["counters"][name], name
    assert_same_points(trial, right, other, wrong)


@contextmanager
def clocks_apart(trial: Trial) -> Iterator[None]:
    """One worker's clock is ahead and one's behind that of everything else."""
    straight = [worker.environment for worker in trial.workers]
    for worker, ahead in zip(trial.workers, (AHEAD, -AHEAD), strict=True):
        worker.environment = {**worker.environment, "CELERIAC_TEST_CLOCK": str(ahead)}
        trial.injected()
    trial.restart_workers()
    try:
        yield
    finally:
        for worker, environment in zip(trial.workers, straight, strict=True):
            worker.environment = environment
        trial.restart_workers()


def assert_same_points(one: Trial, its: Json, other: Trial, others: Json) -> None:
    """The two jobs' generations hold the same chunks with the same vectors."""
    expected, found = one.points(its), other.points(others)
    assert found.keys() == expected.keys()
    for name, chunk in expected.items():
        assert found[name].text == chunk.text
        assert np.array_equal(found[name].vector, chunk.vector)
