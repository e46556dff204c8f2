"""Requests that meet: two reindexes of one type, a cancellation in the middle, two beats."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import corpora
import pytest
import yaml
from collection import Cacm
from deployment import Json, Process
from trial import SECONDS_TO_RECOVER, Trial

PAGE_SIZE = 5
MINUTE = 60
MINUTES = len("[2026-01-01 00:00")
BEFORE_THE_TICK = 12.0
"""Seconds: two beats start in less."""
SENT = "Sending due task reindex"


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
    with two_beats(trial) as beats:
        for beat in beats:
            beat.await_logged(SENT, MINUTE + SECONDS_TO_RECOVER)
        trial.await_jobs(1)
    sent = [line[:MINUTES] for beat in beats for line in beat.logged() if SENT in line]
    trial.injected(len(sent))
    assert len(set(sent)) < len(sent), "no tick was sent by both"
    jobs = trial.await_jobs(len(set(sent)))
    for job in jobs:
        trial.end_right(f"/jobs/{job.id}")
    assert len(trial.jobs()) == len(set(sent))


@contextmanager
def two_beats(trial: Trial) -> Iterator[list[Process]]:
    """Two more beats with a schedule for this trial's type, whose clocks are just before a tick."""
    configuration = yaml.safe_load(trial.articles.configuration.read_text())
    tenant = configuration["tenants"][trial.articles.tenant]
    tenant["entity_types"]["article"]["schedule"] = "* * * * *"
    path = trial.articles.configuration.with_name("scheduled.yaml")
    path.write_text(yaml.safe_dump(configuration))
    ahead = MINUTE - BEFORE_THE_TICK - time.time() % MINUTE
    beat = trial.service.processes["beat"]
    environment = {
        **beat.environment,
        "CELERIAC_CONFIG": str(path),
        "CELERIAC_TEST_CLOCK": str(ahead),
    }
    beats = [
        Process(name, beat.command, environment, beat.log.with_name(f"{name}.log"))
        for name in ("beat-1", "beat-2")
    ]
    for one in beats:
        one.start()
    try:
        yield beats
    finally:
        for one in beats:
            one.stop()
