"""An audit finds exactly what was damaged; a repair mends exactly that."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from harness import NAME, TENANT, ListSource, World, article

from celeriac.audit import Audit, audit
from celeriac.catalog.jobs import FINAL, JobState
from celeriac.comparison import Findings
from celeriac.errors import (
    ConfigurationError,
    JobStopped,
    NotFound,
    RemovalRefused,
    SourceUnavailable,
    StoreUnavailable,
    TransientError,
)
from celeriac.model import Entity, Splitting
from celeriac.store.base import Point, StoredChunk

KINDS = ("missing", "stale", "orphaned", "half_written", "altered")


def audited(world: World, *, repair: bool = False) -> Audit:
    world.refresh()
    return audit(world.runtime, TENANT, NAME, repair=repair)


def ids_of(found: Findings) -> dict[str, set[str]]:
    """Ids by kind, of the kinds there are; fails where the counts are others."""
    kinds = {kind: getattr(found, kind) for kind in KINDS}
    for finding in kinds.values():
        assert finding.count == len(finding.entity_ids) == sum(finding.reasons.values())
    return {kind: set(finding.entity_ids) for kind, finding in kinds.items() if finding.count}


def long_articles(count: int) -> list[Entity]:
    """Of several chunks each."""
    return [article(number, words=120 + number * 3) for number in range(count)]


def indexed(world: World, entities: list[Entity]) -> None:
    world.source = ListSource(entities, page_size=7)
    world.assert_succeeded(world.reindex())


class Damage:
    """Hands that damage single points."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._store = world.store
        self._partition = world.partition()

    def chunk(self, entity_id: str, number: int) -> StoredChunk:
        found = self._store.chunks(self._partition, [(entity_id, number)], with_vectors=True)
        assert len(found) == 1
        return found[0]

    def rewrite(self, chunk: StoredChunk, /, **changes: object) -> None:
        assert chunk.vector is not None
        point = Point(
            entity_id=chunk.entity_id,
            chunk=chunk.chunk,
            chunk_count=chunk.chunk_count,
            text=chunk.text,
            fingerprint=chunk.fingerprint,
            digest=chunk.digest,
            vector=chunk.vector,
            metadata=chunk.payload["metadata"],
        )
        self._store.upsert(self._partition, [replace(point, **changes)])  # type: ignore[arg-type]

    def delete(self, entity_id: str, *numbers: int) -> None:
        self._store.delete_chunks(self._partition, [(entity_id, number) for number in numbers])

    def delete_all(self, entity_id: str) -> None:
        self.delete(entity_id, *range(self.chunk(entity_id, 0).chunk_count))

    def make_stale(self, entity_id: str) -> None:
        for number in range(self.chunk(entity_id, 0).chunk_count):
            self.rewrite(self.chunk(entity_id, number), fingerprint="f" * 32)

    def void(self, entity_id: str) -> None:
        count = self.chunk(entity_id, 0).chunk_count
        self._store.void(self._partition, {entity_id: count})

    def copy(self, entity_id: str, to: str) -> None:
        """A whole entity under another id."""
        for number in range(self.chunk(entity_id, 0).chunk_count):
            self.rewrite(self.chunk(entity_id, number), entity_id=to)


DAMAGES: dict[str, tuple[str, Callable[[Damage, str], None]]] = {
    "missing": ("missing", lambda damage, one: damage.delete_all(one)),
    "chunk missing": ("half_written", lambda damage, one: damage.delete(one, 1)),
    "last chunk missing": (
        "half_written",
        lambda damage, one: damage.delete(one, damage.chunk(one, 0).chunk_count - 1),
    ),
    "no marker": ("half_written", lambda damage, one: damage.delete(one, 0)),
    "void marker": ("half_written", lambda damage, one: damage.void(one)),
    "chunk of another version": (
        "half_written",
        lambda damage, one: damage.rewrite(damage.chunk(one, 1), fingerprint="f" * 32),
    ),
    "tail": (
        "half_written",
        lambda damage, one: damage.rewrite(
            damage.chunk(one, 1), chunk=damage.chunk(one, 0).chunk_count + 3
        ),
    ),
    "stale": (
        "stale",
        lambda damage, one: damage.make_stale(one),
    ),
    "other text": (
        "altered",
        lambda damage, one: damage.rewrite(damage.chunk(one, 1), text="tampered with"),
    ),
    "orphan": ("orphaned", lambda damage, one: damage.copy(one, f"ghost of {one}")),
}


