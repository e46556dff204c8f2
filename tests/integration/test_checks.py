"""Plans and audits through Redis: what a worker finds, and how one ends that nobody ends."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import pytest
from api_server import api_server
from harness import NAME, TENANT, ListSource, World, article
from redis import Redis

from celeriac.audit import Audit, audit
from celeriac.errors import NotFound, RateLimited, restored
from celeriac.explain import Explanation, explain
from celeriac.model import EntityFailure
from celeriac.plan import Plan, plan
from celeriac.remote import Remote
from celeriac.restoring import restore
from celeriac.security.principal import Scope
from workers import checking, searching
from workers.checking import Check, CheckKind, CheckServer, CheckState
from workers.searching import SearchServer

PATIENCE = 60.0


@pytest.fixture
def indexed(world: World) -> World:
    """A world whose index differs from its source at two of thirty entities."""
    failure = EntityFailure("bad", "NotText", "It is no text.")
    world.source = ListSource([article(number) for number in range(30)], failures={1: failure})
    world.reindex()
    world.source.entities[3] = article(3, words=30)
    del world.source.entities[7]
    return world


@contextmanager
def serving(world: World) -> Iterator[Redis]:
    world.refresh()
    server = CheckServer(world.runtime)
    server.start()
    yield world.runtime.redis
    world.runtime.stopping.set()
    server.join()


def ask(redis: Redis, kind: CheckKind, name: str = NAME, *, repair: bool = False) -> Check:
    return checking.ask(redis, TENANT, name, kind, repair=repair)


def ended(redis: Redis, asked: Check) -> Check:
    deadline = time.monotonic() + PATIENCE
    while (found := checking.find(redis, asked.id)) is not None:
        if found.state in (CheckState.DONE, CheckState.FAILED):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    raise AssertionError(f"{asked} is gone")


def through_json(found: Audit | Explanation) -> Any:
    return json.loads(json.dumps(asdict(found)))


def test_a_worker_plans_as_a_process_of_its_own_does(indexed: World) -> None:
    with serving(indexed) as redis:
        found = ended(redis, ask(redis, CheckKind.PLAN))
    assert (found.state, found.listed, found.error) == (CheckState.DONE, 30, None)
    assert found.result is not None
    planned = restore(Plan, found.result)
    assert planned == plan(indexed.runtime, TENANT, NAME)
    assert (planned.changed, planned.removed, planned.failed) == (1, 1, 1)


def test_a_worker_audits_and_mends(indexed: World) -> None:
    with serving(indexed) as redis:
        before = ended(redis, ask(redis, CheckKind.AUDIT))
        mended = ended(redis, ask(redis, CheckKind.AUDIT, repair=True))
    assert before.result is not None
    assert mended.result is not None
    assert before.result["equal"] is False
    assert mended.result["equal"] is True
    found = restore(Audit, mended.result)
    assert found.repair is not None
    assert (found.repair.counters.indexed, found.repair.counters.removed) == (1, 1)
    assert restore(Audit, through_json(found)) == found
    assert audit(indexed.runtime, TENANT, NAME).equal


@pytest.mark.parametrize("entity_id", ["a3", "bad", "nowhere"])
def test_an_explanation_is_the_same_after_a_way_through_json(
    indexed: World, entity_id: str
) -> None:
    found = explain(indexed.runtime, TENANT, NAME, entity_id)
    assert restore(Explanation, through_json(found)) == found


def test_one_that_fails_says_why(indexed: World) -> None:
    with serving(indexed) as redis:
        found = ended(redis, ask(redis, CheckKind.PLAN, "nosuch"))
    assert (found.state, found.result) == (CheckState.FAILED, None)
    assert found.error is not None
    error = restored(found.error)
    assert isinstance(error, NotFound)
    assert "no entity type 'nosuch'" in str(error)


def test_one_that_nobody_asks_about_is_ended(indexed: World) -> None:
    redis = indexed.runtime.redis

    def forget(_: int) -> None:
        redis.delete(*redis.keys("celeriac:check:*:wanted"))

    indexed.source.before_page = forget
    indexed.source.page_size = 1
    asked = ask(redis, CheckKind.PLAN)
    with serving(indexed):
        deadline = time.monotonic() + PATIENCE
        while not redis.hexists(f"celeriac:check:{asked.id}", "ended"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    found = checking.find(redis, asked.id)
    assert found is not None
    assert found.error is not None
    assert "Nobody has asked" in found.error["message"]
    assert indexed.source.pages_read < 30 + 3


def test_one_that_waits_and_is_not_wanted_any_more_is_dropped(indexed: World) -> None:
    redis = indexed.runtime.redis
    dropped = ask(redis, CheckKind.PLAN)
    redis.delete(f"celeriac:check:{dropped.id}:wanted")
    with serving(indexed):
        assert ended(redis, ask(redis, CheckKind.PLAN)).state == CheckState.DONE
    assert checking.find(redis, dropped.id) is None


def test_one_whose_worker_died_is_over(indexed: World) -> None:
    redis = indexed.runtime.redis
    asked = ask(redis, CheckKind.PLAN)
    states: list[str] = []

    def look(_: int) -> None:
        found = checking.find(redis, asked.id)
        assert found is not None
        states.append(found.state)
        redis.delete(f"celeriac:check:{asked.id}:alive")  # as it runs out after a kill
        found = checking.find(redis, asked.id)
        assert found is not None
        assert found.error is not None
        states.append(found.error["message"])

    indexed.source.before_page = look
    with serving(indexed):
        ended(redis, asked)
    assert states[:2] == [CheckState.RUNNING, checking.GONE]


def test_no_more_than_some_wait(indexed: World) -> None:
    redis = indexed.runtime.redis
    asked = [ask(redis, CheckKind.PLAN) for _ in range(checking.MOST)]
    with pytest.raises(RateLimited, match="check that a worker runs"):
        ask(redis, CheckKind.AUDIT)
    with serving(indexed):
        assert ended(redis, asked[-1]).state == CheckState.DONE
    assert redis.llen(checking.QUEUE) == 0
    assert all(0 < redis.ttl(f"celeriac:check:{one.id}") <= checking.KEEP for one in asked)


def test_a_worker_that_ends_breaks_off(indexed: World) -> None:
    redis = indexed.runtime.redis
    asked = ask(redis, CheckKind.PLAN)

    def stop(_: int) -> None:
        indexed.runtime.stopping.set()

    indexed.source.before_page = stop
    with serving(indexed):
        found = ended(redis, asked)
    assert found.error is not None
    assert found.error["class"] == "WorkerStopping"


def test_a_search_waits_for_a_worker_that_loads_its_model(
    indexed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "WAIT", 1.0)
    server = SearchServer(indexed.runtime)
    answered: list[str] = []

    class Starter(logging.Handler):
        """Has a worker answer once the API has said that none did."""

        def emit(self, record: logging.LogRecord) -> None:
            if not answered:
                server.start()
            answered.append(record.getMessage())

    handler = Starter()
    logging.getLogger("api.problems").addHandler(handler)
    _, key = indexed.runtime.catalog.api_keys.create(tenants=[TENANT], scopes=list(Scope))
    with api_server(indexed.runtime) as url, Remote(url, key.reveal()) as remote:
        hits = remote.search(TENANT, NAME, "Title 3", top_k=3, filters={"code": "c3"})
    logging.getLogger("api.problems").removeHandler(handler)
    indexed.runtime.stopping.set()
    server.join()
    assert {hit.metadata["code"] for hit in hits} == {"c3"}
    assert answered[0] == "request failed"
