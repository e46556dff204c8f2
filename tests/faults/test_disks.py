"""Disks that are full in the middle of a job: a clean error, and it goes on once there is room."""

from __future__ import annotations

import corpora
import psycopg
import pytest
from collection import Cacm
from outages import Outage
from trial import Trial

NO_SPACE = "No space left on device"

pytestmark = pytest.mark.matrix("disk")


def test_a_full_disk_of_redis_is_answered_with_503_and_delays_the_job(
    trial: Trial, cacm: Cacm
) -> None:
    trial.write(corpora.some(trial.chance, cacm, 250))
    location = trial.begin()
    trial.arena.disks["redis"].fill()
    trial.injected()
    with Outage().lasting():
        trial.assert_refused()
    trial.arena.make_room()
    trial.end_right(location)
    trial.assert_back()
    trial.end_right(trial.request())


def test_a_full_disk_of_the_catalog_delays_the_job(trial: Trial, cacm: Cacm) -> None:
    trial.write(corpora.some(trial.chance, cacm, 250))
    with psycopg.connect(trial.site.postgres.dsn, autocommit=True) as connection:
        connection.execute("VACUUM FULL")  # nothing is left to write into but new blocks
    location = trial.begin()
    trial.arena.disks["postgres"].fill()
    trial.injected()
    trial.site.postgres.await_logged(NO_SPACE)
    assert trial.find(location)["state"] == "running"
    trial.arena.make_room()
    trial.end_right(location)
    trial.assert_back()


def test_a_full_disk_of_qdrant_delays_the_job_and_is_said(trial: Trial, cacm: Cacm) -> None:
    trial.write(corpora.some(trial.chance, cacm, 250))
    location = trial.begin()
    trial.arena.disks["qdrant"].fill()
    trial.injected()
    assert "Qdrant" in trial.await_last_error(location)
    assert trial.service.job(location)["state"] == "running"
    trial.arena.make_room()
    trial.end_right(location)