def test_a_sound_index_is_equal(world: World) -> None:
    indexed(world, long_articles(20))
    found = audited(world)
    assert found.equal
    assert ids_of(found.found) == {}
    assert (found.listed, found.indexed, found.points) == (20, 20, len(world.indexed()))
    assert (found.disturbed, found.repair) == (False, None)


@pytest.mark.parametrize("name", DAMAGES)
def test_each_damage_is_found_as_what_it_is_and_mended(world: World, name: str) -> None:
    entities = long_articles(12)
    indexed(world, entities)
    kind, do = DAMAGES[name]
    do(Damage(world), "a4")
    expected = {kind: {"ghost of a4" if kind == "orphaned" else "a4"}}
    before = world.indexed()
    assert ids_of(audited(world).found) == expected
    assert world.indexed() == before, "without repair nothing is written"

    mended = audited(world, repair=True)
    assert mended.equal
    assert ids_of(mended.found) == expected
    world.assert_index_equals(entities)
    assert mended.repair is not None
    counters = mended.repair.counters
    assert (counters.indexed, counters.removed) == ((0, 1) if kind == "orphaned" else (1, 0))
    assert ids_of(audited(world).found) == {}


@pytest.mark.parametrize("seed", range(4))
def test_any_mixture_of_damage_is_found_exactly_and_mended(world: World, seed: int) -> None:
    chance = random.Random(seed)
    entities = long_articles(60)
    indexed(world, entities)
    damage = Damage(world)
    expected: dict[str, set[str]] = {}
    for one in chance.sample(entities, 15):
        kind, do = DAMAGES[chance.choice(list(DAMAGES))]
        do(damage, one.id)
        expected.setdefault(kind, set()).add(f"ghost of {one.id}" if kind == "orphaned" else one.id)
    mended = audited(world, repair=True)
    assert ids_of(mended.found) == expected
    assert mended.equal
    world.assert_index_equals(entities)
    world.assert_succeeded(world.reindex())
    world.assert_index_equals(entities)


def test_what_changed_at_the_source_since_is_stale_missing_or_orphaned(world: World) -> None:
    entities = long_articles(20)
    indexed(world, entities)
    after = [*entities[2:], article(99)]
    after[3] = article(5, words=7)
    after[4] = Entity("a6", {"title": ""})
    after[5] = Entity("a7", {"title": b"\0"})
    world.source = ListSource(after)
    found = audited(world)
    assert ids_of(found.found) == {
        "missing": {"a99"},
        "stale": {"a5"},
        "orphaned": {"a0", "a1", "a6"},
    }
    assert found.found.orphaned.reasons == {"not listed": 2, "without text": 1}
    assert found.failed == 2
    assert {error.entity_id for error in found.errors} == {"a6", "a7"}
    assert audited(world, repair=True).equal
    # What is indexed of an entity that cannot be read now stays.
    world.assert_index_equals([*(one for one in after if one.id not in {"a6", "a7"}), entities[7]])


def test_a_half_written_entity_that_cannot_be_indexed_is_removed(world: World) -> None:
    entities = long_articles(10)
    indexed(world, entities)
    Damage(world).delete("a4", 1)
    world.source.entities[4] = Entity("a4", {"title": b"\0"})
    found = audited(world, repair=True)
    assert ids_of(found.found) == {"half_written": {"a4"}}
    world.assert_index_equals([one for one in entities if one.id != "a4"])


def test_a_repair_is_a_job_that_says_what_it_did(world: World) -> None:
    indexed(world, long_articles(10))
    damage = Damage(world)
    damage.delete("a4", 1)
    damage.copy("a3", "ghost")
    found = audited(world, repair=True)
    assert found.repair is not None
    job = world.job(found.repair.job_id)
    world.assert_succeeded(job)
    assert (job.counters.listed, job.counters.indexed, job.counters.removed) == (10, 1, 1)
    assert 0 < job.counters.embedded < job.counters.chunks + 1


