"""Retries of what failed in a job, message by message: they take these entities and no others."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import sqlalchemy as sa
from harness import ListSource, LookupListSource, World, article
from rest_server import Request, Response, rest_server

from celeriac.catalog.jobs import Job, JobMode, JobState
from celeriac.errors import Conflict, NotFound, SourceUnavailable, StoreUnavailable
from celeriac.model import Entity, EntityFailure, Partition, Selection, Splitting
from celeriac.sources.registry import build_source
from celeriac.store.base import Point

BAD = {"title": "\0"}
"""The fields of an entity that is not text."""


class Killed(BaseException):
    """The worker is gone."""


@pytest.fixture(params=[ListSource, LookupListSource])
def kind(request: pytest.FixtureRequest) -> type[ListSource]:
    """Sources that are listed, and such as can be looked up."""
    found: type[ListSource] = request.param
    return found


def articles(count: int, *, bad: Sequence[int] = (), words: int = 20) -> list[Entity]:
    """Articles of which those with the numbers in `bad` cannot be indexed."""
    return [
        Entity(f"a{number}", BAD) if number in bad else article(number, words=words)
        for number in range(count)
    ]


def failed_job(world: World, source: ListSource) -> Job:
    """A job that succeeded but for some entities."""
    world.source = source
    job = world.reindex()
    assert (job.state, job.counters.failed > 0) == (JobState.SUCCEEDED, True)
    return job


def assert_retried(job: Job, **counted: int) -> None:
    assert (job.state, job.mode) == (JobState.SUCCEEDED, JobMode.RETRY)
    counters = job.counters
    assert counters.listed == counters.unchanged + counters.indexed + counters.failed
    found = {name: getattr(counters, name) for name in counted}
    assert found == counted


def lapse(world: World) -> None:
    """Let every lease run out."""
    with world.runtime.catalog.database.write() as connection:
        connection.exec_driver_sql("UPDATE jobs SET lease_until = 0 WHERE lease_until IS NOT NULL")
        connection.exec_driver_sql("UPDATE pages SET lease_until = 0 WHERE lease_until IS NOT NULL")


# What a retry does


def test_a_retry_takes_what_failed_and_nothing_else(world: World, kind: type[ListSource]) -> None:
    job = failed_job(world, kind(articles(25, bad=(3, 14, 15))))
    world.source.entities = articles(25)
    world.source.entities[9] = article(9, words=99)  # did not fail, so it is not looked at
    retried = world.retry(job)

    assert_retried(retried, listed=3, indexed=3, failed=0, removed=0)
    assert retried.retries == (Selection(job.id),)
    assert retried.expected == 3
    assert retried.generation == job.generation
    world.assert_index_equals(articles(25))
    assert f"Retried 3 of what failed in {job.id}: 3 now equal the source." in retried.message
    assert "Nothing else was looked at" in retried.message

    world.assert_succeeded(world.reindex())
    world.assert_index_equals(world.source.entities)


def test_only_what_failed_is_asked_for_where_it_can_be_looked_up(world: World) -> None:
    job = failed_job(world, LookupListSource(articles(25, bad=(3, 7, 14, 15, 20))))
    source = LookupListSource(articles(25))
    world.source = source
    assert_retried(world.retry(job), listed=5, indexed=5)
    assert (sorted(source.looked_up), source.pages_read) == (["a14", "a15", "a20", "a3", "a7"], 0)


def test_what_fails_again_is_reported_and_can_be_retried_again(
    world: World, kind: type[ListSource]
) -> None:
    job = failed_job(world, kind(articles(25, bad=(3, 14, 15))))
    world.source.entities = articles(25, bad=(14,))
    retried = world.retry(job)
    assert_retried(retried, listed=3, indexed=2, failed=1)
    assert "2 now equal the source, 1 failed again" in retried.message
    (error,) = world.runtime.catalog.job_errors.first(retried.id)
    assert (error.entity_id, error.error_class) == ("a14", "NotText")

    world.source.entities = articles(25)
    again = world.retry(retried)
    assert_retried(again, listed=1, indexed=1)
    world.assert_index_equals(articles(25))


def test_a_retry_in_which_everything_fails_again_fails(
    world: World, kind: type[ListSource]
) -> None:
    job = failed_job(world, kind(articles(25, bad=(3, 14))))
    retried = world.retry(job)
    assert retried.state == JobState.FAILED
    assert "None of the 2 listed entities could be indexed" in retried.message
    world.assert_index_equals([one for one in articles(25) if one.id not in ("a3", "a14")])


def test_what_the_source_lost_leaves_the_index(world: World, kind: type[ListSource]) -> None:
    world.source = kind(articles(25, words=300))
    world.reindex()
    job = failed_job(world, kind(articles(25, bad=(3, 14, 15), words=300)))
    world.source.entities = articles(25, words=300)
    del world.source.entities[14], world.source.entities[8]
    retried = world.retry(job)
    assert_retried(retried, listed=2, unchanged=2, removed=1, embedded=0)
    assert "Retried 3" in retried.message
    assert "1 left the source" in retried.message
    world.assert_index_equals([one for one in articles(25, words=300) if one.id != "a14"])


def test_what_the_source_lost_and_the_index_never_had_is_done_with(
    world: World, kind: type[ListSource]
) -> None:
    job = failed_job(world, kind(articles(25, bad=(3, 14))))
    world.source.entities = [one for one in articles(25) if one.id != "a3"]
    assert_retried(world.retry(job), listed=1, indexed=1, removed=0)
    world.assert_index_equals(world.source.entities)


def test_an_entity_that_lost_its_text_leaves_the_index(
    world: World, kind: type[ListSource]
) -> None:
    world.source = kind(articles(10))
    world.reindex()
    job = failed_job(world, kind(articles(10, bad=(3, 4))))
    world.source.entities = articles(10)
    world.source.entities[3] = Entity("a3", {"title": " "})
    assert_retried(world.retry(job), listed=2, unchanged=1, failed=1)
    world.assert_index_equals([one for one in articles(10) if one.id != "a3"])


def test_a_removal_of_too_much_is_refused(world: World, kind: type[ListSource]) -> None:
    world.source = kind(articles(30))
    world.reindex()
    bad = range(10)
    job = failed_job(world, kind(articles(30, bad=bad)))
    world.source.entities = articles(30)[10:]
    retried = world.retry(job)
    assert retried.state == JobState.FAILED
    assert "no longer lists 10 of the 30 indexed entities" in retried.message
    world.assert_index_equals(articles(30))

    world.assert_succeeded(world.reindex(removal_limit=1.0))
    world.assert_index_equals(articles(30)[10:])


def test_lookups_that_find_nothing_of_what_is_listed_are_not_believed(world: World) -> None:
    world.source = ListSource(articles(30))
    world.reindex()
    job = failed_job(world, ListSource(articles(30, bad=(3,))))

    class Broken(LookupListSource):
        def lookup(self, entity_ids: Sequence[str]) -> Any:
            held, self.entities = self.entities, []
            try:
                return super().lookup(entity_ids)
            finally:
                self.entities = held

    world.source = Broken(articles(30))
    retried = world.retry(job)
    assert retried.state == JobState.FAILED
    assert "The source lists 'a0' and does not find it by its id" in retried.message
    world.assert_index_equals(articles(30))


def test_an_unstable_listing_is_read_twice_before_anything_is_held_to_be_gone(
    world: World,
) -> None:
    world.source = ListSource(articles(30))
    world.reindex()
    job = failed_job(world, ListSource(articles(30, bad=(10, 20)), stable_listing=False))
    world.source = ListSource(articles(30), stable_listing=False)

    def shrink(number: int) -> None:
        # a10 slides up to the page that was read already.
        if number == 1 and len(world.source.entities) == 30:
            del world.source.entities[0]

    world.source.before_page = shrink
    assert_retried(world.retry(job), listed=2, unchanged=2, removed=0)
    assert world.source.pages_read == 6

    del world.source.entities[9]
    assert world.source.entities[9].id == "a11"
    assert_retried(world.retry(job), listed=1, unchanged=1, removed=1)
    world.assert_index_equals([one for one in articles(30) if one.id != "a10"])


# What a retry takes


def with_many_failures(kind: type[ListSource]) -> ListSource:
    entities = articles(25, bad=(3, 14))
    entities[5] = Entity("a5", {"title": " "})
    entities[6] = article(6, code=["no text"])
    entities[20] = article(2, words=7)  # a2 for the second time
    failures = {
        0: EntityFailure(None, "MissingId", "page 0, position 3: no id"),
        1: EntityFailure("slow", "UnreadableDocument", "cut off", retryable=True),
    }
    return kind(entities, failures=failures)


def test_errors_of_one_class_alone_can_be_retried(world: World, kind: type[ListSource]) -> None:
    job = failed_job(world, with_many_failures(kind))
    world.source = kind(articles(25))
    retried = world.retry(job, error_class="NotText")
    assert_retried(retried, listed=2, indexed=2)
    assert retried.retries == (Selection(job.id, "NotText"),)
    left = {one.entity_id for one in world.indexed()}
    assert {"a3", "a14"} <= left
    assert not {"a5", "a6", "a20"} & left


def test_the_retryable_alone_can_be_retried(world: World, kind: type[ListSource]) -> None:
    job = failed_job(world, with_many_failures(kind))
    world.source = kind([*articles(25), Entity("slow", {"title": "Slow"})])
    assert_retried(world.retry(job, retryable_only=True), listed=1, indexed=1)
    assert "slow" in {one.entity_id for one in world.indexed()}


def test_errors_that_name_no_entity_are_said_to_be_left(
    world: World, kind: type[ListSource]
) -> None:
    job = failed_job(world, with_many_failures(kind))
    world.source = kind([*articles(20), Entity("slow", {"title": "Slow"})])
    retried = world.retry(job)
    assert_retried(retried, listed=5, indexed=5)  # neither the one without an id nor a2
    assert "1 more cannot be retried alone, for want of an entity's id" in retried.message


def test_what_cannot_be_retried_is_refused_with_the_reason(world: World) -> None:
    job = failed_job(world, with_many_failures(ListSource))

    def refusal(of: Job, **options: Any) -> str:
        with pytest.raises(Conflict) as caught:
            world.request_retry(of, **options)
        return str(caught.value)

    by_class = "EmptyText: 1, EntityError: 1, NotText: 2, UnreadableDocument: 1"
    unknown = refusal(job, error_class="DuplicateId")
    assert f"No entity failed with DuplicateId in job {job.id}; by class: {by_class}." == unknown
    assert by_class in refusal(job, error_class="NotText", retryable_only=True)

    world.source = ListSource(articles(25))
    sound = world.reindex()
    assert f"No entity failed in job {sound.id}" in refusal(sound)

    unnamed = EntityFailure(None, "MissingId", "no id")
    world.source = ListSource(articles(25), failures={0: unnamed})
    assert "not recorded under an entity's id" in refusal(world.reindex())

    waiting = world.request()
    assert "is queued; retry what failed once it has ended" in refusal(waiting)
    world.deliver(world.messages.waiting.pop(0))
    assert "is running" in refusal(waiting)

    with pytest.raises(NotFound):
        world.request_retry(replace(job, id="nothing"))


def test_without_a_generation_to_write_to_it_is_refused(world: World) -> None:
    world.source = ListSource(articles(3, bad=range(3)))
    job = world.reindex()
    assert job.state == JobState.FAILED
    with pytest.raises(Conflict, match="Nothing is indexed yet for acme/article; reindex it"):
        world.request_retry(job)

    job = failed_job(world, ListSource(articles(10, bad=(3,))))
    world.declare(splitting=Splitting(chunk_size=150))
    with pytest.raises(Conflict, match="declared otherwise than its index was built"):
        world.request_retry(job)

    world.declare()
    retried = world.request_retry(job)
    world.declare(splitting=Splitting(chunk_size=150))
    world.run()
    assert world.job(retried.id).state == JobState.FAILED
    assert "declared otherwise" in world.job(retried.id).message


def test_what_failed_in_a_job_that_failed_can_be_retried(world: World) -> None:
    world.source = ListSource(articles(30))
    world.reindex()
    world.source = ListSource(articles(30, bad=(3,))[:10])
    job = world.reindex()
    assert job.state == JobState.FAILED  # it would remove too much
    world.source = ListSource([article(3, words=50)])
    assert_retried(world.retry(job), listed=1, indexed=1)
    assert "word3x49" in " ".join(one.text for one in world.indexed() if one.entity_id == "a3")


# One runs, one waits


def test_a_retry_joins_a_reindex_that_waits(world: World) -> None:
    job = failed_job(world, ListSource(articles(10, bad=(3,))))
    world.source.entities = articles(10)
    waiting = world.request()
    joined = world.request_retry(job)
    assert (joined.id, joined.mode, joined.retries) == (waiting.id, JobMode.REINDEX, ())
    world.run()
    world.assert_succeeded(world.job(waiting.id))
    world.assert_index_equals(articles(10))


def test_a_reindex_turns_a_retry_that_waits_into_itself(world: World) -> None:
    world.source = ListSource(articles(10))
    world.reindex()
    job = failed_job(world, ListSource(articles(10, bad=(3,))))
    world.source.entities = [article(99)]
    waiting = world.request_retry(job)
    joined = world.request(removal_limit=1.0)
    assert (joined.id, joined.mode, joined.retries) == (waiting.id, JobMode.REINDEX, ())
    world.run()
    world.assert_succeeded(world.job(waiting.id))
    world.assert_index_equals([article(99)])


def test_retries_that_wait_become_one_that_takes_what_either_would(
    world: World, kind: type[ListSource]
) -> None:
    first = failed_job(world, with_many_failures(kind))
    second = failed_job(world, kind(articles(25, bad=(3, 7, 8))))
    world.source = kind(articles(25))
    requests = [
        world.request_retry(first, error_class="NotText"),  # a3, a14
        world.request_retry(second),  # a3, a7, a8
        world.request_retry(first, error_class="EmptyText"),  # a5
        world.request_retry(second),
    ]
    assert len({one.id for one in requests}) == 1
    world.run()
    retried = world.job(requests[0].id)
    assert retried.retries == (
        Selection(first.id, "NotText"),
        Selection(second.id),
        Selection(first.id, "EmptyText"),
    )
    assert_retried(retried, listed=5, failed=0)
    assert retried.expected == 5
    assert world.runtime.catalog.job_errors.first(retried.id) == []
    assert f"Retried 5 of what failed in {first.id}, {second.id}: " in retried.message


def test_a_retry_waits_for_the_job_that_runs(world: World) -> None:
    job = failed_job(world, ListSource(articles(30, bad=(3,))))
    world.source.entities = articles(30)
    running = world.request()
    world.deliver(world.messages.waiting.pop(0))
    waiting = world.request_retry(job)
    assert waiting.id != running.id
    world.deliver(("start", waiting.id, 0))
    assert world.job(waiting.id).state == JobState.QUEUED
    world.run()
    world.assert_succeeded(world.job(running.id))
    assert_retried(world.job(waiting.id), listed=1, unchanged=1)


# What must hold whatever happens


@pytest.mark.parametrize("seed", range(3))
def test_messages_in_any_order_and_twice_change_nothing(
    world: World, kind: type[ListSource], seed: int
) -> None:
    bad = range(0, 40, 3)
    job = failed_job(world, kind(articles(40, bad=bad), page_size=5))
    world.source.entities = articles(40)
    retried = world.request_retry(job)
    world.run(twice=True, shuffle=random.Random(seed))
    assert_retried(world.job(retried.id), listed=len(bad), indexed=len(bad))
    world.assert_index_equals(articles(40))


def test_lost_messages_are_sent_again(
    world: World, kind: type[ListSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = failed_job(world, kind(articles(30, bad=range(0, 30, 3))))
    world.source.entities = articles(30)
    monkeypatch.setattr("celeriac.jobs.SILENCE", -1.0)
    retried = world.request_retry(job)
    for _ in range(20):
        world.messages.waiting.clear()  # an emptied Redis
        world.jobs.recover()
        if world.messages.waiting:
            world.deliver(world.messages.waiting.pop(0))
    assert_retried(world.job(retried.id), listed=10, indexed=10)
    world.assert_index_equals(articles(30))


def test_a_source_that_is_away_for_a_while_delays_the_retry(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celeriac.paging._delay", lambda _: 0.0)
    job = failed_job(world, ListSource(articles(30, bad=range(0, 30, 3))))
    failing = iter([True, False, True, False])

    def flaky(_: Sequence[str]) -> None:
        if next(failing, False):
            raise SourceUnavailable("HTTP 502")

    world.source = LookupListSource(articles(30), before_lookup=flaky)
    assert_retried(world.retry(job), listed=10, indexed=10)
    world.assert_index_equals(articles(30))


def test_a_cancelled_retry_writes_no_more_and_the_next_one_starts(
    world: World, kind: type[ListSource]
) -> None:
    job = failed_job(world, kind(articles(30, bad=range(0, 30, 3)), page_size=4))
    world.source.entities = articles(30)
    retried = world.request_retry(job)
    for _ in range(3):  # the start, and two pages
        world.deliver(world.messages.waiting.pop(0))
    world.jobs.cancel(retried.id)
    before = world.indexed()
    world.run()
    assert world.job(retried.id).state == JobState.CANCELLED
    assert world.indexed() == before
    assert_retried(world.retry(job), listed=10, failed=0)
    world.assert_index_equals(articles(30))


def test_a_worker_killed_before_and_after_each_write_loses_nothing(
    world: World, kind: type[ListSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    world.source = kind(articles(20, words=300))
    world.reindex()
    job = failed_job(world, kind(articles(20, bad=(3, 4, 5, 6, 7, 8), words=300)))
    after = articles(20, words=120)
    del after[8]
    world.source.entities = after
    monkeypatch.setattr("celeriac.paging.LEASE", -1.0)
    monkeypatch.setattr("celeriac.finish.LEASE", -1.0)
    monkeypatch.setattr("celeriac.paging.MOST_CLAIMS", 1_000)
    monkeypatch.setattr("celeriac.jobs.SILENCE", -1.0)
    kills = dying_writes(world, monkeypatch)
    retried = world.request_retry(job)
    for _ in range(500):
        if world.job(retried.id).state != JobState.RUNNING and not world.messages.waiting:
            break
        if not world.messages.waiting:
            world.jobs.recover()
        try:
            world.deliver(world.messages.waiting.pop(0))
        except Killed:
            lapse(world)
    assert_retried(world.job(retried.id), listed=5, failed=0)
    assert len(kills) > 6
    taken = {f"a{number}" for number in range(3, 9)}
    rest = [one for one in articles(20, words=300) if one.id not in taken]
    world.assert_index_equals([*rest, *(one for one in after if one.id in taken)])


def dying_writes(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have each write of the store kill its worker once before and once after it happens; the
    list tells which did."""
    kills: list[str] = []

    def dying(name: str) -> Callable[..., Any]:
        method = getattr(world.store, name)
        left = [f"before {name}", f"after {name}"]

        def call(*arguments: Any) -> Any:
            if len(left) == 2:
                kills.append(left.pop(0))
                raise Killed
            answer = method(*arguments)
            if left:
                kills.append(left.pop())
                raise Killed
            return answer

        return call

    for name in ("upsert", "void", "delete_chunks", "markers"):
        monkeypatch.setattr(world.store, name, dying(name))
    return kills


