"""What is said of one entity."""

from __future__ import annotations

import pytest
from harness import NAME, TENANT, ListSource, World, article
from oracle import expected_chunks

from celeriac.errors import NotFound
from celeriac.explain import EntityState, Explanation, explain
from celeriac.model import Entity, Splitting


def explained(world: World, entity_id: str) -> Explanation:
    world.refresh()
    return explain(world.runtime, TENANT, NAME, entity_id)


def test_an_indexed_entity_is_told_chunk_by_chunk(world: World) -> None:
    entity = article(3, words=300)
    world.source = ListSource([article(1), entity])
    job = world.reindex()
    found = explained(world, "a3")
    expected = sorted(expected_chunks(world.entity_type, [entity]), key=lambda one: one.chunk)
    assert [(one.number, one.characters, one.start) for one in found.chunks] == [
        (one.chunk, len(one.text), one.text[:80]) for one in expected
    ]
    assert (found.state, found.current, found.generation) == (EntityState.INDEXED, True, 1)
    assert found.chunk_count == len(expected) > 1
    assert {found.fingerprint, *(one.fingerprint for one in found.chunks)} == {
        expected[0].fingerprint
    }
    assert all(0 < one.tokens <= 105 for one in found.chunks)
    assert found.metadata["code"] == "c3"
    assert found.last_job is not None
    assert (found.last_job.id, found.last_error) == (job.id, None)


def test_an_entity_that_failed_is_absent_with_its_error(world: World) -> None:
    world.source = ListSource([article(1), Entity("bad", {"title": "\0"})])
    world.reindex()
    job = world.reindex()
    found = explained(world, "bad")
    assert (found.state, found.fingerprint, found.chunks) == (EntityState.ABSENT, None, ())
    assert found.last_error is not None
    assert found.last_error.job_id == job.id, "the newest of two"
    assert found.last_error.failure.error_class == "NotText"
    assert "NUL" in found.last_error.failure.message


def test_an_entity_nobody_ever_listed_is_absent(world: World) -> None:
    world.source = ListSource([article(1)])
    world.reindex()
    found = explained(world, "never")
    assert (found.state, found.last_error, found.metadata) == (EntityState.ABSENT, None, {})


@pytest.mark.parametrize("missing", [0, 1])
def test_a_half_written_entity_is_told_as_such(world: World, missing: int) -> None:
    world.source = ListSource([article(1, words=300)])
    world.reindex()
    world.store.delete_chunks(world.partition(), [("a1", missing)])
    found = explained(world, "a1")
    assert found.state == EntityState.HALF_WRITTEN
    assert found.chunks
    assert missing not in {one.number for one in found.chunks}


def test_a_voided_marker_is_told(world: World) -> None:
    world.source = ListSource([article(1, words=300)])
    world.reindex()
    world.store.void(world.partition(), {"a1": 5})
    found = explained(world, "a1")
    assert (found.state, found.fingerprint, found.chunk_count) == (EntityState.VOID, "", 5)


def test_a_declaration_that_changed_since_is_told(world: World) -> None:
    world.source = ListSource([article(1)])
    world.reindex()
    world.declare(splitting=Splitting(chunk_size=150))
    assert not explained(world, "a1").current


def test_nothing_indexed_yet_is_not_found(world: World) -> None:
    with pytest.raises(NotFound, match="Nothing is indexed yet"):
        explained(world, "a1")