def test_only_what_is_lost_is_embedded_again(world: World) -> None:
    indexed(world, [article(1, words=600), article(2)])
    Damage(world).delete("a1", 2)
    found = audited(world, repair=True)
    assert found.repair is not None
    assert found.repair.counters.embedded == 1


def test_a_lost_collection_is_built_again(world: World) -> None:
    entities = long_articles(10)
    indexed(world, entities)
    world.store._client.delete_collection(world.partition().collection)  # type: ignore[attr-defined]
    found = audited(world)
    assert ids_of(found.found) == {"missing": {one.id for one in entities}}
    assert audited(world, repair=True).equal
    world.assert_index_equals(entities)


def test_an_orphan_is_removed_only_if_a_second_listing_misses_it_too(world: World) -> None:
    entities = long_articles(30)
    world.source = ListSource(list(entities), stable_listing=False)
    world.reindex()

    def shrink(number: int) -> None:
        if number == 1 and len(world.source.entities) == 30:
            del world.source.entities[0]

    world.source.before_page = shrink
    found = audited(world, repair=True)
    assert found.equal
    assert (found.listed, found.repair) == (30, None)
    assert ids_of(audited(world, repair=True).found) == {"orphaned": {"a0"}}
    world.assert_index_equals(entities[1:])


def test_a_mass_removal_is_refused_and_nothing_is_touched(world: World) -> None:
    entities = long_articles(20)
    indexed(world, entities)
    damage = Damage(world)
    damage.delete("a4", 1)
    before = world.indexed()
    world.source = ListSource(entities[:10])
    with pytest.raises(RemovalRefused, match="10 of the 20 indexed entities"):
        audited(world, repair=True)
    assert world.indexed() == before
    assert world.runtime.catalog.jobs.recent()[0].state == JobState.FAILED


def test_an_incomplete_listing_gives_no_audit_and_frees_the_index(world: World) -> None:
    entities = long_articles(30)
    indexed(world, entities)

    def away(number: int) -> None:
        if number == 2:
            raise SourceUnavailable("HTTP 502")

    world.source = ListSource(entities, before_page=away)
    with pytest.raises(SourceUnavailable):
        audited(world, repair=True)
    assert "HTTP 502" in world.runtime.catalog.jobs.recent()[0].message
    world.source.before_page = None
    world.assert_succeeded(world.reindex())


def test_nothing_indexed_yet_and_another_declaration_are_refused(world: World) -> None:
    world.source = ListSource(long_articles(3))
    with pytest.raises(NotFound, match="Nothing is indexed yet"):
        audited(world)
    world.reindex()
    world.declare(splitting=Splitting(chunk_size=150))
    with pytest.raises(ConfigurationError, match="celeriac plan acme article"):
        audited(world)


