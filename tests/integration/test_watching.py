"""How a job stands for those who watch it: in one read of Redis while it moves, by the catalog when
it does not, and why it does not."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from harness import TENANT, World, article, local_world
from redis import Redis
from sqlalchemy import event

from api import create_app
from api.jobs import ALMOST, watched_resource
from celeriac.catalog.jobs import Job, JobState, Seen
from celeriac.errors import ModelUnavailable, SourceUnavailable, StoreUnavailable
from celeriac.indexer import Indexer
from celeriac.logs import JsonFormatter
from celeriac.model import Counters, Entity
from celeriac.picture import Cause, Waiting
from celeriac.progress import stream
from celeriac.stages import Stage
from celeriac.steering import Steering
from celeriac.throughput import throughput_of
from celeriac.watching import Watch, Watched

ENTITIES = [article(number, words=300) for number in range(30)]


@pytest.fixture
def world(tmp_path: Path, redis_url: str) -> Iterator[World]:
    with local_world(tmp_path, redis_url=redis_url) as world:
        world.source.entities = list(ENTITIES)
        world.runtime.workers.sign("a worker")
        yield world


def watched(world: World, job: Job) -> Watched:
    found = Watch(world.runtime).job(job.id)
    assert found is not None
    return found


def waiting(world: World, job: Job) -> Waiting:
    found = watched(world, job).waiting
    assert found is not None
    return found


def take_up(world: World) -> Job:
    """A job that is planned; its first page waits."""
    job = world.request()
    world.deliver(world.messages.waiting.pop(0))
    return job


def fall_silent(world: World, job: Job) -> None:
    """Have it seem long ago that a worker, or the catalog, said something of the job."""
    key = f"celeriac:job:{job.id}"
    for name in ("updated", "waiting_at"):
        if world.runtime.redis.hexists(key, name):
            world.runtime.redis.hset(key, name, "1000.0")


@contextmanager
def statements(world: World) -> Iterator[list[str]]:
    """What SQL is asked meanwhile."""
    asked: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    engine = world.runtime.catalog.database.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(engine, "before_cursor_execute", note)


def at_checkpoint(world: World, look: Callable[[], None]) -> None:
    """Have it looked at once, in the middle of a page: after its first batch."""
    upsert = world.store.upsert
    looked: list[bool] = []

    def watched_upsert(*arguments: object) -> None:
        upsert(*arguments)  # type: ignore[arg-type]
        if not looked:
            looked.append(True)
            look()

    world.store.upsert = watched_upsert  # type: ignore[method-assign, assignment]


def at_first(function: Callable[..., Any], look: Callable[[], None]) -> Callable[..., Any]:
    """The function, before whose first call it is looked at once."""
    looked: list[bool] = []

    def watched_function(*arguments: object) -> object:
        if not looked:
            looked.append(True)
            look()
        return function(*arguments)

    return watched_function


# What Redis tells.


def test_a_poll_of_a_running_job_asks_no_sql(world: World) -> None:
    job = take_up(world)
    seen: list[Watched] = []

    def look() -> None:
        with statements(world) as asked:
            seen.append(watched(world, job))
        assert asked == []

    at_checkpoint(world, look)
    world.deliver(world.messages.waiting.pop(0))

    assert len(seen) == 1
    assert seen[0].tenant == TENANT
    assert seen[0].job == world.job(job.id) or seen[0].job.state == JobState.RUNNING
    assert seen[0].waiting is None
    with statements(world) as asked:
        after = watched(world, job)
    assert asked == []
    assert after.counters == world.job(job.id).counters
    assert after.counters.listed == 10
    assert replace(after.job, load_seconds=0.0) == world.job(job.id)


def test_a_poll_over_http_asks_no_sql_either(world: World) -> None:
    world._settings = replace(world._settings, api_key="key")
    world.refresh()
    job = take_up(world)
    world.deliver(world.messages.waiting.pop(0))
    client = create_app(world.runtime).test_client()
    with statements(world) as asked:
        answer = client.get(f"/jobs/{job.id}", headers={"x-api-key": "key"})
    assert (answer.status_code, asked) == (200, [])
    assert answer.json is not None
    assert answer.json["counters"]["listed"] == 10


def test_how_much_there_is_to_come_is_known_from_the_first_page_on(world: World) -> None:
    page_of = world.source.page
    world.source.page = lambda cursor: replace(page_of(cursor), total=30)  # type: ignore[method-assign]
    job = take_up(world)
    seen: list[Watched] = []
    at_checkpoint(world, lambda: seen.append(watched(world, job)))
    world.deliver(world.messages.waiting.pop(0))
    assert seen[0].job.expected == 30


def test_the_counters_are_those_of_committed_pages_and_of_those_in_hand(world: World) -> None:
    job = take_up(world)
    world.deliver(world.messages.waiting.pop(0))
    progress = world.runtime.progress
    progress.page(job.id, 1, Counters(listed=3, indexed=3, embedded=9), {})
    assert watched(world, job).counters.listed == 13
    progress.given_back(job.id, 1)
    assert watched(world, job).counters.listed == 10


def test_each_stage_says_how_much_it_did_and_how_long_it_took(world: World) -> None:
    job = world.reindex()
    stages = watched(world, job).stages
    assert stages[Stage.LIST].items == len(ENTITIES)
    for stage in (Stage.CHUNK, Stage.EMBED, Stage.WRITE):
        assert stages[stage].items == job.counters.chunks
    assert all(timing.seconds > 0 for timing in stages.values())


def test_what_a_page_lists_counts_before_any_of_it_is_done(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = take_up(world)
    seen: list[Watched] = []
    look = at_first(Indexer.index, lambda: seen.append(watched(world, job)))
    monkeypatch.setattr(Indexer, "index", look)
    world.deliver(world.messages.waiting.pop(0))
    assert seen[0].counters == Counters(listed=10)
    assert seen[0].stages[Stage.LIST].items == 10
    assert seen[0].job.expected is None


def test_once_the_whole_source_is_listed_the_percentage_is_of_that(world: World) -> None:
    job = take_up(world)
    for _ in range(2):
        world.deliver(world.messages.waiting.pop(0))
    seen: list[Watched] = []
    at_checkpoint(world, lambda: seen.append(watched(world, job)))
    world.deliver(world.messages.waiting.pop(0))
    assert (seen[0].job.expected, seen[0].counters.listed) == (30, 30)
    resource = watched_resource(seen[0])
    assert resource["progress_percentage"] == pytest.approx(66.7)
    assert watched_resource(watched(world, job))["progress_percentage"] == ALMOST


def test_it_says_that_the_model_is_loaded_and_that_takes_nothing_from_the_rates(
    world: World,
) -> None:
    job = take_up(world)
    seen: list[Watched] = []

    def look() -> None:
        with statements(world) as asked:
            seen.append(watched(world, job))
        assert asked == []
        fall_silent(world, job)
        seen.append(watched(world, job))

    world.runtime.usable = at_first(world.runtime.usable, look)  # type: ignore[method-assign]
    world.deliver(world.messages.waiting.pop(0))
    after = watched(world, job)
    for one in seen:
        assert one.waiting is not None
        assert one.waiting.cause == Cause.MODEL
        assert "stub is being loaded since 20" in one.waiting.text
        assert one.counters.listed == 10
    assert after.waiting is None
    assert after.stages[Stage.LOAD].items == 1
    assert seen[0].job.load_seconds > 0
    assert after.job.load_seconds > seen[0].job.load_seconds
    world.run()
    ended = world.job(job.id)
    took, worked = ended.seconds(0), ended.working_seconds(0)
    assert worked == pytest.approx(took - ended.load_seconds)
    throughput = throughput_of([ended], {1: 100})
    assert throughput is not None
    assert throughput.entities_per_second == pytest.approx(30 / worked)
    assert ended.load_seconds == watched(world, job).job.load_seconds > 0
    spared, running = (
        watched_resource(replace(watched(world, job), job=replace(ended, load_seconds=share)))
        for share in (ended.seconds(0) / 2, 0.0)
    )
    assert spared["rates"]["tokens_per_second"] > running["rates"]["tokens_per_second"]


def test_a_load_counts_only_where_nothing_is_embedded_meanwhile(world: World) -> None:
    job = take_up(world)
    progress = world.runtime.progress

    def load_seconds() -> float:
        return watched(world, job).job.load_seconds

    with progress.loading(job.id, 0, "stub"), progress.loading(job.id, 1, "stub"):
        begun = load_seconds()
        assert begun > 0
    both = load_seconds()
    assert both >= begun
    with progress.loading(job.id, 2, "stub"):
        progress.page(job.id, 0, Counters(embedded=3), {})
        assert load_seconds() == both
    assert load_seconds() == both
    with progress.loading(job.id, 2, "stub"):
        assert load_seconds() > both
    assert load_seconds() > both
    world.jobs.cancel(job.id)
    assert world.job(job.id).load_seconds == load_seconds()


def test_loads_at_once_count_once(world: World) -> None:
    job = take_up(world)
    progress = world.runtime.progress
    began = time.monotonic()
    with ExitStack() as stack:
        for page in range(5):
            stack.enter_context(progress.loading(job.id, page, "stub"))
    assert watched(world, job).job.load_seconds <= time.monotonic() - began


def test_errors_are_in_the_picture(world: World) -> None:
    world.source.entities[3] = Entity("a3", {})
    job = take_up(world)
    world.deliver(world.messages.waiting.pop(0))
    with statements(world) as asked:
        (error,) = watched(world, job).errors
    assert asked == []
    assert (error.entity_id, error.error_class) == ("a3", "EmptyText")


def test_of_two_views_the_later_one_stays(world: World) -> None:
    job = take_up(world)
    later = world.runtime.catalog.jobs.seen(job.id)
    assert later is not None
    counted = replace(later.job, counters=Counters(listed=20))
    earlier = replace(later.job, counters=Counters(listed=10))
    progress = world.runtime.progress
    progress.committed(Seen(counted, later.at + 2), 1, {})
    progress.committed(Seen(earlier, later.at + 1), 0, {})
    assert watched(world, job).counters.listed == 20


def test_an_emptied_redis_loses_nothing(world: World) -> None:
    job = take_up(world)
    world.deliver(world.messages.waiting.pop(0))
    world.runtime.redis.flushdb()
    world.runtime.workers.sign("a worker")
    assert watched(world, job).counters == world.job(job.id).counters
    world.run()
    done = watched(world, job)
    assert done.job.state == JobState.SUCCEEDED
    assert done.counters.listed == len(ENTITIES)


def test_of_a_job_that_has_ended_the_catalog_knows_best(world: World) -> None:
    job = world.reindex()
    world.runtime.redis.hset(f"celeriac:job:{job.id}", "job", "{}")
    world.runtime.redis.delete(f"celeriac:job:{job.id}")
    assert watched(world, job).job == world.job(job.id)


def test_what_comes_after_the_end_is_not_published(world: World) -> None:
    job = world.reindex()
    events = world.runtime.redis.xlen(stream(job.id))
    world.runtime.progress.page(job.id, 0, Counters(listed=1), {})
    assert world.runtime.redis.xlen(stream(job.id)) == events
    assert watched(world, job).counters.listed == len(ENTITIES)


def test_without_redis_the_catalog_answers(world: World) -> None:
    job = take_up(world)
    away = Redis(port=1, retry=None)
    world.runtime.progress._redis = away
    world.runtime.progress._script.registered_client = away
    assert watched(world, job).job.state == JobState.RUNNING


# Why a job does not move.


def test_nobody_looks_twice_within_a_moment(world: World) -> None:
    job = world.request()
    first = waiting(world, job)
    with statements(world) as asked:
        assert waiting(world, job) == first
    assert asked == []


def test_it_waits_for_a_thread(world: World) -> None:
    job = world.request()
    found = waiting(world, job)
    assert (found.cause, found.position) == (Cause.TURN, 1)
    assert found.text == "Waits for a worker with a free thread."


def test_no_worker_is_alive(world: World) -> None:
    job = world.request()
    world.runtime.workers.leave("a worker")
    assert waiting(world, job).cause == Cause.WORKER


def test_a_running_job_whose_workers_died_says_so_too(world: World) -> None:
    job = take_up(world)
    assert watched(world, job).waiting is None
    world.runtime.workers.leave("a worker")
    fall_silent(world, job)
    assert waiting(world, job).cause == Cause.WORKER


def test_it_waits_for_a_job_over_the_same_index(world: World) -> None:
    first = take_up(world)
    second = world.request()
    found = waiting(world, second)
    assert found.cause == Cause.JOB
    assert first.id in found.text
    assert found.position is None


def test_it_is_paused(world: World) -> None:
    job = take_up(world)
    steering = Steering(world.runtime, world.messages)
    steering.pause(job.id, "key:abc")
    found = waiting(world, job)
    assert found.cause == Cause.PAUSE
    assert found.text.startswith("Paused by key:abc since 20")
    assert watched(world, job).job.paused
    steering.resume(job.id)
    assert watched(world, job).waiting is None


def test_it_is_throttled(world: World) -> None:
    job = take_up(world)
    Steering(world.runtime, world.messages).throttle(job.id, 0.5)
    world.deliver(world.messages.waiting.pop(0))
    found = waiting(world, job)
    assert (found.cause, found.text) == (Cause.THROTTLE, "Throttled to 0.5 entities a second.")
    fall_silent(world, job)
    assert waiting(world, job) == found


def test_its_source_fails(world: World) -> None:
    def fail(number: int) -> None:
        raise SourceUnavailable("The source answered 502.")

    world.source.before_page = fail
    job = take_up(world)
    world.deliver(world.messages.waiting.pop(0))
    found = waiting(world, job)
    assert found.cause == Cause.SOURCE
    assert found.text.startswith("The source has been failing since 20")
    assert found.text.endswith("SourceUnavailable: The source answered 502.")
    assert watched(world, job).message == "Page 0 is tried again: The source answered 502."
    fall_silent(world, job)
    assert waiting(world, job) == found
    world.source.before_page = None
    world.runtime.redis.flushdb()
    assert waiting(world, job).cause == Cause.WORKER
    world.runtime.workers.sign("a worker")
    world.runtime.redis.delete(f"celeriac:job:{job.id}")
    assert waiting(world, job) == found


def test_its_source_is_slow(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celeriac.waiting.SLOW", 0.0)
    seen: list[Watched] = []
    world.source.before_page = lambda number: seen.append(watched(world, job))
    job = take_up(world)
    world.deliver(world.messages.waiting.pop(0))
    assert seen[0].waiting is not None
    assert seen[0].waiting.text == "The source has not answered for 0 s."


@pytest.mark.parametrize(
    ("error", "cause"),
    [(ModelUnavailable(), Cause.MODEL), (StoreUnavailable(), Cause.STORE)],
)
def test_what_it_needs_is_away(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception, cause: Cause
) -> None:
    def fail(*_: object) -> None:
        raise error

    broken = (world.runtime, "usable") if cause == Cause.MODEL else (world.store, "upsert")
    monkeypatch.setattr(*broken, fail)
    job = take_up(world)
    world.deliver(world.messages.waiting.pop(0))
    assert waiting(world, job).cause == cause


def test_its_start_and_its_finish_are_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StoreUnavailable

    job = world.request()
    with monkeypatch.context() as away:
        away.setattr(world.store, "ensure_collection", fail)
        world.deliver(world.messages.waiting.pop(0))
        assert waiting(world, job).cause == Cause.STORE
        fall_silent(world, job)
        assert waiting(world, job).cause == Cause.STORE
    world.jobs.start(job.id)
    assert watched(world, job).waiting is None
    for _ in range(3):
        world.deliver(world.messages.waiting.pop(0))
    with monkeypatch.context() as away:
        away.setattr(world.store, "scan_markers", fail)
        world.deliver(world.messages.waiting.pop(0))
        assert waiting(world, job).cause == Cause.STORE
    world.run()
    assert watched(world, job).waiting is None


def test_a_removal_waits_for_a_confirmation(world: World) -> None:
    world.reindex()
    world.source.entities = ENTITIES[:5]
    job = world.reindex()
    assert (job.state, job.error_class) == (JobState.FAILED, "RemovalRefused")
    found = waiting(world, job)
    assert found.cause == Cause.CONFIRMATION
    assert f"/jobs/{job.id}/confirm-removal" in found.text
    world.reindex(removal_limit=1.0)
    assert watched(world, job).waiting is None


def test_there_is_no_such_job(world: World) -> None:
    assert Watch(world.runtime).job("none") is None


def test_the_workers_that_are_alive_are_counted(world: World) -> None:
    workers = world.runtime.workers
    workers.sign("another")
    assert workers.count() == 2
    world.runtime.redis.zadd("celeriac:workers", {"another": 1.0})
    assert workers.count() == 1


def test_lines_that_a_page_logs_say_whose_it_is(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(number: int) -> None:
        logging.getLogger("somebody.else").warning("the source is away")
        raise SourceUnavailable

    caplog.handler.setFormatter(JsonFormatter())
    world.source.before_page = fail
    job = take_up(world)
    world.deliver(world.messages.waiting.pop(0))
    lines = [json.loads(line) for line in caplog.text.splitlines()]
    assert {"the source is away", "page is tried again"} <= {line["message"] for line in lines}
    for line in lines:
        assert (line["job"], line["tenant"], line["page"]) == (job.id, TENANT, 0)
