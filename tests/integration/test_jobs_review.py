"""What must hold when steps of jobs overlap, are taken over, or meet a source that changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import servers
from harness import TENANT, ListSource, World, article, declared
from qdrant_client import QdrantClient

from celeriac.catalog.jobs import JobState
from celeriac.embedding import registry
from celeriac.embedding.base import Vectors
from celeriac.embedding.stub import StubEmbedder
from celeriac.errors import BrokerUnavailable, ModelError, StoreUnavailable
from celeriac.jobs import request_job
from celeriac.model import Entity, FilterField, FilterType, Page, Partition, Splitting
from celeriac.store.base import Point, VectorStore
from celeriac.store.opening import open_local, open_server
from celeriac.store.snapshots import Snapshots


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
    world.clear()
    world.close()


@dataclass
class KeysetSource:
    """Lists by key: no entity that stays can slide past it, whatever else comes and goes."""

    entities: dict[int, Entity]
    page_size: int = 10
    stable_listing: bool = True
    after_page: Callable[[], None] | None = field(default=None)

    def page(self, cursor: str | None) -> Page:
        after = -1 if cursor is None else int(cursor)
        keys = sorted(key for key in self.entities if key > after)
        found = tuple(self.entities[key] for key in keys[: self.page_size])
        more = len(keys) > self.page_size
        page = Page(found, str(keys[self.page_size - 1]) if more else None)
        if self.after_page is not None:
            self.after_page()
        return page

    def close(self) -> None:
        pass


def once(action: Callable[[], object]) -> Callable[[], None]:
    """Does `action` the first time it is called, nothing later."""
    left = [action]

    def call() -> None:
        if left:
            left.pop()()

    return call


def refuse_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store refuses the next look at markers: the page is listed, then tried again."""
    markers = world.store.markers
    monkeypatch.setattr("celeriac.paging._delay", lambda _: 0.0)

    def away(*_: object) -> None:
        world.store.markers = markers  # type: ignore[method-assign]
        raise StoreUnavailable

    world.store.markers = away  # type: ignore[method-assign,assignment]


def stall_at(target: object, name: str, meanwhile: Callable[[], object]) -> None:
    """Have `meanwhile` happen just before the next call of a method goes on."""
    method = getattr(target, name)

    def stalled(*arguments: object, **options: object) -> object:
        setattr(target, name, method)
        meanwhile()
        return method(*arguments, **options)

    setattr(target, name, stalled)


def lapse(world: World) -> None:
    """Let every lease run out."""
    with world.runtime.catalog.database.write() as connection:
        connection.exec_driver_sql("UPDATE jobs SET lease_until = 0 WHERE lease_until IS NOT NULL")
        connection.exec_driver_sql("UPDATE pages SET lease_until = 0 WHERE lease_until IS NOT NULL")


@pytest.mark.parametrize("indexed_before", [False, True])
def test_a_page_read_again_after_the_source_grew_leaves_no_gap(
    world: World, monkeypatch: pytest.MonkeyPatch, indexed_before: bool
) -> None:
    entities = {number * 10: article(number) for number in range(25)}
    world.source = KeysetSource(entities)  # type: ignore[assignment]
    if indexed_before:
        world.reindex()
    job = world.request()
    world.deliver(world.messages.waiting.pop(0))
    refuse_once(world, monkeypatch)
    world.deliver(world.messages.waiting.pop(0))  # page 0: listed, page 1 sent, then tried again
    entities[5] = article(100)  # page 0 now ends one earlier than page 1 begins
    world.run()
    world.assert_succeeded(world.job(job.id))
    world.assert_index_equals(list(entities.values()))


def test_a_rebuild_from_a_listing_that_lost_most_entities_is_refused(world: World) -> None:
    entities = [article(number) for number in range(30)]
    world.source = ListSource(entities)
    world.reindex()
    live = world.partition()
    world.source = ListSource([])
    world.declare(splitting=Splitting(chunk_size=150))
    job = world.reindex()
    assert job.state == JobState.FAILED
    assert world.partition() == live
    assert job.message.startswith("The source no longer lists")