class TestWithJobs:
    def test_a_repair_is_refused_while_a_job_waits_or_runs(self, world: World) -> None:
        indexed(world, long_articles(10))
        job = world.request()
        for state in ("queued", "running"):
            with pytest.raises(TransientError, match=f"Job {job.id} of acme/article is {state}"):
                audited(world, repair=True)
            world.deliver(world.messages.waiting.pop(0))
        world.run()
        assert audited(world, repair=True).equal

    def test_a_repair_is_refused_while_an_ended_job_has_a_page_in_hand(self, world: World) -> None:
        indexed(world, long_articles(10))
        job = world.request()
        world.deliver(world.messages.waiting.pop(0))
        assert world.runtime.catalog.pages.claim(job.id, 0, 60.0) is not None
        world.jobs.cancel(job.id)
        with pytest.raises(TransientError, match="in hand"):
            audited(world, repair=True)

    def test_a_repair_is_refused_while_an_ended_job_is_being_finished(self, world: World) -> None:
        indexed(world, long_articles(10))
        job = world.request()
        world.deliver(world.messages.waiting.pop(0))
        assert world.runtime.catalog.jobs.claim_finish(job.id, "token", 60.0)
        world.jobs.cancel(job.id)
        with pytest.raises(TransientError, match="in hand"):
            audited(world, repair=True)

    def test_an_audit_during_a_job_says_that_it_was_disturbed(self, world: World) -> None:
        indexed(world, long_articles(10))

        def reindex_once(number: int) -> None:
            if number == 1:
                world.source.before_page = None
                world.reindex()

        world.source.before_page = reindex_once
        disturbed = audited(world)
        assert (disturbed.disturbed, audited(world).disturbed) == (True, False)

    def test_a_job_that_is_requested_during_a_repair_waits_for_its_end(self, world: World) -> None:
        entities = long_articles(20)
        indexed(world, entities)
        Damage(world).delete("a4", 1)
        states: list[JobState] = []

        def request(number: int) -> None:
            if number == 1 and not states:
                job = world.request()
                world.run()
                world.jobs.recover()
                world.run()
                states.append(world.job(job.id).state)

        world.source.before_page = request
        assert audited(world, repair=True).equal
        assert states == [JobState.QUEUED]
        world.jobs.recover()
        world.run()
        latest = world.runtime.catalog.jobs.recent()[0]
        world.assert_succeeded(latest)
        assert latest.counters.unchanged == 20

    def test_a_repair_that_is_cancelled_writes_no_more(self, world: World) -> None:
        indexed(world, long_articles(20))
        Damage(world).delete("a4", 1)
        before = world.indexed()

        def cancel(number: int) -> None:
            if number == 1:
                world.jobs.cancel(world.runtime.catalog.jobs.recent()[0].id)

        world.source.before_page = cancel
        with pytest.raises(JobStopped):
            audited(world, repair=True)
        assert world.indexed() == before
        assert world.runtime.catalog.jobs.recent()[0].state == JobState.CANCELLED
        world.source.before_page = None
        assert audited(world, repair=True).equal

    def test_a_repair_that_fails_says_why_and_frees_the_index(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        entities = long_articles(10)
        indexed(world, entities)
        Damage(world).delete("a4", 1)
        upsert = world.store.upsert

        def away(*_: object) -> None:
            raise StoreUnavailable

        monkeypatch.setattr(world.store, "upsert", away)
        with pytest.raises(StoreUnavailable):
            audited(world, repair=True)
        monkeypatch.setattr(world.store, "upsert", upsert)
        job = world.runtime.catalog.jobs.recent()[0]
        assert (job.state, "broken off" in job.message) == (JobState.FAILED, True)
        assert audited(world, repair=True).equal
        world.assert_index_equals(entities)

    @pytest.mark.parametrize("writes", range(5))
    def test_what_a_killed_repair_began_is_finished_by_a_worker(
        self, world: World, monkeypatch: pytest.MonkeyPatch, writes: int
    ) -> None:
        entities = long_articles(20)
        indexed(world, entities)
        damage = Damage(world)
        for name, one in zip(DAMAGES, entities[1:], strict=False):
            DAMAGES[name][1](damage, one.id)
        left = writes
        catalog = world.runtime.catalog

        class Killed(BaseException):
            pass

        def until_killed(write: Callable[..., None]) -> Callable[..., None]:
            def call(*arguments: object) -> None:
                nonlocal left
                if left == 0:
                    raise Killed
                left -= 1
                write(*arguments)

            return call

        with monkeypatch.context() as patch:
            for write in ("upsert", "void", "delete_chunks"):
                patch.setattr(world.store, write, until_killed(getattr(world.store, write)))
            # A killed process says nothing to the catalog.
            patch.setattr(catalog.jobs, "fail", lambda *_: None)
            patch.setattr(catalog.pages, "release", lambda *_: None)
            with pytest.raises(Killed):
                audited(world, repair=True)
        job = catalog.jobs.recent()[0]
        assert job.state == JobState.RUNNING
        with catalog.database.write() as connection:
            connection.exec_driver_sql("UPDATE pages SET lease_until = 0, sent_at = 0")
        world.jobs.recover()
        world.run()
        if writes:
            world.assert_succeeded(world.job(job.id))
        else:  # nothing was voided yet, and a reindex trusts markers
            assert world.job(job.id).state in FINAL
        assert audited(world, repair=not writes).equal
        world.assert_index_equals(entities)


def test_two_repairs_at_once_are_one(world: World) -> None:
    indexed(world, long_articles(20))

    def again(number: int) -> None:
        if number == 1:
            with pytest.raises(TransientError, match="is running"):
                audited(world, repair=True)

    world.source.before_page = again
    assert audited(world, repair=True).equal
