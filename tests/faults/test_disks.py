"""Disks that are full in the middle of a job: a clean error, and it goes on once there is room."""

from __future__ import annotations

import corpora
import pytest
from collection import Cacm
from outages import Outage
from trial import Trial

pytestmark = pytest.mark.matrix("disk")


@pytest.mark.parametrize("server", ["redis", "postgres"])
def test_a_full_disk_is_answered_with_503_and_delays_the_job(
    server: str, trial: Trial, cacm: Cacm
) -> None:
    trial.write(corpora.some(trial.chance, cacm, 250))
    location = trial.begin()
    trial.arena.disks[server].fill()
    trial.injected()
    with Outage().lasting():
        trial.assert_refused()
    trial.arena.make_room()
    trial.end_right(location)
    trial.assert_back()
    trial.end_right(trial.request())


def test_a_full_disk_of_qdrant_delays_the_job_and_is_said(trial: Trial, cacm: Cacm) -> None:
    trial.write(corpora.some(trial.chance, cacm, 250))
    location = trial.begin()
    trial.arena.disks["qdrant"].fill()
    trial.injected()
    assert "Qdrant" in trial.await_last_error(location)
    assert trial.service.job(location)["state"] == "running"
    trial.arena.make_room()
    trial.end_right(location)