def test_a_rebuild_in_which_nothing_can_be_embedded_does_not_go_live(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.source = ListSource([article(number) for number in range(30)])
    world.reindex()
    live = world.partition()

    def broken(self: StubEmbedder, texts: Sequence[str]) -> Vectors:
        raise ModelError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(StubEmbedder, "embed", broken)
    world.declare(splitting=Splitting(chunk_size=150))
    job = world.reindex()
    assert world.partition() == live
    assert job.state == JobState.FAILED


def test_a_model_that_cannot_be_loaded_fails_the_job_not_its_entities(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unusable(*_: object, **__: object) -> None:
        raise ModelError("stub: cannot load its folder (No such file or directory)")

    monkeypatch.setattr(registry, "load", unusable)
    world.source = ListSource([article(number) for number in range(30)])
    job = world.reindex()
    assert job.state == JobState.FAILED
    assert "cannot load" in job.message


def test_a_finish_that_was_taken_over_does_not_switch_generations_back(world: World) -> None:
    entities = [article(number, words=200) for number in range(5)]
    world.source = ListSource(entities)
    first = world.request()

    def taken_over() -> None:
        lapse(world)
        world.deliver(("finish", first.id, 0))
        world.declare(splitting=Splitting(chunk_size=150))
        world.assert_succeeded(world.reindex())
        assert world.partition().generation == 2

    stall_at(world.runtime.catalog.indexes, "switch", taken_over)
    world.run()
    assert world.partition().generation == 2
    world.assert_index_equals(entities)


def test_a_finish_that_was_taken_over_does_not_sweep_before_the_second_listing(
    world: World,
) -> None:
    entities = [article(number) for number in range(30)]
    world.source = ListSource(list(entities), stable_listing=False)
    world.reindex()
    slid = entities[10]

    def slide(number: int) -> None:
        world.source.entities = list(entities)
        if number == 1 and job.id not in seen:
            seen.add(job.id)
            world.source.entities.remove(slid)
            world.source.entities.append(article(99))

    seen: set[str] = set()
    world.source.before_page = slide
    job = world.request()

    def taken_over() -> None:
        lapse(world)
        world.deliver(("finish", job.id, 0))  # begins the second listing, which waits

    stall_at(world.runtime.catalog.rounds, "begin_second_round", taken_over)
    stop_at = len(entities)
    while world.messages.waiting and stop_at:
        stop_at -= 1
        message = world.messages.waiting.pop(0)
        world.deliver(message)
        if message[0] == "finish":
            break
    assert {one.entity_id for one in world.indexed()} >= {one.id for one in entities}


def test_a_removal_in_hand_is_over_before_the_job_after_a_cancelled_one_starts(
    world: World,
) -> None:
    entities = [article(number, words=300) for number in range(10)]
    world.source = ListSource(entities)
    world.reindex()
    world.source = ListSource(entities[1:])
    job = world.request()

    def cancel_and_restore() -> None:
        world.jobs.cancel(job.id)
        world.source = ListSource(entities)
        world.request()
        world.run()

    stall_at(world.store, "delete_chunks", cancel_and_restore)
    world.run()
    world.jobs.recover()
    world.run()
    world.assert_index_equals(entities)


def test_an_entity_without_text_stays_when_its_job_was_cancelled(world: World) -> None:
    entities = [article(number) for number in range(5)]
    world.source = ListSource(entities)
    world.reindex()
    world.source = ListSource([*entities[:4], Entity("a4", {"title": ""})])
    job = world.request()
    world.source.before_page = lambda _: world.jobs.cancel(job.id) and None
    world.run()
    assert world.job(job.id).state == JobState.CANCELLED
    world.assert_index_equals(entities)


@pytest.mark.parametrize("chunk", [0, 1])
def test_a_chunk_that_went_missing_is_put_back_by_a_reindex(world: World, chunk: int) -> None:
    entities = [article(number, words=300) for number in range(5)]
    world.source = ListSource(entities)
    world.reindex()
    world.store.delete_chunks(world.partition(), [("a2", chunk)])
    world.assert_succeeded(world.reindex())
    world.assert_index_equals(entities)


@pytest.mark.parametrize("lost", ["a snapshot before", "the whole collection"])
def test_what_was_done_to_the_store_behind_its_back_is_mended_by_a_reindex(
    qdrant_server: servers.QdrantServer, tmp_path: Path, redis_url: str, lost: str
) -> None:
    catalog = f"sqlite:///{tmp_path / 'catalog.sqlite'}"
    store = open_server(qdrant_server.url)
    world = World(home=tmp_path, database_url=catalog, redis_url=redis_url, store=store)
    before = [article(number, words=300) for number in range(20)]
    world.source = ListSource(before)
    world.assert_succeeded(world.reindex())
    collection = world.partition().collection
    with closing(Snapshots(qdrant_server.url, None)) as snapshots:
        snapshots.save(collection, tmp_path / "snapshot")
        after = [*(article(number, words=200) for number in range(4)), *before[6:], article(50)]
        world.source = ListSource(after)
        world.assert_succeeded(world.reindex())
        if lost == "a snapshot before":
            snapshots.recover(collection, tmp_path / "snapshot", overwrite=True)
            assert len(world.compare(after).lost) == 5
        else:
            with closing(QdrantClient(qdrant_server.url, check_compatibility=False)) as client:
                client.delete_collection(collection)
    job = world.reindex(removal_limit=1.0)
    world.assert_succeeded(job)
    assert job.counters.indexed == (5 if lost == "a snapshot before" else len(after))
    world.assert_index_equals(after)
    world.clear()
    world.close()


def test_the_job_that_waits_starts_when_the_one_before_fails(world: World) -> None:
    entities = [article(number) for number in range(5)]

    def fail(_: int) -> None:
        world.source.before_page = None
        world.request()
        raise ValueError("a source's own mistake")

    world.source = ListSource(entities, before_page=fail)
    job = world.request()
    world.run()
    assert world.job(job.id).state == JobState.FAILED
    latest = world.runtime.catalog.jobs.recent(limit=1)[0]
    assert latest.id != job.id
    world.assert_succeeded(latest)


def test_a_worker_that_stops_in_a_long_finish_does_not_fail_the_job(world: World) -> None:
    entities = [article(number) for number in range(5)]
    world.source = ListSource(entities)
    job = world.request()
    while world.messages.waiting[0][0] != "finish":
        world.deliver(world.messages.waiting.pop(0))
    with world.runtime.catalog.database.write() as connection:
        connection.exec_driver_sql("UPDATE pages SET committed_at = committed_at - 1000")
    world.runtime.stopping.set()
    world.deliver(world.messages.waiting.pop(0))
    assert world.job(job.id).state == JobState.RUNNING
    world.runtime.stopping.clear()
    world.run()
    world.assert_succeeded(world.job(job.id))


def test_an_outage_long_before_does_not_count_as_failing_since_then(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A worker that stopped gave the page back; for a long time there was none to go on.
    monkeypatch.setattr("celeriac.paging._delay", lambda _: 0.0)
    entities = [article(number) for number in range(5)]
    world.source = ListSource(entities)
    job = world.request()
    world.deliver(world.messages.waiting.pop(0))
    world.runtime.stopping.set()
    world.deliver(world.messages.waiting.pop(0))
    world.runtime.stopping.clear()
    with world.runtime.catalog.database.write() as connection:
        connection.exec_driver_sql("UPDATE pages SET failing_since = failing_since - 1000")
    refuse_once(world, monkeypatch)
    world.run()
    world.assert_succeeded(world.job(job.id))


def test_a_worker_that_runs_out_of_memory_at_a_page_delays_the_job(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celeriac.paging._delay", lambda _: 0.0)
    entities = [article(number) for number in range(25)]
    world.source = ListSource(entities)
    left = [1]

    def exhaust(number: int) -> None:
        if number in left:
            left.remove(number)
            raise MemoryError

    world.source.before_page = exhaust
    job = world.reindex()
    world.assert_succeeded(job)
    world.assert_index_equals(entities)
    assert left == []


def test_what_breaks_in_a_worker_that_stops_does_not_fail_the_job(world: World) -> None:
    entities = [article(number) for number in range(5)]

    def closed(_: int) -> None:
        world.source.before_page = None
        world.runtime.stopping.set()
        raise RuntimeError("cannot schedule new futures after shutdown")

    world.source = ListSource(entities, before_page=closed)
    job = world.request()
    world.deliver(world.messages.waiting.pop(0))
    world.deliver(world.messages.waiting.pop(0))
    assert world.job(job.id).state == JobState.RUNNING
    world.runtime.stopping.clear()
    world.run()
    world.assert_succeeded(world.job(job.id))


def test_a_worker_that_lost_its_page_does_not_fail_the_job(world: World) -> None:
    entities = [article(number) for number in range(5)]

    def taken_over(_: int) -> None:
        world.source.before_page = None
        lapse(world)
        world.deliver(("page", job.id, 0))
        raise ValueError("whatever breaks in a process that slept for minutes")

    world.source = ListSource(entities, before_page=taken_over)
    job = world.request()
    world.run()
    world.assert_succeeded(world.job(job.id))


def test_an_unexpected_error_while_planning_fails_the_job(world: World) -> None:
    world.source = ListSource([article(1)])
    job = world.request()

    def broken(*_: object) -> None:
        raise KeyError("unexpected")

    world.store.ensure_collection = broken  # type: ignore[method-assign]
    world.run()
    assert world.job(job.id).state == JobState.FAILED
    assert "unexpected" in world.job(job.id).message


def test_a_generation_that_is_being_dropped_is_not_built_on(world: World) -> None:
    entities = [article(number, words=200) for number in range(5)]
    world.source = ListSource(entities)
    world.reindex()

    def refuse(_: int) -> None:
        raise ValueError("refused")

    world.source = ListSource(entities, before_page=refuse)
    world.declare(splitting=Splitting(chunk_size=150))
    assert world.reindex().state == JobState.FAILED  # leaves generation 2 unfinished
    lapse(world)

    def back_to_the_second() -> None:
        world.declare(splitting=Splitting(chunk_size=150))
        world.request()
        world.run()

    world.source = ListSource(entities)
    world.declare(splitting=Splitting(chunk_size=120))
    stall_at(world.store, "delete_partition", back_to_the_second)
    world.reindex()
    world.jobs.recover()
    world.run()
    world.assert_succeeded(world.runtime.catalog.jobs.recent(limit=1)[0])
    world.assert_index_equals(entities)


def test_a_new_entity_that_slid_past_the_listing_is_indexed(world: World) -> None:
    entities = [article(number) for number in range(30)]
    world.source = ListSource(list(entities), stable_listing=False)

    def shrink(number: int) -> None:
        if number == 1 and len(world.source.entities) == 30:
            del world.source.entities[0]

    world.source.before_page = shrink
    world.assert_succeeded(world.reindex())
    assert {one.entity_id for one in world.indexed()} >= {one.id for one in entities[1:]}


def test_an_entity_that_two_pages_dealt_with_is_counted_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    entities = [article(number) for number in range(30)]
    world.source = ListSource(list(entities))
    job = world.request()
    for _ in range(2):
        world.deliver(world.messages.waiting.pop(0))  # start, page 0
    refuse_once(world, monkeypatch)
    world.deliver(world.messages.waiting.pop(0))  # page 1: listed, then to be tried again
    retry = world.messages.waiting.pop()
    world.deliver(world.messages.waiting.pop(0))  # page 2, all of it
    del world.source.entities[0]  # what follows slides: page 1 now ends with an entity of page 2
    world.deliver(retry)
    world.run()
    world.assert_succeeded(world.job(job.id))
    listed = {one.entity_id for one in world.indexed()}
    assert world.job(job.id).counters.listed == len(listed)


def test_a_chunk_written_late_by_a_worker_that_lost_its_page_is_mended(world: World) -> None:
    # Both workers void the marker; the late one's chunks land between the chunks and the marker
    # of the one that took over, and then it dies.
    world.source = ListSource([article(1, words=300)])
    world.reindex()
    world.source.entities[0] = article(1, body="late " * 300)
    job = world.request()
    world.deliver(world.messages.waiting.pop(0))
    upsert = world.store.upsert
    late: list[Sequence[Point]] = []

    class Killed(BaseException):
        pass

    def second_writer(partition: Partition, points: Sequence[Point]) -> None:
        if any(point.chunk == 0 for point in points):
            upsert(partition, late.pop())
        upsert(partition, points)

    def first_writer(partition: Partition, points: Sequence[Point]) -> None:
        late.append(points)
        lapse(world)
        world.source.entities[0] = article(1, body="then " * 300)
        world.store.upsert = second_writer  # type: ignore[method-assign]
        world.deliver(("page", job.id, 0))
        raise Killed

    world.store.upsert = first_writer  # type: ignore[method-assign]
    with pytest.raises(Killed):
        world.deliver(world.messages.waiting.pop(0))
    world.store.upsert = upsert  # type: ignore[method-assign]
    world.run()
    world.assert_succeeded(world.job(job.id))
    world.assert_index_equals(world.source.entities)


def test_a_lease_on_a_finish_is_not_renewed_once_it_was_given_back(world: World) -> None:
    world.source = ListSource([article(1)])
    job = world.request()
    held: list[Callable[[], None]] = []
    heartbeat = world.runtime.heartbeat
    hold = heartbeat.hold
    heartbeat.hold = lambda renew: held.append(renew) or hold(renew)  # type: ignore[method-assign,func-returns-value]
    while world.messages.waiting[0][0] != "finish":
        world.deliver(world.messages.waiting.pop(0))
    scan = world.store.scan_markers

    def away(*_: object, **__: object) -> None:
        world.store.scan_markers = scan  # type: ignore[method-assign]
        raise StoreUnavailable

    world.store.scan_markers = away  # type: ignore[method-assign,assignment]
    world.deliver(world.messages.waiting.pop(0))
    with pytest.raises(Exception):  # noqa: B017, PT011  (whatever it is, it must refuse)
        held[-1]()  # the beat that was on its way
    world.run()
    world.assert_succeeded(world.job(job.id))


def test_a_request_that_joined_is_kept_when_the_first_one_is_refused(world: World) -> None:
    world.source = ListSource([article(1)])
    world.refresh()
    joined = []

    class Refusing(type(world.messages)):  # type: ignore[misc]
        def start_job(self, job_id: str) -> None:
            joined.append(world.request())  # meanwhile another request comes through
            raise BrokerUnavailable

    with pytest.raises(BrokerUnavailable):
        request_job(world.runtime, Refusing(), TENANT, "article")
    world.run()
    world.assert_succeeded(world.job(joined[0].id))


def test_a_value_that_the_store_cannot_hold_fails_its_entity_alone(
    tmp_path: Path, redis_url: str, qdrant_server: servers.QdrantServer
) -> None:
    world = World(
        home=tmp_path,
        database_url=f"sqlite:///{tmp_path / 'catalog.sqlite'}",
        redis_url=redis_url,
        store=open_server(qdrant_server.url),
    )
    world.entity_type = declared(
        filter_fields=(FilterField("size", FilterType.INTEGER),), own_collection=True
    )
    sizes = (1, 10**30, 3, -(2**63) - 1)
    world.source = ListSource([article(number, size=size) for number, size in enumerate(sizes)])
    job = world.reindex()
    world.close()
    assert (job.state, job.message) == (JobState.SUCCEEDED, "")
    assert (job.counters.indexed, job.counters.failed) == (2, 2)
