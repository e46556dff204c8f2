"""Listings that lie: what an unstable source lists twice and still misses is asked for by its id
before it is removed, and indexed as it is now where it is there."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from harness import LookupListSource, World, article
from rest_server import Request, Response, rest_server

from celeriac.catalog.jobs import JobState
from celeriac.errors import SourceError, SourceUnavailable
from celeriac.model import Entity, Page, Splitting
from celeriac.sources.registry import build_source
from celeriac.store.base import VectorStore
from celeriac.store.opening import open_local


@pytest.fixture
def store() -> Iterator[VectorStore]:
    store = open_local(None)
    yield store
    store.close()


@pytest.fixture
def world(store: VectorStore, tmp_path: Path, redis_url: str) -> Iterator[World]:
    world = World(
        home=tmp_path,
        database_url=f"sqlite:///{tmp_path / 'catalog.sqlite'}",
        redis_url=redis_url,
        store=store,
    )
    yield world
    world.close()


@dataclass
class LyingSource(LookupListSource):
    """A list that leaves out some of what it has."""

    stable_listing: bool = False
    hidden: set[str] = field(default_factory=set)

    def page(self, cursor: str | None) -> Page:
        held = self.entities
        self.entities = [one for one in held if one.id not in self.hidden]
        try:
            return super().page(cursor)
        finally:
            self.entities = held


def articles(count: int = 30) -> list[Entity]:
    return [article(number, words=90) for number in range(count)]


def indexed(world: World) -> LyingSource:
    """A source that is indexed as it is, and will leave out what is hidden from now on."""
    source = LyingSource(articles())
    world.source = source
    world.assert_succeeded(world.reindex())
    assert source.looked_up == []
    return source


def test_what_is_there_stays_and_is_as_it_is_now(world: World) -> None:
    source = indexed(world)
    source.hidden = {"a3", "a4", "a5", "a6", "a7"}
    source.entities[3] = article(3, words=400)
    del source.entities[7]
    job = world.reindex()
    world.assert_succeeded(job)
    world.assert_index_equals(source.entities)
    assert sorted(source.looked_up) == ["a3", "a4", "a5", "a6", "a7"]
    counters = job.counters
    assert (counters.listed, counters.indexed, counters.removed) == (29, 1, 1)


def test_what_a_stable_source_does_not_list_is_removed_without_asking(world: World) -> None:
    source = indexed(world)
    source.stable_listing = True
    source.hidden = {"a3"}
    world.assert_succeeded(world.reindex())
    assert source.looked_up == []
    world.assert_index_equals([one for one in source.entities if one.id != "a3"])


def test_beyond_a_bound_two_listings_have_to_do(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("finish", "reindexed"):
        monkeypatch.setattr(f"celeriac.{module}.MOST_LOOKUPS", 2)
    source = indexed(world)
    source.hidden = {"a3", "a4"}
    world.assert_succeeded(world.reindex())
    world.assert_index_equals(source.entities)
    source.hidden = {"a3", "a4", "a5"}
    world.assert_succeeded(world.reindex())
    assert sorted(source.looked_up) == ["a3", "a4"]
    world.assert_index_equals([one for one in source.entities if one.id not in source.hidden])


def test_a_removal_of_too_much_is_refused_before_anything_is_looked_up(world: World) -> None:
    source = indexed(world)
    source.hidden = {one.id for one in source.entities[:10]}
    job = world.reindex()
    assert job.state == JobState.FAILED
    assert "10 of the 30 indexed entities" in job.message
    assert source.looked_up == []

    world.assert_succeeded(world.reindex(removal_limit=1.0))
    world.assert_index_equals(source.entities)  # for they are all there


def test_a_generation_built_beside_lacks_nothing_of_what_is_there(world: World) -> None:
    source = indexed(world)
    source.hidden = {"a3", "a4"}
    del source.entities[4]
    world.declare(splitting=Splitting(chunk_size=150))
    job = world.reindex()
    world.assert_succeeded(job)
    assert job.generation == 2
    assert sorted(source.looked_up) == ["a3", "a4"]
    world.assert_index_equals(source.entities)


def test_what_cannot_be_indexed_now_stays_as_it_was(world: World) -> None:
    source = indexed(world)
    source.hidden = {"a3"}
    source.entities[3] = Entity("a3", {"title": "\0"})
    job = world.reindex()
    world.assert_succeeded(job)
    assert (job.counters.failed, job.counters.removed) == (1, 0)
    world.assert_index_equals(articles())


def test_nothing_is_removed_while_nobody_answers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celeriac.paging._delay", lambda _: 0.0)
    source = indexed(world)
    source.hidden = {"a3", "a4"}
    del source.entities[4]
    failing = [True, True]

    def away(_: Sequence[str]) -> None:
        assert {one.entity_id for one in world.indexed()} >= {"a3", "a4"}
        if failing:
            failing.pop()
            raise SourceUnavailable("HTTP 502")

    source.before_lookup = away
    world.assert_succeeded(world.reindex())
    world.assert_index_equals(source.entities)


def test_a_source_that_refuses_to_answer_fails_the_job(world: World) -> None:
    source = indexed(world)
    source.hidden = {"a3"}

    def refuse(_: Sequence[str]) -> None:
        raise SourceError("HTTP 403: the key may not read products")

    source.before_lookup = refuse
    job = world.reindex()
    assert (job.state, "HTTP 403" in job.message) == (JobState.FAILED, True)
    world.assert_index_equals(source.entities)


@pytest.mark.parametrize("seed", range(3))
def test_messages_in_any_order_and_twice_change_nothing(world: World, seed: int) -> None:
    source = indexed(world)
    source.hidden = {"a3", "a4", "a5", "a13", "a23"}
    source.entities[3] = article(3, words=400)
    del source.entities[4]
    job = world.request()
    world.run(twice=True, shuffle=random.Random(seed))
    world.assert_succeeded(world.job(job.id))
    world.assert_index_equals(source.entities)
    assert world.job(job.id).counters.removed == 1


def test_a_worker_killed_while_it_looks_up_loses_nothing(world: World) -> None:
    class Killed(BaseException):
        pass

    source = indexed(world)
    source.hidden = {"a3", "a4"}
    source.entities[3] = article(3, words=400)
    del source.entities[4]
    deaths = [True]

    def die(_: Sequence[str]) -> None:
        if deaths:
            deaths.pop()
            raise Killed

    source.before_lookup = die
    job = world.request()
    with pytest.raises(Killed):
        world.run()
    lapse(world)
    world.jobs.recover()
    world.run()
    world.jobs.recover()
    if world.job(job.id).state == JobState.RUNNING:
        (page,) = world.runtime.catalog.pages.take_lost(job.id, silent_for=-1.0)
        world.deliver(("page", job.id, page))
        world.run()
    world.assert_succeeded(world.job(job.id))
    world.assert_index_equals(source.entities)


def test_a_finish_that_was_taken_over_removes_nothing_before_the_lookups(world: World) -> None:
    source = indexed(world)
    source.hidden = {"a3", "a4"}
    del source.entities[4]
    job = world.request()
    stalled: list[str] = []

    def taken_over() -> None:
        lapse(world)
        world.deliver(("finish", job.id, 0))  # begins the lookups, which wait
        stalled.append("begin_lookups")

    stall_at(world.runtime.catalog.rounds, "begin_lookups", taken_over)
    while not stalled:
        world.deliver(world.messages.waiting.pop(0))
    assert {one.entity_id for one in world.indexed()} == {one.id for one in articles()}
    world.run()
    world.assert_succeeded(world.job(job.id))
    world.assert_index_equals(source.entities)


def lapse(world: World) -> None:
    """Let every lease run out."""
    with world.runtime.catalog.database.write() as connection:
        connection.exec_driver_sql("UPDATE jobs SET lease_until = 0 WHERE lease_until IS NOT NULL")
        connection.exec_driver_sql("UPDATE pages SET lease_until = 0 WHERE lease_until IS NOT NULL")


def stall_at(target: object, name: str, meanwhile: Callable[[], object]) -> None:
    """Have `meanwhile` happen just before the next call of a method goes on."""
    method = getattr(target, name)

    def stalled(*arguments: object) -> object:
        setattr(target, name, method)
        meanwhile()
        return method(*arguments)

    setattr(target, name, stalled)


# A real API


class Shop:
    """An API with numbered pages, ordered by the last change. One item changes whenever the second
    page is asked for: it slides onto the first, which was read already, and is on none."""

    def __init__(self) -> None:
        self.items = {n: {"id": n, "title": f"Title {n}", "body": "b " * 90} for n in range(40)}
        self.sliding: int | None = None

    def respond(self, request: Request) -> Response:
        if request.path != "/products":
            item = self.items.get(int(request.path.removeprefix("/products/")))
            return Response(item) if item else Response(status=404)
        number, size = int(request.param("pageNumber")) - 1, int(request.param("pageSize"))
        listed = self.ordered(at=0 if number else size)
        return Response(listed[number * size : (number + 1) * size])

    def ordered(self, at: int) -> list[object]:
        numbers = [n for n in self.items if n != self.sliding]
        if self.sliding is not None:
            numbers.insert(at, self.sliding)
        return [self.items[n] for n in numbers]


def test_an_item_that_slides_past_both_listings_stays_and_is_as_it_is_now(world: World) -> None:
    shop = Shop()
    with rest_server(shop.respond) as server:
        options = {
            "kind": "rest",
            "url": f"{server.url}/products",
            "item_url": f"{server.url}/products/{{id}}",
            "page_size": 15,
        }
        world.source = build_source(options)  # type: ignore[assignment]
        world.assert_succeeded(world.reindex())
        shop.sliding = 20
        shop.items[20] = {"id": 20, "title": "Changed", "body": "c " * 200}
        del shop.items[30]
        job = world.reindex()
        world.source.close()

    world.assert_succeeded(job)
    items = [request for request in server.requests if request.path != "/products"]
    assert sorted(request.path for request in items) == ["/products/20", "/products/30"]
    world.assert_index_equals([Entity(str(n), fields) for n, fields in shop.items.items()])
    assert (job.counters.indexed, job.counters.removed) == (1, 1)
