"""A store that loses what a job has written, while the job runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from harness import ListSource, World, article

from celeriac.catalog.jobs import Job, JobState
from celeriac.model import Entity, Partition
from celeriac.reindexed import MOST_MENDINGS
from celeriac.store.base import Point
from celeriac.store.qdrant import QdrantStore

ENTITIES = [article(number) for number in range(30)]


def meddled(world: World, before: str, meddle: Callable[[Partition], None]) -> Job:
    """A job on whose generation `meddle` is called before each of its messages of this kind."""
    job = world.request()
    while world.messages.waiting:
        message = world.messages.waiting.pop(0)
        running = world.job(job.id)
        if message[0] == before and running.generation is not None:
            index = world.runtime.catalog.indexes
            meddle(index.generation(job.index_id, running.generation).partition)
        world.deliver(message)
    return world.job(job.id)


def once(meddle: Callable[[Partition], None]) -> Callable[[Partition], None]:
    left = [meddle]
    return lambda partition: left.pop()(partition) if left else None


def drop(world: World) -> Callable[[Partition], None]:
    """Drop the collection, as a server does that comes back without its disk."""
    store = world.store
    assert isinstance(store, QdrantStore)
    return lambda partition: store._client.delete_collection(partition.collection)


@pytest.fixture(autouse=True)
def no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celeriac.paging._delay", lambda _: 0.0)


def test_entities_that_are_gone_before_the_end_are_written_again(world: World) -> None:
    world.source = ListSource(ENTITIES)
    lose = once(lambda partition: world.store.delete_chunks(partition, [("a8", 0), ("a21", 0)]))
    job = meddled(world, "finish", lose)
    world.assert_succeeded(job)
    world.assert_index_equals(ENTITIES)
    assert (job.counters.indexed, job.counters.unchanged) == (2, 28)


def test_a_lost_chunk_is_noticed_though_there_is_one_too_many_elsewhere(world: World) -> None:
    long = [article(number, words=300) for number in range(12)]
    world.source = ListSource(long)

    def swap(partition: Partition) -> None:
        (chunk,) = world.store.chunks(partition, [("a3", 1)], with_vectors=True)
        assert chunk.vector is not None
        orphan = Point("a99", 1, 2, chunk.text, "f", chunk.digest, chunk.vector, {})
        world.store.upsert(partition, [orphan])
        world.store.delete_chunks(partition, [("a3", 1)])

    job = meddled(world, "finish", once(swap))
    world.assert_succeeded(job)
    world.assert_index_equals(long)


@pytest.mark.parametrize("before", ["page", "finish"])
def test_a_collection_that_is_lost_is_made_and_filled_again(world: World, before: str) -> None:
    world.source = ListSource(ENTITIES)
    world.assert_succeeded(world.reindex())
    changed = [*ENTITIES[:-1], article(29, words=90)]
    world.source = ListSource(changed)
    job = meddled(world, before, once(drop(world)))
    world.assert_succeeded(job)
    world.assert_index_equals(changed)
    assert job.counters.indexed == 30


def test_a_store_that_loses_again_and_again_fails_the_job(world: World) -> None:
    world.source = ListSource(ENTITIES)
    lost: list[Partition] = []

    def lose(partition: Partition) -> None:
        lost.append(partition)
        world.store.delete_chunks(partition, [("a8", 0)])

    job = meddled(world, "finish", lose)
    assert job.state == JobState.FAILED
    assert "30 entities were written, 29 of them are in the index" in job.message
    assert "Something else removes points" in job.message
    assert len(lost) == MOST_MENDINGS + 1
    world.assert_succeeded(world.reindex())
    world.assert_index_equals(ENTITIES)


def test_a_retry_does_not_take_a_lost_collection_for_its_own_to_fill(world: World) -> None:
    bad = Entity("a30", {"title": "\0"})
    world.source = ListSource([*ENTITIES, bad])
    job = world.reindex()
    assert job.counters.failed == 1
    world.source = ListSource([*ENTITIES, article(30)])
    world.request_retry(job)
    running = meddled_retry(world, drop(world))
    assert running.state == JobState.FAILED
    world.assert_succeeded(world.reindex())
    world.assert_index_equals([*ENTITIES, article(30)])


def meddled_retry(world: World, meddle: Callable[[Partition], None]) -> Job:
    """The waiting retry, run to its end; `meddle` happens before its first page."""
    job_id = world.messages.waiting[0][1]
    world.deliver(world.messages.waiting.pop(0))
    meddle(world.partition())
    world.run()
    return world.job(job_id)
