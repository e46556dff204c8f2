"""A source that has not changed since its index was found equal to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from harness import NAME, TENANT, VersionedListSource, World, article, declared

from celeriac.catalog.jobs import Job, JobState
from celeriac.errors import SourceUnavailable
from celeriac.model import Entity, EntityFailure, Partition, SourceVersion
from celeriac.rollback import accept, roll_back
from celeriac.sealing import UNLISTED
from celeriac.store.base import Point
from celeriac.store.qdrant import QdrantStore

ENTITIES = [article(number, words=90) for number in range(30)]


@pytest.fixture
def source(world: World) -> VersionedListSource:
    """A source of ENTITIES that an index was found equal to."""
    source = VersionedListSource(list(ENTITIES))
    world.source = source
    world.assert_succeeded(world.reindex())
    source.pages_read = 0
    return source


@pytest.fixture(autouse=True)
def no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celeriac.paging._delay", lambda _: 0.0)


def assert_unlisted(world: World, source: VersionedListSource, job: Job) -> None:
    assert (job.state, job.message) == (JobState.SUCCEEDED, UNLISTED)
    assert (source.pages_read, job.expected) == (0, len(source.entities))
    assert job.counters.listed == job.counters.unchanged == len(source.entities)
    assert job.counters.chunks == len(world.indexed())
    world.assert_index_equals(source.entities)


def test_it_is_not_listed(world: World, source: VersionedListSource) -> None:
    for _ in range(3):
        assert_unlisted(world, source, world.reindex())


def test_it_is_not_listed_though_messages_come_twice(
    world: World, source: VersionedListSource
) -> None:
    job = world.request()
    world.run(twice=True)
    assert_unlisted(world, source, world.job(job.id))


def test_a_write_that_changed_nothing_is_none(world: World, source: VersionedListSource) -> None:
    source.write(list(ENTITIES))
    assert_unlisted(world, source, world.reindex())


@pytest.mark.parametrize(
    "entities",
    [
        ENTITIES[1:],
        [*ENTITIES, article(30)],
        [*ENTITIES[:-1], article(29, words=91)],
    ],
)
def test_a_change_is_listed_and_then_is_what_is_compared_with(
    world: World, source: VersionedListSource, entities: list[Entity]
) -> None:
    source.write(entities)
    world.assert_succeeded(world.reindex())
    world.assert_index_equals(entities)
    source.pages_read = 0
    assert_unlisted(world, source, world.reindex())


def test_another_spec_is_listed(world: World, source: VersionedListSource) -> None:
    world.declare(filter_fields=())
    world.assert_succeeded(world.reindex())
    world.assert_index_equals(ENTITIES)
    source.pages_read = 0
    assert_unlisted(world, source, world.reindex())


def test_a_source_that_is_declared_otherwise_is_listed(
    world: World, source: VersionedListSource
) -> None:
    world.entity_type = replace(world.entity_type, source={"kind": "another"})
    world.assert_succeeded(world.reindex())
    assert source.pages_read == 3


def test_a_source_that_cannot_tell_is_listed(world: World, source: VersionedListSource) -> None:
    source.tellable = False
    for _ in range(2):
        world.assert_succeeded(world.reindex())
    assert source.pages_read == 6
    source.tellable = True
    world.assert_succeeded(world.reindex())
    assert source.pages_read == 9
    source.pages_read = 0
    assert_unlisted(world, source, world.reindex())


def test_a_source_that_is_away_is_waited_for(
    world: World, source: VersionedListSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = source.version

    def away() -> SourceVersion | None:
        monkeypatch.setattr(source, "version", told)
        raise SourceUnavailable("away")

    monkeypatch.setattr(source, "version", away)
    assert_unlisted(world, source, world.reindex())


def lose_chunk(world: World) -> Callable[[Partition], None]:
    return lambda partition: world.store.delete_chunks(partition, [("a3", 1)])


def lose_entity(world: World) -> Callable[[Partition], None]:
    return lambda partition: world.store.delete_chunks(partition, [("a4", 0), ("a4", 1)])


def add_orphan(world: World) -> Callable[[Partition], None]:
    return lambda partition: world.store.upsert(partition, [point(world, partition, "a99", 1)])


def swap_chunk(world: World) -> Callable[[Partition], None]:
    def swap(partition: Partition) -> None:
        add_orphan(world)(partition)
        lose_chunk(world)(partition)

    return swap


def replace_marker(world: World) -> Callable[[Partition], None]:
    """As another celeriac does that indexes what the source had before."""
    return lambda partition: world.store.upsert(partition, [point(world, partition, "a5", 0)])


def void(world: World) -> Callable[[Partition], None]:
    return lambda partition: world.store.void(partition, {"a6": 2})


def drop(world: World) -> Callable[[Partition], None]:
    store = world.store
    assert isinstance(store, QdrantStore)
    return lambda partition: store._client.delete_collection(partition.collection)


def point(world: World, partition: Partition, entity_id: str, chunk: int) -> Point:
    (other,) = world.store.chunks(partition, [("a3", 1)], with_vectors=True)
    assert other.vector is not None
    text, digest, vector = other.text, other.digest, other.vector
    return Point(entity_id, chunk, 2, text, "0" * 32, digest, vector, {})


HARM = [lose_chunk, lose_entity, add_orphan, swap_chunk, replace_marker, void, drop]


@pytest.mark.parametrize("harm", HARM)
def test_an_index_that_is_not_what_it_was_is_mended(
    world: World, source: VersionedListSource, harm: Callable[[World], Callable[[Partition], None]]
) -> None:
    harm(world)(world.partition())
    world.assert_succeeded(world.reindex())
    world.assert_index_equals(ENTITIES)
    assert source.pages_read >= 3
    source.pages_read = 0
    assert_unlisted(world, source, world.reindex())


@pytest.mark.parametrize("harm", HARM)
def test_it_is_mended_where_it_is_harmed_after_the_source_was_looked_at(
    world: World, source: VersionedListSource, harm: Callable[[World], Callable[[Partition], None]]
) -> None:
    job = world.request()
    while world.messages.waiting[0][0] != "finish":
        world.deliver(world.messages.waiting.pop(0))
    harm(world)(world.partition())
    world.run(twice=True)
    world.assert_succeeded(world.job(job.id))
    world.assert_index_equals(ENTITIES)
    assert source.pages_read >= 3


def test_a_source_that_is_written_to_meanwhile_is_listed_again(
    world: World, source: VersionedListSource
) -> None:
    """Also where it is at the end what it was when it began: a page saw another."""
    others = [*ENTITIES[:-1], article(29, words=91)]

    def change(number: int) -> None:
        if source.writes < 3:
            source.write(others if number == 1 else ENTITIES)

    source.write(others)
    world.assert_succeeded(world.reindex())
    source.before_page = change
    source.write(list(ENTITIES))
    world.assert_succeeded(world.reindex())
    source.before_page, source.pages_read = None, 0
    world.assert_succeeded(world.reindex())
    assert source.pages_read == 3
    world.assert_index_equals(source.entities)


def test_what_failed_is_said_again(world: World, source: VersionedListSource) -> None:
    source.failures = {1: EntityFailure("a77", "UnreadableDocument", "a77 is no text", False)}
    source.write([*ENTITIES, article(30)])
    for _ in range(2):
        job = world.reindex()
        world.assert_succeeded(job)
        assert job.counters.failed == 1


def test_repeated_ids_are_said_again(world: World, source: VersionedListSource) -> None:
    source.write([*ENTITIES, article(3, words=90)])
    for _ in range(2):
        job = world.reindex()
        world.assert_succeeded(job)
        (error,) = world.runtime.catalog.job_errors.first(job.id)
        assert error.error_class == "DuplicateId"


def test_a_page_that_listed_before_its_worker_died_goes_on_listing(
    world: World, source: VersionedListSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source was changed back meanwhile: the second page is of another state than the first."""
    changed = [*ENTITIES[:-1], article(29, words=91)]
    source.write(changed)
    job = world.request()
    world.deliver(world.messages.waiting.pop(0))
    monkeypatch.setattr("celeriac.leases.LEASE", 0.0)
    monkeypatch.setattr("celeriac.paging.LEASE", 0.0)

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("celeriac.indexer.Indexer.index", die)
        with pytest.raises(KeyboardInterrupt):
            world.deliver(world.messages.waiting.pop(0))
    source.write(list(ENTITIES))
    world.runtime.catalog.end_leases()
    world.jobs.send_pending(world.job(job.id))
    world.run()
    world.assert_succeeded(world.job(job.id))
    world.assert_index_equals(ENTITIES)
    world.assert_succeeded(world.reindex())  # what it was at the beginning, it was not at the end


def test_a_roll_back_finds_the_seal_of_its_generation(
    world: World, source: VersionedListSource
) -> None:
    world.declare(filter_fields=())
    world.assert_succeeded(world.reindex())
    source.pages_read = 0
    roll_back(world.runtime, world.messages, TENANT, NAME)
    world.run()
    (job,) = world.runtime.catalog.jobs.recent(limit=1)
    world.entity_type = declared()
    assert world.partition().generation == 1
    assert_unlisted(world, source, job)


def test_a_generation_that_is_taken_back_passes_the_gate_again(
    world: World, source: VersionedListSource
) -> None:
    world.declare(filter_fields=())
    world.assert_succeeded(world.reindex())
    roll_back(world.runtime, world.messages, TENANT, NAME)
    world.run()
    source.pages_read = 0
    accept(world.runtime, world.messages, TENANT, NAME)
    world.run()
    (job,) = world.runtime.catalog.jobs.recent(limit=1)
    world.assert_succeeded(job)
    assert source.pages_read == 3
    assert job.gate is not None
    assert world.partition().generation == 2
