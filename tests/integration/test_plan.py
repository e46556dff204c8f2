"""A plan says what the job after it does, and writes nothing."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from harness import NAME, TENANT, ListSource, World, article
from sqlalchemy import inspect

from celeriac.catalog.jobs import Job
from celeriac.errors import NotFound, SourceUnavailable
from celeriac.model import Entity, EntityFailure, Splitting
from celeriac.plan import Plan, plan


def planned(world: World) -> Plan:
    world.refresh()
    return plan(world.runtime, TENANT, NAME)


def assert_foretold(plan: Plan, job: Job) -> None:
    counters = job.counters
    assert (plan.listed, plan.unchanged, plan.failed) == (
        counters.listed,
        counters.unchanged,
        counters.failed,
    )
    assert plan.added + plan.changed == counters.indexed
    assert plan.listed == plan.added + plan.changed + plan.unchanged + plan.failed
    assert plan.removed == counters.removed
    assert plan.chunks_to_embed == counters.embedded
    assert plan.generation == job.generation


def everything_written(world: World) -> object:
    """The catalog's rows and the store's points."""
    engine = world.runtime.catalog.database.engine
    tables = inspect(engine).get_table_names()
    with engine.connect() as connection:
        rows = {
            table: connection.exec_driver_sql(f"SELECT * FROM {table}").fetchall()
            for table in tables
        }
    index = world.runtime.catalog.indexes.find(TENANT, NAME)
    live = world.runtime.catalog.indexes.live(index.id) if index else None
    return rows, world.indexed() if live else None


def test_a_first_plan_foretells_the_whole_index_and_makes_nothing(world: World) -> None:
    world.source = ListSource([article(number, words=number * 7) for number in range(35)])
    before = everything_written(world)
    found = planned(world)
    assert everything_written(world) == before
    assert (found.added, found.live_generation, found.builds) == (35, None, True)
    assert (found.changes, found.throughput, found.expected_seconds) == ((), None, None)
    job = world.reindex()
    assert_foretold(found, job)
    assert found.tokens_to_embed == job.counters.tokens


def test_an_unchanged_source_leaves_nothing_to_do(world: World) -> None:
    world.source = ListSource([article(number, words=90) for number in range(25)])
    world.reindex()
    before = everything_written(world)
    found = planned(world)
    assert everything_written(world) == before
    assert (found.unchanged, found.chunks_to_embed, found.builds) == (25, 0, False)
    assert found.expected_seconds is not None
    assert_foretold(found, world.reindex())


@pytest.mark.parametrize("seed", range(3))
def test_additions_changes_removals_and_failures_are_foretold(world: World, seed: int) -> None:
    chance = random.Random(seed)
    before = [article(number, words=chance.randrange(400)) for number in range(60)]
    world.source = ListSource(before, page_size=chance.randrange(1, 30))
    world.reindex()
    after = [one for one in before if chance.random() > 0.1]
    for position in chance.sample(range(len(after)), 12):
        fields = dict(after[position].fields)
        fields["body"] = f"{fields['body']} and more" if chance.random() < 0.5 else "other"
        after[position] = Entity(after[position].id, fields)
    after[3] = Entity(after[3].id, {"title": " "})
    after[5] = Entity(after[5].id, {"title": b"\0"})
    after += [article(number) for number in range(100, 110)]
    after.append(after[1])
    world.source = ListSource(after, page_size=7)
    world.source.failures[0] = EntityFailure(None, "MissingId", "page 0: no id")
    found = planned(world)
    job = world.reindex(removal_limit=1.0)
    assert_foretold(found, job)
    assert (found.added, found.emptied, found.failed) == (10, 1, 3)
    assert found.chunks_reused > 0
    recorded = {error.error_class for error in world.runtime.catalog.job_errors.first(job.id)}
    assert {error.error_class for error in found.errors} == recorded


def test_a_change_of_the_declaration_builds_a_generation_and_says_why(world: World) -> None:
    entities = [article(number, words=200) for number in range(15)]
    world.source = ListSource(entities)
    world.reindex()
    world.declare(splitting=Splitting(chunk_size=150))
    found = planned(world)
    assert (found.live_generation, found.generation, found.builds) == (1, 2, True)
    change = found.changes[0]
    assert len(found.changes) == 1
    assert (change.part, change.before, change.now) == ("splitting.chunk_size", 100, 150)
    assert found.added == 15
    assert found.expected_seconds is not None, "the same model embedded before"
    assert_foretold(found, world.reindex())
    assert not planned(world).builds


def test_a_building_generation_is_gone_on_with(world: World) -> None:
    world.source = ListSource([article(number) for number in range(30)])
    job = world.request()
    world.deliver(world.messages.waiting.pop(0))
    world.deliver(world.messages.waiting.pop(0))
    world.runtime.catalog.jobs.cancel(job.id)
    world.messages.waiting.clear()
    found = planned(world)
    assert (found.generation, found.builds, found.unchanged, found.added) == (1, True, 10, 20)
    assert_foretold(found, world.reindex())


def test_a_removal_that_would_be_refused_is_told(world: World) -> None:
    world.source = ListSource([article(number) for number in range(30)])
    world.reindex()
    world.source = ListSource([article(number) for number in range(24)])
    found = planned(world)
    assert (found.removed, found.removal_refused) == (6, False)
    world.source = ListSource([article(number) for number in range(23)])
    found = planned(world)
    assert (found.removed, found.removal_refused) == (7, True)
    assert world.reindex().state == "failed"


def test_a_rebuild_that_would_lose_too_much_is_told(world: World) -> None:
    entities = [article(number) for number in range(30)]
    world.source = ListSource(entities)
    world.reindex()
    world.declare(splitting=Splitting(chunk_size=150))
    assert not planned(world).removal_refused
    world.source = ListSource(entities[:20])
    found = planned(world)
    assert (found.removed, found.removal_refused) == (0, True)
    assert world.reindex().state == "failed"


def test_an_entity_that_slid_past_the_listing_is_not_counted_as_removed(world: World) -> None:
    entities = [article(number) for number in range(30)]
    world.source = ListSource(list(entities), stable_listing=False)
    world.reindex()

    def shrink(number: int) -> None:
        if number == 1 and len(world.source.entities) == 30:
            del world.source.entities[0]

    world.source.before_page = shrink
    found = planned(world)
    assert (found.removed, found.listed, found.unchanged) == (0, 30, 30)


def test_an_incomplete_listing_gives_no_plan(world: World) -> None:
    def away(number: int) -> None:
        if number == 2:
            raise SourceUnavailable("HTTP 502")

    world.source = ListSource([article(number) for number in range(30)], before_page=away)
    with pytest.raises(SourceUnavailable):
        planned(world)


def test_planning_can_be_watched_and_ended(world: World) -> None:
    world.source = ListSource([article(number) for number in range(30)])
    world.refresh()
    seen: list[int] = []

    def watch(listed: int) -> None:
        seen.append(listed)
        if listed == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plan(world.runtime, TENANT, NAME, checkpoint=watch)
    assert seen == [10, 20]


def test_an_undeclared_type_is_not_found(world: World) -> None:
    world.refresh()
    with pytest.raises(NotFound):
        plan(world.runtime, TENANT, "nothing")


class EndlessSource(ListSource):
    """Makes its entities page by page, so that only the planner's memory is measured."""

    def page(self, cursor: str | None):  # type: ignore[no-untyped-def]
        start = int(cursor or 0)
        self.entities = [article(number, words=5) for number in range(start, start + 200)]
        page = ListSource(self.entities, page_size=200).page(None)
        following = str(start + 200) if start + 200 < len(self.failures) else None
        return type(page)(entities=page.entities, next_cursor=following)


@pytest.mark.parametrize("store", ["local"], indirect=True)
def test_memory_does_not_grow_with_the_corpus(world: World) -> None:
    def peak(entities: int) -> int:
        world.source = EndlessSource([], failures=dict.fromkeys(range(entities)))  # type: ignore[arg-type]
        tracemalloc.start()
        assert planned(world).added == entities
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(400)
    assert peak(8_000) < 2 * peak(1_000)
