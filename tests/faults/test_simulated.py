"""Seeded faults at every call of the store and at every message, in one process: workers that die
before or after a write, services that fail, messages lost, doubled and shuffled, a source that
changes from job to job, or stays as it is while the index loses points. After the dust settles the
index equals the source, exactly.

`CELERIAC_TEST_SEEDS=200 pytest tests/faults/test_simulated.py` for a longer run.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from figures import Record
from harness import VersionedListSource, World, article
from seeds import seeds

from celeriac.catalog.jobs import Job, JobState
from celeriac.errors import SourceUnavailable, StoreUnavailable
from celeriac.model import Entity
from celeriac.sealing import UNLISTED
from celeriac.store import open_store
from celeriac.store.base import VectorStore

SEEDS = 12
JOBS = 4
MOST_STEPS = 2_000


class Killed(BaseException):
    """The worker is gone: nothing of it runs any more."""


class FaultyStore:
    """A store whose every call may fail, or kill its caller, before or after it has happened."""

    def __init__(self, store: VectorStore, chance: random.Random) -> None:
        self._store = store
        self._chance = chance
        self.rate = 0.0
        self.injected = 0

    def __getattr__(self, name: str) -> Any:
        method: Callable[..., Any] = getattr(self._store, name)

        def call(*arguments: Any, **options: Any) -> Any:
            self._maybe_fail()
            answer = method(*arguments, **options)
            self._maybe_fail()
            return answer

        return call

    def _maybe_fail(self) -> None:
        if self._chance.random() < self.rate:
            self.injected += 1
            raise self._chance.choice([Killed, StoreUnavailable])


@pytest.fixture
def store() -> Iterator[VectorStore]:
    store = open_store(":memory:")
    yield store
    store.close()


@pytest.mark.matrix("simulated")
@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_the_index_equals_the_source_whatever_happens(
    seed: int,
    tmp_path: Path,
    redis_url: str,
    store: VectorStore,
    record: Record,
) -> None:
    chance = random.Random(seed)
    faulty = FaultyStore(store, chance)
    database_url = f"sqlite:///{tmp_path / 'catalog.sqlite'}"
    world = World(home=tmp_path, database_url=database_url, redis_url=redis_url, store=faulty)  # type: ignore[arg-type]
    entities = [random_article(chance, number) for number in range(chance.randrange(0, 60))]
    while record.jobs < JOBS or not faulty.injected:  # the jobs of a small source may meet none
        page_size = chance.choice([3, 7, 20])
        world.source = VersionedListSource(list(entities), page_size, writes=record.jobs)
        world.source.before_page = source_faults(chance, 0.05)
        faulty.rate = 0.03
        job = run_through(world, chance)
        faulty.rate = 0.0
        assert job.state == JobState.SUCCEEDED
        assert job.message in ("", UNLISTED)
        world.store = store
        comparison = world.compare(entities)
        record.compared(comparison)
        comparison.assert_equal()
        counters = job.counters
        assert counters.listed == len(entities) == counters.unchanged + counters.indexed
        if chance.random() < 0.5:
            entities = mutated(chance, entities)
        elif chance.random() < 0.5:
            harm(world, chance, entities)
    record.injected = faulty.injected
    world.close()


@pytest.fixture(autouse=True)
def expire_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases end and waits are over at once: who died is followed without delay."""
    monkeypatch.setattr("celeriac.paging.LEASE", -1.0)
    monkeypatch.setattr("celeriac.finish.LEASE", -1.0)
    monkeypatch.setattr("celeriac.jobs.SILENCE", -1.0)
    monkeypatch.setattr("celeriac.paging._delay", lambda _: 0.0)
    monkeypatch.setattr("celeriac.paging.MOST_CLAIMS", 1_000)


def run_through(world: World, chance: random.Random) -> Job:
    """Deliver messages in any order, some lost, some twice, until the job has ended."""
    job = world.request(removal_limit=1.0)
    for _ in range(MOST_STEPS):
        job = world.job(job.id)
        if job.state not in (JobState.QUEUED, JobState.RUNNING):
            return job
        try:
            step(world, chance)
        except (Killed, StoreUnavailable):
            continue
    raise AssertionError(f"the job never ended: {job}")


def step(world: World, chance: random.Random) -> None:
    waiting = world.messages.waiting
    if not waiting or chance.random() < 0.05:
        world.jobs.recover()
        return
    message = waiting.pop(chance.randrange(len(waiting)))
    fate = chance.random()
    if fate < 0.1:
        return  # lost
    world.deliver(message)
    if fate > 0.9:
        world.deliver(message)


def source_faults(chance: random.Random, rate: float) -> Callable[[int], None]:
    def fail(_: int) -> None:
        if chance.random() < rate:
            raise chance.choice([Killed, SourceUnavailable])

    return fail


def harm(world: World, chance: random.Random, entities: list[Entity]) -> None:
    """Some points are gone that a job had written, or void."""
    partition = world.partition()
    for one in chance.sample(entities, min(len(entities), 2)):
        if chance.random() < 0.5:
            world.store.delete_chunks(partition, [(one.id, chance.randrange(2))])
        else:
            world.store.void(partition, {one.id: 3})


def random_article(chance: random.Random, number: int) -> Entity:
    return article(number, words=chance.choice([1, 20, 60, 200]), code=f"c{chance.randrange(3)}")


def mutated(chance: random.Random, entities: list[Entity]) -> list[Entity]:
    """Some gone, some changed (grown, shrunk, or in their metadata alone), some new."""
    kept = [one for one in entities if chance.random() > 0.15]
    changed = [
        random_article(chance, int(one.id[1:])) if chance.random() < 0.3 else one for one in kept
    ]
    first = max((int(one.id[1:]) for one in entities), default=0) + 1
    return changed + [
        random_article(chance, first + number) for number in range(chance.randrange(8))
    ]
