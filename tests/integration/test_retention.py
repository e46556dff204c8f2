"""What grows with every job, and what bounds it."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from harness import NAME, TENANT, World, article, local_world
from sqlalchemy import func, select, update

from api import create_app
from celeriac.catalog.jobs import FINAL, Job, JobState
from celeriac.catalog.knowledge_bases import DataOriginType
from celeriac.catalog.pages import Claim
from celeriac.catalog.tables import (
    expired_jobs,
    generations,
    indexes,
    job_errors,
    jobs,
    knowledge_bases,
    knowledge_indexes,
    listings,
    metadata,
    pages,
    schedules,
)
from celeriac.configuration.schedule import Schedule
from celeriac.errors import JobStopped, LeaseLost, NotFound, WorkerTimeout
from celeriac.inline import Inline
from celeriac.model import Counters, Entity, EntityFailure, Selection, Splitting
from celeriac.retention import DAY, remove_expired
from celeriac.schedules import Schedules
from workers import searching

KEPT_JOBS = 5
KEY = "the key of these tests"
HEADERS = {"x-api-key": KEY}


@pytest.fixture(autouse=True)
def _few_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celeriac.catalog.retention.KEPT_JOBS", KEPT_JOBS)


@pytest.fixture
def world(database_url: str, tmp_path: Path, redis_url: str) -> Iterator[World]:
    with local_world(
        tmp_path, redis_url=redis_url, database_url=database_url, api_key=KEY
    ) as world:
        world.source.entities = [article(number, words=5) for number in range(12)]
        yield world


def rows(world: World) -> Counter[str]:
    """How many each table has."""
    with world.runtime.catalog.database.read() as connection:
        return Counter(
            {
                table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
                for table in metadata.sorted_tables
            }
        )


def age(world: World, days: float) -> None:
    """Have what ended have ended so many days earlier, in the order in which it did."""
    where = jobs.c.state.in_(FINAL)
    columns = ("created_at", "started_at", "finished_at")
    earlier = {jobs.c[name]: jobs.c[name] - days * DAY for name in columns}
    with world.runtime.catalog.database.write() as connection:
        connection.execute(update(jobs).where(where).values(earlier))


def ended(world: World, state: JobState = JobState.CANCELLED) -> Job:
    """A job that did nothing."""
    job = world.request()
    world.messages.waiting.clear()
    if state == JobState.CANCELLED:
        world.jobs.cancel(job.id)
    else:
        world.runtime.catalog.jobs.fail(job.id, "Given up.")
    return world.job(job.id)


def tidy(world: World) -> None:
    """What beat has done, again and again."""
    for _ in range(4):
        world.jobs.recover()
    remove_expired(world.runtime)


def there(world: World, *some: Job) -> list[bool]:
    return [world.runtime.catalog.jobs.get(job.id) is not None for job in some]


def test_a_catalog_in_which_jobs_run_on_and_on_does_not_grow(world: World) -> None:
    world.source.entities[3] = Entity("a3", {})  # fails each time
    counted: list[Counter[str]] = []
    for number in range(5 * KEPT_JOBS):
        world.source.entities[0] = article(0, words=5 + number)
        world.reindex()
        age(world, 30)
        tidy(world)
        counted.append(rows(world))
    settled = counted[KEPT_JOBS + 4 :]
    assert all(one == settled[0] for one in settled)
    assert settled[0]["jobs"] == settled[0]["job_errors"] == KEPT_JOBS
    assert settled[0]["pages"] == settled[0]["listings"] == settled[0]["expired_jobs"] == 0
    world.assert_index_equals([one for one in world.source.entities if one.fields])


def test_nothing_goes_before_its_time_nor_where_it_is_to_be_kept_for_ever(world: World) -> None:
    for _ in range(KEPT_JOBS + 5):
        ended(world)
    age(world, 89)
    tidy(world)
    assert rows(world)["jobs"] == KEPT_JOBS + 5
    age(world, 2)
    world.runtime.settings = replace(world.runtime.settings, job_retention_days=0)
    tidy(world)
    assert rows(world)["jobs"] == KEPT_JOBS + 5
    world.refresh()
    tidy(world)
    assert rows(world)["jobs"] == KEPT_JOBS


def test_the_last_of_each_kind_stays_and_whatever_is_referred_to(world: World) -> None:
    catalog = world.runtime.catalog
    world.source.entities[3] = Entity("a3", {})
    older = world.reindex()
    succeeded = world.reindex()
    retry = world.retry(succeeded)
    scheduled, failed_before = ended(world), ended(world, JobState.FAILED)
    failed = ended(world, JobState.FAILED)
    planned = Schedules(world.runtime, world.messages).add(
        "acme", "article", Schedule("0 3 * * *", "UTC")
    )
    with catalog.database.write() as connection:
        mine = schedules.c.id == planned.id
        connection.execute(update(schedules).where(mine).values(last_job_id=scheduled.id))
        connection.execute(update(indexes).values(last_job_id=older.id))
    unneeded = [ended(world) for _ in range(KEPT_JOBS + 2)]
    age(world, 91)
    tidy(world)
    assert there(world, older, succeeded, retry, scheduled, failed) == [True] * 5
    assert there(world, failed_before, *unneeded[:3]) == [False, False, False, True]
    assert catalog.retries.count([Selection(succeeded.id)]) == 1
    world.source.entities[3] = article(3)
    assert world.retry(succeeded).state == JobState.SUCCEEDED


def test_what_a_waiting_retry_takes_stays_until_it_has_ended(world: World) -> None:
    world.source.entities[3] = Entity("a3", {})
    job = world.reindex()
    world.reindex()
    for _ in range(KEPT_JOBS):
        ended(world)
    retry = world.request_retry(job)
    age(world, 91)
    tidy(world)
    assert there(world, job) == [True]
    world.source.entities[3] = article(3)
    world.run()
    assert world.job(retry.id).message.startswith("Retried 1 of what failed")
    tidy(world)
    assert there(world, job) == [False]
    with pytest.raises(NotFound, match="There is no job"):
        world.request_retry(job)


def test_a_retry_of_a_job_that_was_removed_in_between_says_so(world: World) -> None:
    world.source.entities[3] = Entity("a3", {})
    job = world.reindex()
    tidy(world)
    world.messages.waiting.clear()
    retry = world.request_retry(job)
    with world.runtime.catalog.database.write() as connection:
        # As by one who looked before the retry was there and is done before it starts.
        connection.execute(update(indexes).values(last_job_id=None))
        connection.execute(jobs.delete().where(jobs.c.id == job.id))
    world.run()
    found = world.job(retry.id)
    assert (found.state, found.error_class) == (JobState.FAILED, "NotFound")
    assert job.id in found.message


def test_removals_at_once_take_each_job_once(world: World) -> None:
    catalog = world.runtime.catalog
    for _ in range(KEPT_JOBS + 60):
        ended(world)
    age(world, 91)
    for _ in range(10):
        catalog.retention.clear_ended()
    failures = [EntityFailure(f"a{one}", "NotText", "It is no text.", False) for one in range(40)]
    with catalog.database.write() as connection:
        connection.execute(
            job_errors.insert(),
            [
                {"job_id": job_id, "page": 0, **_row(failure)}
                for job_id in list(connection.execute(select(jobs.c.id)).scalars())
                for failure in failures
            ],
        )

    def remove(_: int) -> list[str]:
        found = [one for _ in range(4) for one in catalog.retention.expire(DAY)]
        while catalog.retention.sweep():
            pass
        return found

    with ThreadPoolExecutor(4) as pool:
        removed = [one for some in pool.map(remove, range(4)) for one in some]
    while catalog.retention.sweep():
        pass
    assert len(removed) == len(set(removed)) == 60
    left = rows(world)
    assert (left["jobs"], left["expired_jobs"]) == (KEPT_JOBS, 0)
    assert left["job_errors"] == KEPT_JOBS * len(failures)


def _row(failure: EntityFailure) -> dict[str, object]:
    return {
        "entity_id": failure.entity_id,
        "error_class": failure.error_class,
        "message": failure.message,
        "retryable": failure.retryable,
    }


def test_errors_of_a_removed_job_go_in_steps_and_nobody_sees_them_meanwhile(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celeriac.catalog.retention.ERRORS_A_STEP", 2)
    catalog = world.runtime.catalog
    world.source.entities = [*world.source.entities, *(Entity(f"e{one}", {}) for one in range(5))]
    job = world.reindex()
    world.reindex()
    for _ in range(KEPT_JOBS):
        ended(world)
    age(world, 91)
    for _ in range(5):
        catalog.retention.clear_ended()
    assert catalog.retention.expire(DAY) == [job.id]
    assert catalog.job_errors.last(job.index_id, "e0") is not None  # of the second one
    mine = select(func.count()).select_from(job_errors).where(job_errors.c.job_id == job.id)
    left = []
    while catalog.retention.sweep():
        with catalog.database.read() as connection:
            left.append(connection.execute(mine).scalar_one())
    assert left == [3, 1, 0]
    with catalog.database.read() as connection:
        assert connection.execute(select(expired_jobs)).all() == []


def test_pages_of_an_ended_job_stay_while_a_worker_may_write(world: World) -> None:
    catalog = world.runtime.catalog
    job = world.request()
    world.deliver(world.messages.waiting.pop(0))
    claim = catalog.pages.claim(job.id, 0, 60.0)
    assert claim is not None
    world.jobs.cancel(job.id)
    catalog.retention.clear_ended()
    assert rows(world)["pages"] == 1
    expire_lease(world, claim)
    catalog.retention.clear_ended()
    assert rows(world)["pages"] == 0
    with pytest.raises(LeaseLost):
        catalog.pages.list_entities(claim, {uuid.uuid4(): None}, "1")
    with pytest.raises(JobStopped):
        catalog.pages.commit(claim, Counters(), [], [], is_last=True)
    found = rows(world)
    assert (found["pages"], found["listings"]) == (0, 0)


def expire_lease(world: World, claim: Claim) -> None:
    mine = pages.c.job_id == claim.job_id
    with world.runtime.catalog.database.write() as connection:
        connection.execute(update(pages).where(mine).values(lease_until=0.0))


def test_a_removed_job_is_unknown_to_the_api(world: World) -> None:
    job = ended(world)
    for _ in range(KEPT_JOBS):
        ended(world)
    age(world, 91)
    client = create_app(world.runtime).test_client()
    assert client.get(f"/jobs/{job.id}", headers=HEADERS).status_code == 200
    tidy(world)
    unknown = f"/jobs/{uuid.uuid4()}"
    assert world.runtime.progress.picture(job.id) is None
    for path in ("", "/events"):
        gone = client.get(f"/jobs/{job.id}{path}", headers=HEADERS)
        assert gone.status_code == client.get(unknown + path, headers=HEADERS).status_code == 404
    for path in ("/retry", "/cancel", "/confirm-removal", "/pause"):
        assert client.post(f"/jobs/{job.id}{path}", headers=HEADERS).status_code == 404
    path = f"/indexing/acme/reindex-jobs/{job.id}"
    assert client.get(path, headers=HEADERS).status_code == 404


def test_generations_go_with_their_jobs_and_no_number_comes_twice(world: World) -> None:
    for size in range(100, 105):
        world.declare(splitting=Splitting(chunk_size=size))
        world.reindex()
        tidy(world)
    assert rows(world)["generations"] == 5
    for _ in range(KEPT_JOBS):
        ended(world)
    age(world, 91)
    tidy(world)
    with world.runtime.catalog.database.read() as connection:
        query = select(generations.c.number, generations.c.state)
        found = {row.number: row.state for row in connection.execute(query)}
    # The live one, and the one before as the way back.
    assert found == {4: "retired", 5: "live"}
    world.declare()
    world.reindex()
    assert world.partition().generation == 6
    world.assert_index_equals(world.source.entities)


def test_nothing_is_left_of_a_knowledge_base_that_was_deleted_long_ago(world: World) -> None:
    catalog = world.runtime.catalog
    before = rows(world)
    manual = {"policy_type": "MANUAL"}
    base = catalog.knowledge_bases.create("acme", "b", "", DataOriginType.LOCAL_FILES, manual)
    index = catalog.knowledge_bases.create_index(base, "i", "", "stub", Splitting())
    catalog.indexes.generation_for(index.id, world.entity_type.spec)
    job = catalog.requests.queue(index.id, "acme", index.key).job
    catalog.knowledge_bases.delete(base.id)
    for table in (knowledge_bases, knowledge_indexes):
        with catalog.database.write() as connection:
            earlier = table.c.deleted_at - 91 * DAY
            connection.execute(update(table).values(deleted_at=earlier))
    tidy(world)
    assert rows(world)["indexes"] == rows(world)["knowledge_bases"] == 1  # a job waits
    world.jobs.cancel(job.id)
    tidy(world)
    assert rows(world) == before


def test_jobs_without_any_worker_leave_no_more_behind(world: World) -> None:
    for _ in range(KEPT_JOBS + 3):
        Inline(world.runtime).reindex(TENANT, NAME)
        age(world, 91)
    found = rows(world)
    assert (found["pages"], found["listings"]) == (0, 0)
    assert found["jobs"] == KEPT_JOBS


def test_a_question_that_no_worker_answers_is_taken_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.searching.PROBE_WAIT", 1.0)
    with pytest.raises(WorkerTimeout):
        searching.probe(world.runtime.redis, "stub")
    assert world.runtime.redis.llen(searching.QUESTIONS) == 0


def test_no_listing_is_left_of_a_job_that_has_ended(world: World) -> None:
    job = world.reindex()
    with world.runtime.catalog.database.read() as connection:
        mine = select(func.count()).select_from(listings).where(listings.c.job_id == job.id)
        assert connection.execute(mine).scalar_one() == 12
    tidy(world)
    assert rows(world)["listings"] == rows(world)["pages"] == 0
    assert world.reindex().counters.unchanged == 12
