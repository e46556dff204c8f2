"""Random faults one upon the other, job after job, on a source that changes between them. After
each job the index equals the source.

`make test-faults SEEDS=50` runs that many seeds. What is random (sources, faults, their order and
their moments) comes of the seed; which call a fault meets depends on the machine too.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import corpora
import httpx
import outages
import pytest
from collection import Cacm
from injection.injected.stages import FINISH, PAGE
from seeds import LONG, seeds
from trial import Trial

from celeriac.catalog.jobs import FINAL, JobState

JOBS = 6 if LONG else 2
MOST_FAULTS = 3
LONGEST_PAUSE = 1.5
"""Seconds between two faults."""


def worker_killed_at_a_stage(trial: Trial) -> None:
    trial.failpoints.kill(trial.chance.choice([*PAGE, *FINISH, "taken"]))


def worker_asked_to_end(trial: Trial) -> None:
    worker = trial.chance.choice(trial.workers)
    worker.stop()
    worker.start()


def beat_killed(trial: Trial) -> None:
    beat = trial.service.processes["beat"]
    beat.kill()
    beat.start()


def messages_doubled(trial: Trial) -> None:
    trial.failpoints.switch("twice")


def api_killed(trial: Trial) -> None:
    """While it answers a request for another reindex, which joins the one that waits or waits."""
    trial.failpoints.kill(trial.chance.choice(["requested", "announced"]))
    with pytest.raises(httpx.TransportError):
        trial.request()
    trial.assert_back()


FAULTS: tuple[Callable[[Trial], None], ...] = (
    worker_killed_at_a_stage,
    worker_asked_to_end,
    beat_killed,
    messages_doubled,
    api_killed,
    outages.redis_restarted,
    outages.redis_emptied,
    outages.redis_away,
    outages.redis_frozen,
    outages.redis_full,
    outages.sql_away,
    outages.sql_frozen,
    outages.qdrant_killed,
    outages.qdrant_emptied,
    outages.qdrant_frozen,
    outages.every_worker_killed,
)


@pytest.mark.matrix("combined")
@pytest.mark.parametrize("seed", seeds(1))
def test_the_index_equals_the_source_whatever_happens(seed: int, trial: Trial, cacm: Cacm) -> None:
    trial.write(corpora.some(trial.chance, cacm, 150))
    for _ in range(JOBS):
        location = trial.request()
        for fault in trial.chance.sample(FAULTS, trial.chance.randint(1, MOST_FAULTS)):
            time.sleep(trial.chance.uniform(0, LONGEST_PAUSE))
            trial.record.notes.append(fault.__name__)
            fault(trial)
            trial.injected()
        trial.end_right(location)
        trial.arena.heal()
        # What was requested meanwhile, by requests that got no answer, runs on the same source.
        for job in trial.jobs():
            if job.state not in FINAL:
                trial.end_right(f"/jobs/{job.id}")
        assert {job.state for job in trial.jobs()} == {JobState.SUCCEEDED}
        trial.write(corpora.changed(trial.chance, cacm, trial.documents)[0])
    trial.end_right(trial.request())
