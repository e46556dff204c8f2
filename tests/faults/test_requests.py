"""Requests that meet: two reindexes of one type, a cancellation in the middle, two beats."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import corpora
import pytest
from collection import Cacm
from deployment import Json, Process
from sqlalchemy import update
from trial import SECONDS_TO_RECOVER, Trial

from celeriac.catalog import Catalog
from celeriac.catalog.tables import schedules

PAGE_SIZE = 5
SENT = "Sending due task run-schedules"
TICKS = 2


@pytest.mark.matrix("reindexes")
def test_of_reindexes_requested_at_once_one_runs_and_one_waits(trial: Trial, cacm: Cacm) -> None:
    trial.write(corpora.some(trial.chance, cacm, 60))
    with trial.failpoints.holding("fetched"):
        first = trial.request()
        trial.failpoints.await_held("fetched")
        with ThreadPoolExecutor(6) as pool:
            (second,) = set(pool.map(lambda _: trial.request(), range(12)))
        trial.injected(12)
        states = [trial.service.job(location)["state"] for location in (first, second)]
        assert states == ["running", "queued"]
    assert first != second
    trial.end_right(first)
    trial.end_right(second)
    assert len(trial.jobs()) == 2


@pytest.mark.matrix("cancel")
def test_nothing_is_written_of_a_page_that_was_fetched_before_the_cancellation(
    trial: Trial, cacm: Cacm
) -> None:
    trial.write(corpora.some(trial.chance, cacm, 60))
    with trial.failpoints.holding("fetched"):
        location = trial.request()
        trial.failpoints.await_held("fetched")
        cancelled = cancel(trial, location)
    await_idle(trial, cancelled["index_id"])
    assert trial.points(cancelled) == {}
    trial.end_right(trial.request())


@pytest.mark.matrix("cancel")
def test_a_cancelled_job_writes_no_more_than_the_batches_in_hand(trial: Trial, cacm: Cacm) -> None:
    trial.write(corpora.some(trial.chance, cacm, 250))
    location = trial.begin()
    with trial.failpoints.holding("embedded"):
        trial.failpoints.await_held("embedded", count=4)
        cancelled = cancel(trial, location)
        before = trial.points(cancelled).keys()
    await_idle(trial, cancelled["index_id"])
    after = trial.points(cancelled).keys()
    assert before <= after
    written = {entity for entity, _ in after - before}
    assert len(written) <= len(trial.failpoints.held("embedded")) * PAGE_SIZE
    assert trial.service.job(location)["state"] == "cancelled"
    trial.end_right(trial.request())


def cancel(trial: Trial, location: str) -> Json:
    """The job, cancelled."""
    answer = trial.service.client.post(f"{location}/cancel")
    assert answer.status_code == 202
    trial.injected()
    return trial.service.job(location)


def await_idle(trial: Trial, index_id: str) -> None:
    """Return once no worker holds a page of the index any more."""
    deadline = time.monotonic() + SECONDS_TO_RECOVER
    with trial.catalog() as catalog:
        while catalog.pages.held_for_index(index_id, other_than=""):
            assert time.monotonic() < deadline, "a page of a cancelled job is still held"
            time.sleep(0.05)


@pytest.mark.matrix("beats")
def test_two_beats_make_one_job_of_a_tick(trial: Trial, cacm: Cacm) -> None:
    trial.write(corpora.some(trial.chance, cacm, 40))
    path = f"/indexing/{trial.articles.tenant}/schedules"
    new = {"entity_type": "article", "cron": "0 3 1 1 *"}
    schedule = trial.service.client.post(path, json=new).json()
    with two_beats(trial) as beats, trial.catalog() as catalog:
        for beat in beats:
            beat.await_logged(SENT, SECONDS_TO_RECOVER)
        for tick in range(1, TICKS + 1):
            make_due(catalog, schedule["id"])
            for job in trial.await_jobs(tick):
                trial.end_right(f"/jobs/{job.id}")
            trial.injected(len(beats))
    assert len(trial.jobs()) == TICKS


def make_due(catalog: Catalog, schedule_id: str) -> None:
    """Have a tick of the schedule be due."""
    due = update(schedules).where(schedules.c.id == schedule_id)
    with catalog.database.write() as connection:
        connection.execute(due.values(next_at=catalog.database.now() - 1))


@contextmanager
def two_beats(trial: Trial) -> Iterator[list[Process]]:
    """Two more beats."""
    beat = trial.service.processes["beat"]
    beats = [
        Process(name, beat.command, beat.environment, beat.log.with_name(f"{name}.log"))
        for name in ("beat-1", "beat-2")
    ]
    for one in beats:
        one.start()
    try:
        yield beats
    finally:
        for one in beats:
            one.stop()
