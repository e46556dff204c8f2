"""Schedules: declared, added, changed, paused; each tick once, whatever happens to the clock."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from harness import NAME, TENANT, World, article
from sqlalchemy import update

from celeriac.catalog.database import epoch_now
from celeriac.catalog.jobs import JobState
from celeriac.catalog.knowledge_bases import DataOriginType
from celeriac.catalog.schedules import Origin, ScheduleRow
from celeriac.catalog.tables import knowledge_indexes
from celeriac.catalog.tables import schedules as table
from celeriac.configuration.schedule import Schedule
from celeriac.errors import BrokerUnavailable, Conflict, NotFound
from celeriac.knowledge import Knowledge
from celeriac.model import Splitting
from celeriac.schedules import Schedules
from celeriac.store.base import VectorStore
from celeriac.store.opening import open_local

NIGHTLY = Schedule("0 3 * * *", "Europe/Berlin")
HOURLY = Schedule("15 * * * *")
HOUR = 3600.0


@pytest.fixture
def store() -> Iterator[VectorStore]:
    store = open_local(None)
    yield store
    store.close()


@pytest.fixture
def world(database_url: str, store: VectorStore, tmp_path: Path, redis_url: str) -> Iterator[World]:
    made = World(home=tmp_path, database_url=database_url, redis_url=redis_url, store=store)
    made.source.entities = [article(number) for number in range(5)]
    yield made
    made.close()


@pytest.fixture
def schedules(world: World) -> Schedules:
    declare(world, NIGHTLY)
    return Schedules(world.runtime, world.messages)


def declare(world: World, schedule: Schedule | None) -> None:
    world.entity_type = replace(world.entity_type, schedule=schedule)
    world.refresh()


def the_one(schedules: Schedules) -> ScheduleRow:
    (row,) = schedules.of_tenant(TENANT)
    return row


def make_due(world: World, row: ScheduleRow, seconds: float = 5 * 24 * HOUR) -> ScheduleRow:
    """Have the clock have stood still for so long before now."""
    moment = world.runtime.catalog.database.now() - seconds
    with world.runtime.catalog.database.write() as connection:
        connection.execute(update(table).where(table.c.id == row.id).values(next_at=moment))
    return replace(row, next_at=moment)


def jobs(world: World) -> int:
    return len(world.runtime.catalog.jobs.recent(tenant=TENANT, limit=100))


def test_a_declared_schedule_is_listed_and_not_due_at_once(
    world: World, schedules: Schedules
) -> None:
    row = the_one(schedules)
    assert (row.target, row.origin, row.schedule) == (NAME, Origin.DECLARED, NIGHTLY)
    now = world.runtime.catalog.database.now()
    assert now < row.next_at < now + 25 * HOUR
    assert schedules.run_due() == []
    assert jobs(world) == 0


def test_ticks_that_were_missed_are_caught_up_once(world: World, schedules: Schedules) -> None:
    due = make_due(world, the_one(schedules))
    (ran,) = schedules.run_due()
    assert ran.id == due.id
    assert schedules.run_due() == []
    world.run()
    row = the_one(schedules)
    assert row.last_due_at == due.next_at
    assert row.last_job_id is not None
    world.assert_succeeded(world.job(row.last_job_id))
    assert row.next_at > world.runtime.catalog.database.now()
    assert jobs(world) == 1


def test_many_clocks_fire_a_tick_once(world: World, schedules: Schedules) -> None:
    make_due(world, the_one(schedules))
    with ThreadPoolExecutor(8) as threads:
        ran = list(threads.map(lambda _: schedules.run_due(), range(16)))
    assert sum(map(len, ran)) == 1
    assert jobs(world) == 1


def test_a_tick_over_a_running_job_joins_it(world: World, schedules: Schedules) -> None:
    job = world.request()
    world.deliver(world.messages.waiting.pop(0))
    assert world.job(job.id).state == JobState.RUNNING
    make_due(world, the_one(schedules))
    schedules.run_due()
    assert the_one(schedules).last_job_id == job.id
    assert jobs(world) == 1


def test_a_tick_over_a_running_retry_asks_for_a_reindex(world: World, schedules: Schedules) -> None:
    world.source.entities[0] = article(0, title=" ", body="\0")
    failed = world.reindex()
    retry = world.request_retry(failed)
    world.deliver(world.messages.waiting.pop(0))
    make_due(world, the_one(schedules))
    schedules.run_due()
    assert the_one(schedules).last_job_id not in (None, retry.id, failed.id)


def test_a_tick_whose_taker_died_is_taken_again(world: World, schedules: Schedules) -> None:
    due = make_due(world, the_one(schedules))
    assert world.runtime.catalog.schedules.take(due)
    assert schedules.run_due() == []
    with world.runtime.catalog.database.write() as connection:
        connection.execute(update(table).values(lease_until=epoch_now() - 1))
    assert len(schedules.run_due()) == 1
    assert jobs(world) == 1


def test_a_tick_while_redis_is_away_is_not_lost(world: World, schedules: Schedules) -> None:
    class Away:
        def __getattr__(self, name: str) -> object:
            raise BrokerUnavailable

    make_due(world, the_one(schedules))
    assert Schedules(world.runtime, Away()).run_due() == []  # type: ignore[arg-type]
    # The job's row stays: it runs once Redis is back, and the tick joins it.
    with world.runtime.catalog.database.write() as connection:
        connection.execute(update(table).values(lease_until=None))
    assert len(schedules.run_due()) == 1
    assert jobs(world) == 1


def test_redis_emptied_changes_nothing(world: World, schedules: Schedules) -> None:
    row = the_one(schedules)
    added = schedules.add(TENANT, NAME, HOURLY)
    schedules.pause(row)
    world.runtime.redis.flushall()
    found = {one.id: one for one in schedules.of_tenant(TENANT)}
    assert found[row.id].paused_at is not None
    assert found[added.id] == added


def test_a_paused_schedule_does_not_run_and_catches_nothing_up(
    world: World, schedules: Schedules
) -> None:
    row = schedules.pause(the_one(schedules))
    make_due(world, row)
    assert schedules.run_due() == []
    assert schedules.resume(row).paused_at is None
    assert schedules.run_due() == []
    assert jobs(world) == 0


def test_a_change_lasts_until_the_declaration_changes(world: World, schedules: Schedules) -> None:
    row = schedules.change(the_one(schedules), HOURLY)
    assert row.next_at <= world.runtime.catalog.database.now() + HOUR
    schedules.reconcile()
    assert (the_one(schedules).schedule, the_one(schedules).overridden) == (HOURLY, True)
    weekly = Schedule("0 3 * * sun")
    declare(world, weekly)
    assert (the_one(schedules).schedule, the_one(schedules).overridden) == (weekly, False)


def test_a_declaration_that_comes_back_is_still_paused_and_changed(
    world: World, schedules: Schedules
) -> None:
    row = schedules.pause(schedules.change(the_one(schedules), HOURLY))
    declare(world, None)
    assert schedules.of_tenant(TENANT) == []
    make_due(world, row)
    assert schedules.run_due() == []
    declare(world, NIGHTLY)
    back = the_one(schedules)
    assert (back.id, back.schedule, back.overridden) == (row.id, HOURLY, True)
    assert back.paused_at is not None


def test_a_tick_while_a_configuration_is_rolled_out_is_caught_up(
    world: World, schedules: Schedules
) -> None:
    minutely = Schedule("* * * * *")
    declare(world, minutely)
    row = the_one(schedules)
    for ago, due in ((600, True), (2 * HOUR, False)):
        declare(world, None)
        schedules.reconcile()
        with world.runtime.catalog.database.write() as connection:
            connection.execute(update(table).values(withdrawn_at=epoch_now() - ago))
        declare(world, minutely)
        schedules.reconcile()
        assert (the_one(schedules).next_at < world.runtime.catalog.database.now()) == due
    assert the_one(schedules).id == row.id


def test_schedules_are_added_and_removed(world: World, schedules: Schedules) -> None:
    added = schedules.add(TENANT, "ARTICLE", HOURLY)
    assert (added.target, added.origin, added.declared) == (NAME, Origin.ADDED, None)
    make_due(world, added)
    (ran,) = schedules.run_due()
    assert ran.id == added.id
    schedules.delete(added)
    assert schedules.find(added.id) is None
    with pytest.raises(NotFound):
        schedules.add(TENANT, "nothing", HOURLY)
    with pytest.raises(Conflict, match="configuration file"):
        schedules.delete(the_one(schedules))


def test_a_tick_for_what_is_not_declared_any_more_says_so(
    world: World, schedules: Schedules
) -> None:
    added = schedules.add(TENANT, NAME, HOURLY)
    with world.runtime.catalog.database.write() as connection:
        connection.execute(update(table).where(table.c.id == added.id).values(target="gone"))
    make_due(world, added)
    assert len(schedules.run_due()) == 1
    row = schedules.find(added.id)
    assert row is not None
    assert "no entity type 'gone'" in row.message
    assert (row.last_run_at, row.last_job_id) == (None, None)


def test_a_refresh_policy_is_a_schedule_of_its_knowledge_base(
    world: World, schedules: Schedules
) -> None:
    declare(world, None)
    catalog = world.runtime.catalog
    base = catalog.knowledge_bases.create(
        TENANT, "kb", "", DataOriginType.LOCAL_FILES, {"policy_type": "HOURLY", "minute": 15}
    )
    index = Knowledge(world.runtime, world.messages).create_index(
        TENANT, base.id, name="i", description="", model="stub", splitting=Splitting()
    )
    row = the_one(schedules)
    assert (row.target, row.origin, row.schedule) == (base.id, Origin.POLICY, HOURLY)
    make_due(world, row)
    assert len(schedules.run_due()) == 1
    assert catalog.jobs.waiting(index.id) is not None
    with pytest.raises(Conflict, match="refresh policy"):
        schedules.change(row, NIGHTLY)
    with pytest.raises(Conflict, match="MANUAL"):
        schedules.delete(row)
    catalog.knowledge_bases.delete(base.id)
    assert schedules.of_tenant(TENANT) == []


def test_an_index_that_cannot_be_refreshed_does_not_keep_the_others_from_it(
    world: World, schedules: Schedules
) -> None:
    declare(world, None)
    catalog = world.runtime.catalog
    base = catalog.knowledge_bases.create(
        TENANT, "kb", "", DataOriginType.LOCAL_FILES, {"policy_type": "HOURLY", "minute": 15}
    )
    knowledge = Knowledge(world.runtime, world.messages)
    made = [
        knowledge.create_index(
            TENANT, base.id, name=name, description="", model="stub", splitting=Splitting()
        )
        for name in ("broken", "whole")
    ]
    with catalog.database.write() as connection:
        broken = update(knowledge_indexes).where(knowledge_indexes.c.id == made[0].id)
        connection.execute(broken.values(model="gone"))
    make_due(world, the_one(schedules))
    assert len(schedules.run_due()) == 1
    assert catalog.jobs.waiting(made[0].id) is None
    assert catalog.jobs.waiting(made[1].id) is not None
    assert "gone" in the_one(schedules).message
