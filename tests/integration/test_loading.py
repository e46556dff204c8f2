"""On a Qdrant server, indexing is put off while a new generation is loaded, and no longer."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
import servers
from harness import NAME, TENANT, ListSource, World, article

from celeriac.catalog.indexes import collection_of, index_id_of
from celeriac.catalog.jobs import Job, JobState
from celeriac.doctor.store import indexing_of
from celeriac.loading import PUT_OFF
from celeriac.store import open_store
from celeriac.store.base import VectorStore

OWN = 5_000
"""Kilobytes: what somebody set for the collection."""


@pytest.fixture
def store(qdrant_server: servers.QdrantServer) -> Iterator[VectorStore]:
    store = open_store(qdrant_server.url)
    yield store
    store.close()


@pytest.fixture
def collection(world: World) -> str:
    """The index's own collection, with a threshold of its own."""
    world.source = ListSource([article(number) for number in range(30)])
    world.declare(own_collection=True)
    spec = world.entity_type.spec
    name = collection_of(spec, index_id_of(TENANT, NAME))
    world.store.ensure_collection(name, spec.dimension, spec.filter_fields)
    world.store.index_from(name, OWN)
    return name


def threshold(world: World, collection: str) -> int:
    found = world.store.indexing(collection)
    assert found is not None
    return found.threshold


def begun(world: World) -> Job:
    """A job that is planned, and whose first page waits."""
    job = world.request()
    world.deliver(world.messages.waiting.pop(0))
    return world.job(job.id)


def test_a_new_generation_is_indexed_once_it_is_written(world: World, collection: str) -> None:
    job = begun(world)

    assert threshold(world, collection) == PUT_OFF

    world.run()
    world.assert_succeeded(world.job(job.id))
    assert threshold(world, collection) == OWN
    assert world.runtime.catalog.loadings.over() == {}


def test_a_live_generation_is_indexed_as_it_is_written(world: World, collection: str) -> None:
    world.assert_succeeded(world.reindex())

    begun(world)

    assert threshold(world, collection) == OWN
    world.run()


def test_a_job_that_is_cancelled_leaves_the_collection_as_it_was(
    world: World, collection: str
) -> None:
    job = begun(world)

    world.jobs.cancel(job.id)

    assert threshold(world, collection) == OWN


def test_a_paused_job_does_not_keep_the_others_waiting(world: World, collection: str) -> None:
    job = begun(world)
    world.runtime.catalog.steering.pause(job.id)

    world.jobs.recover()

    assert threshold(world, collection) == OWN
    world.jobs.cancel(job.id)


def test_what_a_worker_left_behind_is_put_right(world: World, collection: str) -> None:
    job = begun(world)
    assert world.runtime.catalog.jobs.fail(job.id, "its worker died before it could say more")
    assert threshold(world, collection) == PUT_OFF

    world.jobs.recover()

    assert threshold(world, collection) == OWN
    assert world.runtime.catalog.loadings.over() == {}


def test_another_job_that_loads_the_collection_is_not_disturbed(
    world: World, collection: str
) -> None:
    job = begun(world)

    over = world.runtime.catalog.loadings.over

    assert over() == {}
    assert over(besides=job.id) == {collection: OWN}
    world.run()
    assert world.job(job.id).state == JobState.SUCCEEDED


def test_a_collection_that_is_gone_is_forgotten(world: World) -> None:
    world.runtime.catalog.loadings.begin(f"gone_{uuid.uuid4().hex}", OWN)

    world.jobs.recover()

    assert world.runtime.catalog.loadings.over() == {}


def test_written_and_indexed_are_told_apart(world: World, collection: str) -> None:
    world.assert_succeeded(world.reindex())

    found = world.store.indexing(collection)

    assert found is not None
    assert found.points > 0
    assert found.indexed == 0  # far below the threshold
    assert f"{found.points:,} points, 0 of them in a graph" in indexing_of(collection, found)