def test_what_a_crash_left_of_a_first_writing_is_removed(
    world: World, kind: type[ListSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = failed_job(world, kind(articles(10, bad=(3, 4))))
    world.source.entities = articles(10)
    world.source.entities[3] = article(3, words=3_000)
    world.source.entities[4] = article(4, words=3_000)
    retried = world.request_retry(job)
    world.deliver(world.messages.waiting.pop(0))
    upsert = world.store.upsert

    def upsert_and_die(partition: Partition, points: Sequence[Point]) -> None:
        if any(point.chunk == 0 for point in points):
            raise Killed
        upsert(partition, points)

    monkeypatch.setattr(world.store, "upsert", upsert_and_die)
    with pytest.raises(Killed):
        world.run()
    monkeypatch.setattr(world.store, "upsert", upsert)
    lapse(world)
    world.source.entities = articles(10)
    del world.source.entities[4]
    world.deliver(("page", retried.id, 0))
    world.run()
    assert_retried(world.job(retried.id), listed=1, indexed=1)
    world.assert_index_equals(world.source.entities)


def test_a_chunk_that_went_missing_meanwhile_is_put_back(
    world: World, kind: type[ListSource]
) -> None:
    job = failed_job(world, kind(articles(10, bad=(3, 4), words=300)))
    world.source.entities = articles(10, words=300)
    retried = world.request_retry(job)
    while world.messages.waiting[0][0] != "finish":
        world.deliver(world.messages.waiting.pop(0))
    world.store.delete_chunks(world.partition(), [("a3", 1)])
    world.run()
    assert_retried(world.job(retried.id), listed=2, failed=0)
    world.assert_index_equals(world.source.entities)


def test_a_store_that_is_away_at_the_end_delays_the_retry(
    world: World, kind: type[ListSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = failed_job(world, kind(articles(10, bad=(3, 4))))
    world.source.entities = articles(10)
    retried = world.request_retry(job)
    while world.messages.waiting[0][0] != "finish":
        world.deliver(world.messages.waiting.pop(0))
    chunks, away = world.store.chunks, [True, True]

    def flaky(*arguments: Any, **options: Any) -> Any:
        if away and away.pop():
            raise StoreUnavailable
        return chunks(*arguments, **options)

    monkeypatch.setattr(world.store, "chunks", flaky)
    world.run()
    assert_retried(world.job(retried.id), listed=2, indexed=2)


def test_a_retry_does_not_outlive_a_switch_of_generations(world: World) -> None:
    job = failed_job(world, ListSource(articles(10, bad=(3, 4))))
    world.source.entities = articles(10)
    retried = world.request_retry(job)
    while world.messages.waiting[0][0] != "finish":
        world.deliver(world.messages.waiting.pop(0))
    with world.runtime.catalog.database.write() as connection:
        connection.exec_driver_sql("UPDATE indexes SET live_generation = 7")
    world.run()
    assert world.job(retried.id).state == JobState.FAILED
    assert "switched to another generation" in world.job(retried.id).message


@pytest.mark.parametrize("store", ["local"], indirect=True)
def test_twenty_thousand_failures_are_retried_by_the_page(world: World) -> None:
    world.source = LookupListSource(articles(60), lookup_size=1_000)
    job = world.reindex()
    errors = [
        {"j": job.id, "p": number // 1_000, "e": f"e{number}" if number > 50 else f"a{number}"}
        for number in range(20_000)
    ]
    with world.runtime.catalog.database.write() as connection:
        connection.execute(
            sa.text("INSERT INTO job_errors VALUES (NULL, :j, :p, :e, 'NotText', '', 0)"), errors
        )
    largest, waiting = watch_statements(world), []
    retried = world.request_retry(job)
    while world.messages.waiting:
        waiting.append(len(world.messages.waiting))
        world.deliver(world.messages.waiting.pop(0))

    found = world.job(retried.id)
    assert_retried(found, listed=51, unchanged=51)
    assert "Retried 20000 of what failed" in found.message
    assert max(waiting) <= 2
    assert max(largest) < 15_000  # parameters and characters of a statement
    with world.runtime.catalog.database.read() as connection:
        rows = connection.exec_driver_sql(
            f"SELECT count(*), max(length(cursor)) FROM pages WHERE job_id = '{retried.id}'"
        ).one()
    assert (rows[0], rows[1] < 100) == (21, True)


def watch_statements(world: World) -> list[int]:
    """The sizes of what the catalog's database is asked from now on."""
    sizes = [0]

    def note(
        _c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool
    ) -> None:
        sizes.append(len(statement) + (0 if many else len(parameters)))

    sa.event.listen(world.runtime.catalog.database.engine, "before_cursor_execute", note)
    return sizes


# Real sources


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "shop.db", isolation_level=None)
    connection.execute("CREATE TABLE products (id INTEGER PRIMARY KEY, title TEXT, body TEXT)")
    yield connection
    connection.close()


def test_rows_that_failed_are_retried(
    world: World, shop: sqlite3.Connection, tmp_path: Path
) -> None:
    def fill(*, bad: Sequence[int]) -> None:
        shop.execute("DELETE FROM products")
        shop.executemany(
            "INSERT INTO products VALUES (?, ?, ?)",
            [(n, "\0" if n in bad else f"Title {n}", f"Body {n}") for n in range(40)],
        )

    fill(bad=range(0, 40, 2))
    options = {"kind": "sql", "url": f"sqlite:///{tmp_path / 'shop.db'}", "table": "products"}
    world.source = build_source(options)  # type: ignore[assignment]
    job = world.reindex()
    fill(bad=(2,))
    shop.execute("DELETE FROM products WHERE id = 4")
    assert_retried(world.retry(job), listed=19, indexed=18, failed=1, removed=0)
    kept = [n for n in range(40) if n not in (2, 4)]
    entities = [Entity(str(n), {"title": f"Title {n}", "body": f"Body {n}"}) for n in kept]
    world.assert_index_equals(entities)


def test_items_that_failed_are_retried(world: World) -> None:
    items = {f"p/{n}": {"id": f"p/{n}", "title": f"Title {n}", "body": "b"} for n in range(30)}
    broken = {"p/1", "p/2", "p/3"}

    def served(identity: str) -> dict[str, str]:
        return {"id": identity, "title": "\0"} if identity in broken else items[identity]

    def respond(request: Request) -> Response:
        if request.path == "/products":
            return Response([served(one) for one in items])
        identity = unquote(request.path.removeprefix("/products/"))
        return Response(served(identity)) if identity in items else Response(status=404)

    with rest_server(respond) as server:
        world.source = build_source(  # type: ignore[assignment]
            {
                "kind": "rest",
                "url": f"{server.url}/products",
                "item_url": f"{server.url}/products/{{id}}",
                "pagination": {"kind": "none"},
            }
        )
        job = world.reindex()
        broken.clear()
        del items["p/2"]
        listings = len(server.to("/products"))
        assert_retried(world.retry(job), listed=2, indexed=2)
        # Once more listed, to see that lookups find what is there.
        assert len(server.to("/products")) == listings + 1
        world.assert_index_equals([Entity(one, fields) for one, fields in items.items()])
        world.source.close()
