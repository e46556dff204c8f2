"""A job's events over HTTP: from the beginning, from where a watcher broke off, to the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from event_stream import Received, watching
from flask import Flask
from harness import World, article, local_world
from werkzeug.serving import make_server

from api import create_app
from api.lanes import Lanes, Streams, served
from celeriac.catalog.jobs import Job
from celeriac.events import BEGIN, position
from celeriac.progress import stream
from celeriac.security.principal import Scope

ENTITIES = [article(number, words=100) for number in range(40)]
KEY = "the key of these tests"


@pytest.fixture
def world(tmp_path: Path, redis_url: str) -> Iterator[World]:
    with local_world(tmp_path, redis_url=redis_url, api_key=KEY) as world:
        world.source.entities = list(ENTITIES)
        world.runtime.workers.sign("a worker")
        yield world


@pytest.fixture
def app(world: World, monkeypatch: pytest.MonkeyPatch) -> Flask:
    monkeypatch.setattr("api.events.HEARTBEAT", 0.2)
    app = create_app(world.runtime)
    served(app, threads=20)
    return app


@pytest.fixture
def client(app: Flask) -> Iterator[httpx.Client]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    with httpx.Client(base_url=url, headers={"x-api-key": KEY}) as client:
        yield client
    server.shutdown()
    thread.join()
    server.server_close()


def streams(app: Flask) -> Streams:
    found: Streams = app.extensions["celeriac"].streams
    return found


def path(job: Job) -> str:
    return f"/jobs/{job.id}/events"


def begun(world: World, pages: int = 1) -> Job:
    """A job of which so many pages are done."""
    job = world.request()
    for _ in range(1 + pages):
        world.deliver(world.messages.waiting.pop(0))
    return job


def told(events: Iterator[Received]) -> list[Received]:
    """What is told to the end, without comments."""
    return [one for one in events if one.kind is not None]


def until(events: Iterator[Received], kind: str) -> Received:
    return next(one for one in events if one.kind == kind)


def stored_ids(world: World, job: Job) -> list[str]:
    return [event_id.decode() for event_id, _ in world.runtime.redis.xrange(stream(job.id))]


def test_a_watcher_sees_a_job_to_its_end(world: World, client: httpx.Client) -> None:
    job = begun(world)
    with watching(client, path(job)) as events:
        first = until(events, "job")
        assert (first.data["state"], first.data["counters"]["listed"]) == ("running", 10)
        world.run()
        rest = told(events)
    assert {one.kind for one in rest[:-1]} <= {"progress", "job"}
    listed = [one.data["counters"]["listed"] for one in rest]
    assert listed == sorted(listed)
    assert rest[-1].kind == "end"
    assert rest[-1].data == client.get(f"/jobs/{job.id}").json()
    assert (rest[-1].data["state"], listed[-1]) == ("succeeded", len(ENTITIES))
    ids = [position(one.id) for one in rest if one.id is not None]
    assert ids == sorted(ids)


def test_one_that_broke_off_gets_what_it_missed(world: World, client: httpx.Client) -> None:
    job = begun(world)
    with watching(client, path(job)) as events:
        known = until(events, "job").id
    world.deliver(world.messages.waiting.pop(0))
    missed = [one for one in stored_ids(world, job) if position(one) > position(known or BEGIN)]
    assert missed
    with watching(client, path(job), known) as events:
        world.run()
        again = told(events)
    assert [one.id for one in again[: len(missed)]] == missed
    assert again[-1].kind == "end"


@pytest.mark.parametrize("known", ["1-1", "99999999999999-0", "nonsense", ""])
def test_one_whose_place_is_gone_begins_with_the_job_as_it_is(
    world: World, client: httpx.Client, known: str
) -> None:
    job = begun(world)
    with watching(client, path(job), known) as events:
        first = until(events, "job")
    assert first.data["counters"]["listed"] == 10
    assert first.id == stored_ids(world, job)[-1]


def test_a_trimmed_stream_is_not_passed_off_as_whole(world: World, client: httpx.Client) -> None:
    job = begun(world)
    known = stored_ids(world, job)[0]
    world.runtime.redis.xtrim(stream(job.id), maxlen=1, approximate=False)
    with watching(client, path(job), known) as events:
        assert next(one for one in events if one.kind).kind == "job"


def test_an_emptied_redis_ends_no_stream(world: World, client: httpx.Client) -> None:
    job = begun(world)
    with watching(client, path(job)) as events:
        until(events, "job")
        world.runtime.redis.flushdb()
        world.run()
        assert told(events)[-1].data["counters"]["listed"] == len(ENTITIES)
    world.runtime.redis.flushdb()
    with watching(client, path(job)) as events:
        assert [one.kind for one in told(events)] == ["end"]


def test_an_end_that_redis_never_heard_of_is_found(world: World, client: httpx.Client) -> None:
    job = begun(world)
    with watching(client, path(job)) as events:
        until(events, "job")
        world.runtime.catalog.jobs.cancel(job.id)
        world.runtime.redis.hset(f"celeriac:job:{job.id}", "updated", "1.0")
        assert told(events)[-1].data["state"] == "cancelled"


def test_a_job_that_begins_to_wait_says_so(world: World, client: httpx.Client) -> None:
    job = begun(world)
    with watching(client, path(job)) as events:
        assert until(events, "job").data["waiting"] is None
        client.post(f"/jobs/{job.id}/pause")
        paused = until(events, "job").data
        assert (paused["waiting_for"], paused["paused"]) == ("pause", True)
        assert paused["waiting"].startswith("Paused by bootstrap since ")


def test_who_knows_the_end_is_not_to_come_again(world: World, client: httpx.Client) -> None:
    job = world.reindex()
    with watching(client, path(job)) as events:
        (end,) = told(events)
    assert end.id is not None
    answer = client.get(path(job), headers={"Last-Event-ID": end.id})
    assert (answer.status_code, answer.content) == (204, b"")


def test_without_room_a_watcher_is_asked_to_come_again(
    world: World, client: httpx.Client, app: Flask
) -> None:
    streams(app).most = 0
    job = begun(world)
    with watching(client, path(job)) as events:
        retry, first = events
    assert (retry.retry, first.kind) == (5000, "job")
    world.deliver(world.messages.waiting.pop(0))
    with watching(client, path(job), first.id) as events:
        assert "progress" in [one.kind for one in events]


def test_a_watcher_that_left_gives_its_room_back(
    world: World, client: httpx.Client, app: Flask
) -> None:
    job = begun(world)
    streams(app).most = 1
    with watching(client, path(job)) as events:
        until(events, "job")
        with watching(client, path(job)) as others:
            assert next(others).retry == 5000
    # The next sign of life finds nobody there.
    for _ in range(100):
        with watching(client, path(job)) as events:
            if next(events).retry == 1000:
                return
    pytest.fail("its room was not given back")


def test_a_server_that_ends_does_not_wait_for_watchers(
    world: World, client: httpx.Client, app: Flask
) -> None:
    job = begun(world)
    with watching(client, path(job)) as events:
        until(events, "job")
        streams(app).going_on = lambda: False
        assert told(events) == []


def test_others_see_nothing(world: World, client: httpx.Client) -> None:
    job = begun(world)
    keys = world.runtime.catalog.api_keys
    _, stranger = keys.create(tenants=["other"], scopes=list(Scope))
    _, manager = keys.create(tenants=["acme"], scopes=[Scope.AGENT_MANAGE])
    for secret, status in ((stranger, 404), (manager, 403)):
        headers = {"x-api-key": secret.reveal()}
        assert client.get(path(job), headers=headers).status_code == status
    assert client.get(path(job), headers={"x-api-key": ""}).status_code == 401


def test_requests_that_last_do_not_hold_up_streams() -> None:
    """With every ordinary place taken, a stream is answered all the same."""
    app = Flask("lanes")
    inside, leave = threading.Barrier(3), threading.Event()

    @app.get("/slow")
    def slow() -> str:
        inside.wait(30)
        leave.wait(30)
        return "slow"

    @app.get("/events")
    def events() -> str:
        return "events"

    app.wsgi_app = Lanes(app.wsgi_app, Streams(), ordinary=2)  # type: ignore[method-assign]
    threads = [threading.Thread(target=lambda: app.test_client().get("/slow")) for _ in range(2)]
    for thread in threads:
        thread.start()
    inside.wait(30)
    assert app.test_client().get("/events").text == "events"
    leave.set()
    for thread in threads:
        thread.join()
