"""Servers that go away in the middle of a job and come back, one of them empty: the API says 503
meanwhile and does not hang, and the job ends right."""

from __future__ import annotations

from collections.abc import Callable

import corpora
import outages
import pytest
from collection import Cacm
from trial import Trial

FAULTS = {
    "redis restarted": outages.redis_restarted,
    "redis emptied": outages.redis_emptied,
    "redis away": outages.redis_away,
    "redis frozen": outages.redis_frozen,
    "redis full": outages.redis_full,
    "sql away": outages.sql_away,
    "sql frozen": outages.sql_frozen,
    "qdrant killed": outages.qdrant_killed,
    "qdrant emptied": outages.qdrant_emptied,
    "qdrant frozen": outages.qdrant_frozen,
    "killed": outages.every_worker_killed,
}

ENOUGH = 1500
"""Entities that take longer than four workers need to end and to start."""


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, marks=pytest.mark.matrix(name), id=fault.__name__)
        for name, fault in FAULTS.items()
    ],
)
def test_a_job_outlives(fault: Callable[[Trial], None], trial: Trial, cacm: Cacm) -> None:
    trial.write(corpora.some(trial.chance, cacm, 250))
    location = trial.begin()
    fault(trial)
    trial.injected()
    trial.end_right(location)
    trial.assert_back()
    # A request that Redis alone refused is queued, and runs now or has run.
    trial.end_right(trial.request())


@pytest.mark.matrix("sigterm")
def test_workers_asked_to_end_one_after_the_other_give_their_pages_back(
    trial: Trial, cacm: Cacm
) -> None:
    trial.write(corpora.some(trial.chance, cacm, ENOUGH))
    trial.failpoints.log("taken")
    location = trial.begin()
    for worker in trial.workers * 2:
        trial.failpoints.await_logged("taken", worker.running().pid)
        assert worker.stop() == 0
        trial.injected()
        worker.start()
    assert trial.find(location)["state"] == "running", "it was over before the last one ended"
    job = trial.end_right(location)
    assert job["counters"]["indexed"] == ENOUGH, "a page that was given back had been written"
