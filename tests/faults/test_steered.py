"""The seeded faults of `test_simulated`, while jobs are paused, resumed, throttled and made to give
way at random: the index equals the source all the same, and so do the counters."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import ListSource, World
from test_simulated import (
    MOST_STEPS,
    FaultyStore,
    Killed,
    expire_at_once,  # noqa: F401 - a fixture for every test here too
    mutated,
    random_article,
    source_faults,
    step,
)

from celeriac.catalog.jobs import Job, JobState
from celeriac.errors import Conflict, StoreUnavailable
from celeriac.model import Priority
from celeriac.steering import Steering
from celeriac.store import open_store
from celeriac.store.base import VectorStore

SEEDS = int(os.environ.get("CELERIAC_TEST_SEEDS", "12"))
JOBS = 3


@pytest.fixture
def store() -> Iterator[VectorStore]:
    store = open_store(":memory:")
    yield store
    store.close()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_index_equals_the_source_however_its_jobs_are_steered(
    seed: int,
    tmp_path: Path,
    redis_url: str,
    store: VectorStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr("celeriac.indexer.GROUP_CHUNKS", 3)
    monkeypatch.setattr("celeriac.turns.Turn.is_over", lambda _: True)
    monkeypatch.setattr("celeriac.turns.makes_way", lambda *_, **__: chance.random() < 0.1)
    faulty = FaultyStore(store, chance)
    database_url = f"sqlite:///{tmp_path / 'catalog.sqlite'}"
    world = World(home=tmp_path, database_url=database_url, redis_url=redis_url, store=faulty)  # type: ignore[arg-type]
    entities = [random_article(chance, number) for number in range(chance.randrange(5, 40))]
    for _ in range(JOBS):
        world.source = ListSource(list(entities), page_size=chance.choice([3, 7, 20]))
        world.source.before_page = source_faults(chance, 0.05)
        faulty.rate = 0.01
        job = run_through(world, chance)
        faulty.rate = 0.0
        assert (job.state, job.message) == (JobState.SUCCEEDED, "")
        world.store = store
        world.assert_index_equals(entities)
        counters = job.counters
        assert counters.listed == len(entities) == counters.unchanged + counters.indexed
        entities = mutated(chance, entities)
    world.close()


def run_through(world: World, chance: random.Random) -> Job:
    """Deliver messages and steer at random until the job has ended."""
    job = world.request(removal_limit=1.0)
    for _ in range(MOST_STEPS):
        job = world.job(job.id)
        if job.state not in (JobState.QUEUED, JobState.RUNNING):
            return job
        try:
            if chance.random() < 0.2:
                steer(world, chance, job)
            step(world, chance)
        except (Killed, StoreUnavailable, Conflict):
            continue
    raise AssertionError(f"the job never ended: {job}")


def steer(world: World, chance: random.Random, job: Job) -> None:
    steering = Steering(world.runtime, world.messages)
    if job.paused:
        steering.resume(job.id)
    elif job.throttle is not None and job.throttle < 1:
        steering.throttle(job.id, chance.choice([None, 1_000_000.0]))
    elif chance.random() < 0.5:
        steering.pause(job.id)
    elif chance.random() < 0.5:
        steering.throttle(job.id, 0.001)
    else:
        steering.prioritise(job.id, chance.choice(list(Priority)))
