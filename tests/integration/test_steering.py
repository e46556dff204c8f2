"""Jobs that are paused, throttled, given priorities, and that share threads with others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from harness import NAME, TENANT, ListSource, Message, Messages, World, article
from oracle import expected_chunks, indexed_chunks
from sqlalchemy import select, update

from celeriac.audit import audit
from celeriac.catalog import Catalog
from celeriac.catalog.indexes import index_id_of
from celeriac.catalog.jobs import Job, JobState
from celeriac.catalog.tables import jobs
from celeriac.configuration import Configuration, Tenant
from celeriac.embedding import registry
from celeriac.errors import Conflict, NotFound, SourceUnavailable, StoreUnavailable
from celeriac.jobs import request_job
from celeriac.model import Counters, Entity, Partition, Priority
from celeriac.runtime import Runtime
from celeriac.steering import Steering
from celeriac.store.base import Point, VectorStore
from celeriac.store.opening import open_local

LEASE = 60.0
ENTITIES = [article(number, words=300) for number in range(30)]


# The bucket, on both databases.


@pytest.fixture(params=["sqlite", "postgresql"])
def catalog(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Catalog]:
    url = f"sqlite:///{tmp_path / 'catalog.sqlite'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    catalog = Catalog(url)
    catalog.migrate()
    yield catalog
    catalog.close()


def running(catalog: Catalog, entity_type: str = "product", tenant: str = "acme") -> Job:
    index_id = index_id_of(tenant, entity_type)
    job = catalog.requests.queue(index_id, tenant, entity_type).job
    taken = catalog.jobs.take_up(job.id)
    assert taken is not None
    catalog.pages.add(job.id, 0, None)
    return taken


def next_at(catalog: Catalog, job: Job) -> float:
    with catalog.database.read() as connection:
        found = connection.execute(select(jobs.c.next_at).where(jobs.c.id == job.id)).scalar_one()
    return float(found)


def set_next_at(catalog: Catalog, job: Job, moment: float) -> None:
    with catalog.database.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job.id).values(next_at=moment))


def test_without_a_throttle_nothing_is_charged(catalog: Catalog) -> None:
    job = running(catalog)
    assert catalog.steering.charge(job.id, 1_000) == 0.0
    assert catalog.steering.throttled_for(job.id) == 0.0


def test_a_page_costs_the_time_its_entities_take_at_the_rate(catalog: Catalog) -> None:
    job = running(catalog)
    assert catalog.steering.throttle(job.id, 50)
    first = catalog.steering.charge(job.id, 5_000)
    assert 90 < first <= 100
    begin = next_at(catalog, job)
    catalog.steering.charge(job.id, 250)
    assert next_at(catalog, job) - begin == pytest.approx(5.0, abs=1e-4)
    assert catalog.pages.claim(job.id, 0, LEASE) is None


def test_charges_of_many_workers_add_up(catalog: Catalog) -> None:
    job = running(catalog)
    catalog.steering.throttle(job.id, 0.5)
    catalog.steering.charge(job.id, 1_000)
    begin = next_at(catalog, job)
    with ThreadPoolExecutor(8) as workers:
        list(workers.map(lambda _: catalog.steering.charge(job.id, 3), range(40)))
    assert next_at(catalog, job) - begin == pytest.approx(40 * 3 / 0.5, abs=1e-3)


def test_who_comes_late_makes_up_for_it_but_not_for_hours(catalog: Catalog) -> None:
    job = running(catalog)
    catalog.steering.throttle(job.id, 100)
    catalog.steering.charge(job.id, 100)
    late = next_at(catalog, job) - 2.0  # one second ago it might have gone on
    set_next_at(catalog, job, late)
    catalog.steering.charge(job.id, 100_000)
    assert next_at(catalog, job) == pytest.approx(late + 1_000, abs=1e-3)
    set_next_at(catalog, job, late - 3_600)
    assert 990 < catalog.steering.charge(job.id, 100_000) < 1_000


def test_another_rate_holds_at_once_in_both_directions(catalog: Catalog) -> None:
    job = running(catalog)
    catalog.steering.throttle(job.id, 1)
    wait = catalog.steering.charge(job.id, 3_600)
    catalog.steering.throttle(job.id, 100)
    assert catalog.steering.throttled_for(job.id) <= wait / 100
    catalog.steering.throttle(job.id, 10)
    assert wait / 100 < catalog.steering.throttled_for(job.id) <= wait / 10
    assert catalog.pages.claim(job.id, 0, LEASE) is None
    catalog.steering.throttle(job.id, None)
    assert catalog.steering.throttled_for(job.id) == 0.0
    assert catalog.pages.claim(job.id, 0, LEASE) is not None


def test_a_pause_keeps_pages_and_finish_from_being_taken(catalog: Catalog) -> None:
    job = running(catalog)
    assert catalog.steering.pause(job.id)
    assert not catalog.steering.pause(job.id)
    assert catalog.pages.claim(job.id, 0, LEASE) is None
    assert not catalog.jobs.claim_finish(job.id, "token", LEASE)
    assert catalog.steering.resume(job.id)
    assert not catalog.steering.resume(job.id)
    assert catalog.pages.claim(job.id, 0, LEASE) is not None
    assert catalog.jobs.claim_finish(job.id, "token", LEASE)


def test_only_an_active_job_is_steered(catalog: Catalog) -> None:
    job = running(catalog)
    catalog.jobs.cancel(job.id)
    assert not catalog.steering.pause(job.id)
    assert not catalog.steering.throttle(job.id, 1)
    assert not catalog.steering.prioritise(job.id, Priority.HIGH)


def test_time_paused_is_not_time_run(catalog: Catalog) -> None:
    job = running(catalog)
    catalog.steering.pause(job.id)
    with catalog.database.write() as connection:
        long_ago = {"started_at": jobs.c.started_at - 5_000, "paused_at": jobs.c.paused_at - 4_000}
        connection.execute(update(jobs).values(long_ago))
    paused = get(catalog, job)
    assert paused.started_at is not None
    assert paused.seconds(paused.started_at + 100_000) == pytest.approx(1_000, abs=100)
    catalog.steering.resume(job.id)
    resumed = get(catalog, job)
    assert resumed.paused_seconds == pytest.approx(4_000, abs=100)
    assert resumed.seconds(paused.started_at + 5_000) == pytest.approx(1_000, abs=100)
    assert catalog.jobs.running_for(job.id) < 1_000


def test_standings_say_what_every_active_job_has_and_waits_for(catalog: Catalog) -> None:
    holding, paused, throttled = (running(catalog, name) for name in ("a", "b", "c"))
    queued = catalog.requests.queue(holding.index_id, "acme", "a").job
    ended = running(catalog, "d")
    catalog.jobs.cancel(ended.id)
    assert catalog.pages.claim(holding.id, 0, LEASE)
    catalog.steering.pause(paused.id)
    catalog.steering.throttle(throttled.id, 1)
    catalog.steering.charge(throttled.id, 100)
    catalog.steering.prioritise(throttled.id, Priority.HIGH)

    found = {one.job_id: one for one in catalog.standings.now()}
    assert set(found) == {holding.id, paused.id, throttled.id, queued.id}
    assert (found[holding.id].held, found[holding.id].waiting) == (1, 0)
    assert (found[paused.id].waiting, found[paused.id].paused) == (1, True)
    assert 0 < found[throttled.id].throttled_for <= 100
    assert found[throttled.id].waited == 0
    assert found[throttled.id].priority == Priority.HIGH
    assert (found[queued.id].state, found[queued.id].behind) == (JobState.QUEUED, holding.id)
    assert [one.job_id for one in found.values() if one.open] == []


def get(catalog: Catalog, job: Job) -> Job:
    found = catalog.jobs.get(job.id)
    assert found is not None
    return found


# Jobs in one process, message by message.


class Timed(Messages):
    """Remembers with what delay each page was sent last."""

    def __init__(self) -> None:
        super().__init__()
        self.delays: dict[str, float] = {}

    def index_page(self, job_id: str, number: int, *, delay: float = 0) -> None:
        super().index_page(job_id, number, delay=delay)
        self.delays[job_id] = delay


class Town(World):
    """A world with more tenants and entity types, all declared alike."""

    def __init__(self, **servers: Any) -> None:
        super().__init__(**servers)
        self.messages: Timed = Timed()
        self.others: dict[tuple[str, str], ListSource] = {}
        self.changes: dict[str, Any] = {}

    def refresh(self) -> None:
        self.entity_type = replace(self.entity_type, **self.changes)
        sources = {(TENANT, NAME): self.source, **self.others}
        tenants: dict[str, Tenant] = {}
        for (tenant, name), source in sources.items():
            declared = replace(self.entity_type, tenant=tenant, name=name)
            types = tenants[tenant].entity_types if tenant in tenants else {}
            tenants[tenant] = Tenant(tenant, {**types, name: declared})
            self.runtime.preset(source=(declared, source))
        configuration = Configuration(tenants, registry.BUILTIN, Path("test.yaml"))
        self.runtime.settings = replace(self._settings, configuration=configuration)

    def request_of(self, tenant: str, name: str = NAME) -> Job:
        self.refresh()
        return request_job(self.runtime, self.messages, tenant, name).job

    @property
    def steering(self) -> Steering:
        return Steering(self.runtime, self.messages)

    def next(self) -> Message:
        """Deliver the first message; what it was."""
        message = self.messages.waiting.pop(0)
        self.deliver(message)
        return message

    def begun(self, pages: int = 1) -> Job:
        """A job of which so many pages were delivered."""
        job = self.request()
        for _ in range(1 + pages):
            self.next()
        return self.job(job.id)

    def held(self) -> int:
        return sum(one.held for one in self.runtime.catalog.standings.now())

    def assert_holds(self, job: Job, entities: Sequence[Entity]) -> None:
        declared = self.runtime.entity_type(job.tenant, job.entity_type)
        live = self.runtime.catalog.indexes.live(job.index_id)
        assert live is not None
        assert indexed_chunks(self.store, live.partition) == expected_chunks(declared, entities)


@pytest.fixture
def store() -> Iterator[VectorStore]:
    store = open_local(None)
    yield store
    store.close()


@pytest.fixture
def town(store: VectorStore, tmp_path: Path, redis_url: str) -> Iterator[Town]:
    town = Town(
        home=tmp_path,
        database_url=f"sqlite:///{tmp_path / 'catalog.sqlite'}",
        redis_url=redis_url,
        store=store,
    )
    town.source = ListSource(list(ENTITIES))
    yield town
    town.close()


@pytest.fixture
def undisturbed(town: Town) -> Counters:
    """What a job of the same entities counts when nobody steers it; its points are gone again."""
    job = town.reindex()
    town.assert_succeeded(job)
    town.store.delete_partition(town.partition())
    return job.counters


def before_write(town: Town, action: Callable[[], object], *, times: int = 1) -> list[int]:
    """Have `action` happen at the first writes; the lengths of all writes are noted."""
    upsert = town.store.upsert
    written: list[int] = []
    left = [action] * times

    def acting(partition: Partition, points: Sequence[Point]) -> None:
        if left:
            left.pop()()
        written.append(len(points))
        upsert(partition, points)

    town.store.upsert = acting  # type: ignore[method-assign]
    return written


def test_a_paused_job_writes_nothing_more_and_loses_nothing(
    town: Town, undisturbed: Counters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celeriac.indexer.GROUP_CHUNKS", 10)
    monkeypatch.setattr("celeriac.jobs.SILENCE", -1.0)
    job = town.request()
    written = before_write(town, lambda: town.steering.pause(job.id))
    town.run()
    assert town.job(job.id).state == JobState.RUNNING
    assert town.job(job.id).paused
    assert town.held() == 0
    count = len(written)
    assert count <= 2, "only the group in hand was written"
    for _ in range(3):
        town.jobs.recover()
        town.run()
    assert len(written) == count
    assert town.messages.waiting == []

    town.steering.resume(job.id)
    assert ("page", job.id, 0) in town.messages.waiting
    town.run()
    town.assert_succeeded(town.job(job.id))
    town.assert_index_equals(ENTITIES)
    assert town.job(job.id).counters == undisturbed


def test_a_job_paused_at_every_step_counts_as_one_that_never_was(
    town: Town, undisturbed: Counters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celeriac.indexer.GROUP_CHUNKS", 10)
    town.source.entities[3] = Entity("a3", {"title": " "})
    town.source.entities[17] = Entity("a17", {"title": "\0"})
    expected = town.reindex().counters
    town.store.delete_partition(town.partition())
    job = town.request()
    pauses = 0
    embedder = town.runtime.embedder("stub")
    embed = embedder.embed

    def pausing(texts: Sequence[str]) -> Any:
        nonlocal pauses
        pauses += 1
        if pauses % 3 == 1:  # an entity of two batches is embedded between two pauses
            town.steering.pause(job.id)
        return embed(texts)

    monkeypatch.setattr(embedder, "embed", pausing)
    while town.job(job.id).state in (JobState.QUEUED, JobState.RUNNING):
        town.run()
        town.steering.resume(job.id) if town.job(job.id).paused else None
    assert pauses > 10
    town.assert_succeeded(town.job(job.id))
    assert town.job(job.id).counters == expected
    assert {error.entity_id for error in town.runtime.catalog.job_errors.first(job.id)} == {
        "a3",
        "a17",
    }


def test_a_page_resumed_before_it_was_given_back_is_not_forgotten(town: Town) -> None:
    job = town.request()
    steering = town.runtime.catalog.steering
    give_back = town.runtime.catalog.pages.give_back

    def resumed_meanwhile(claim: Any) -> None:
        town.steering.resume(job.id)
        assert town.messages.waiting.count(("page", job.id, claim.number)) == 0
        give_back(claim)

    town.runtime.catalog.pages.give_back = resumed_meanwhile  # type: ignore[method-assign]
    before_write(town, lambda: steering.pause(job.id))
    town.run()
    town.assert_succeeded(town.job(job.id))


def test_a_pause_holds_over_restarts(town: Town) -> None:
    job = town.begun()
    town.steering.pause(job.id)
    town.run()
    town.runtime = Runtime(town.runtime.settings)
    town.runtime.preset(store=town.store)
    town.refresh()
    town.messages.waiting.clear()
    town.jobs.recover()
    assert town.messages.waiting == []
    town.steering.resume(job.id)
    town.run()
    town.assert_succeeded(town.job(job.id))
    town.assert_index_equals(ENTITIES)


def test_a_queued_job_that_is_paused_is_not_taken_up(town: Town) -> None:
    job = town.request()
    assert town.steering.pause(job.id).paused
    town.run()
    town.jobs.recover()
    town.run()
    assert town.job(job.id).state == JobState.QUEUED
    assert town.request().id == job.id
    town.steering.resume(job.id)
    town.run()
    town.assert_succeeded(town.job(job.id))


def test_a_paused_job_is_cancelled_at_once_and_lets_the_next_one_start(town: Town) -> None:
    job = town.begun()
    waiting = town.request()
    assert waiting.id != job.id
    town.steering.pause(job.id)
    town.run()
    assert town.job(waiting.id).state == JobState.QUEUED
    assert town.jobs.cancel(job.id).state == JobState.CANCELLED
    assert not town.job(job.id).paused
    town.run()
    town.assert_succeeded(town.job(waiting.id))
    town.assert_index_equals(ENTITIES)


def test_a_pause_holds_in_the_finish_too(town: Town) -> None:
    town.reindex()
    town.source = ListSource(ENTITIES[3:])
    job = town.request()
    scan = town.store.scan_markers

    def pausing(*arguments: Any, **options: Any) -> Any:
        town.store.scan_markers = scan  # type: ignore[method-assign]
        town.steering.pause(job.id)
        return scan(*arguments, **options)

    town.store.scan_markers = pausing  # type: ignore[method-assign]
    town.run()
    assert town.job(job.id).state == JobState.RUNNING
    assert town.held() == 0
    town.jobs.recover()
    town.run()
    assert town.job(job.id).counters.removed == 0
    town.assert_index_equals(ENTITIES)

    town.steering.resume(job.id)
    assert town.messages.waiting == [("finish", job.id, 0)]
    town.run()
    town.assert_succeeded(town.job(job.id))
    town.assert_index_equals(ENTITIES[3:])


def test_failing_before_a_pause_does_not_count_after_it(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celeriac.paging._delay", lambda _: 0.0)
    failing = iter([True, True, False])

    def flaky(_: int) -> None:
        if next(failing, False):
            raise SourceUnavailable("HTTP 502")

    town.source.before_page = flaky
    job = town.begun()
    town.steering.pause(job.id)
    with town.runtime.catalog.database.write() as connection:
        connection.exec_driver_sql("UPDATE pages SET failing_since = failing_since - 10000")
    town.steering.resume(job.id)
    town.run()
    town.assert_succeeded(town.job(job.id))


@pytest.mark.parametrize("step", ["ensure_collection", "scan_markers"])
def test_a_pause_does_not_count_while_a_step_waits_for_a_service(town: Town, step: str) -> None:
    method = getattr(town.store, step)
    job = town.request()
    failed: list[str] = []

    def away(*_: object) -> None:
        failed.append(step)
        setattr(town.store, step, method)
        raise StoreUnavailable

    setattr(town.store, step, away)
    while not failed:
        town.next()
    town.steering.pause(job.id)
    with town.runtime.catalog.database.write() as connection:
        connection.exec_driver_sql("UPDATE jobs SET started_at = started_at - 10000")
        connection.exec_driver_sql("UPDATE pages SET committed_at = committed_at - 10000")
    town.steering.resume(job.id)
    setattr(town.store, step, away)
    town.run()
    assert town.job(job.id).message == ""
    town.jobs.recover()
    town.run()
    town.assert_succeeded(town.job(job.id))


def test_a_repair_waits_while_it_is_paused(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    town.reindex()
    town.store.delete_chunks(town.partition(), [("a7", 1)])
    looks = 0

    def look_again(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks > 3:
            town.steering.resume(repair().id)

    def repair() -> Job:
        return town.runtime.catalog.jobs.recent(limit=1)[0]

    monkeypatch.setattr("celeriac.repairing.time.sleep", look_again)
    paused = iter([True])
    found = audit(
        town.runtime,
        TENANT,
        NAME,
        repair=True,
        checkpoint=lambda _: next(paused, None) and town.steering.pause(repair().id),
    )
    assert looks > 3
    assert found.equal
    town.assert_index_equals(ENTITIES)


def test_a_job_that_has_ended_is_not_steered(town: Town) -> None:
    job = town.reindex()
    steering = town.steering
    for steer in (
        steering.pause,
        steering.resume,
        lambda job_id: steering.throttle(job_id, 1.0),
        lambda job_id: steering.prioritise(job_id, Priority.HIGH),
    ):
        with pytest.raises(Conflict, match=f"Job {job.id} has succeeded; only one that is"):
            steer(job.id)
        with pytest.raises(NotFound):
            steer("nobody's")


# Throttles.


def test_a_throttled_job_waits_between_its_pages_without_failing(town: Town) -> None:
    job = town.request()
    town.steering.throttle(job.id, 0.01)
    town.next()
    town.next()  # ten entities: a thousand seconds
    assert town.messages.waiting == [("page", job.id, 1)]
    assert town.messages.delays[job.id] == 60.0
    for _ in range(8):
        assert town.next() == ("page", job.id, 1)  # too early: it is sent on
        assert town.messages.delays[job.id] == 60.0
        town.jobs.recover()
        assert town.messages.waiting == [("page", job.id, 1)]
    assert town.job(job.id).counters.listed == 10
    with town.runtime.catalog.database.write() as connection:
        connection.exec_driver_sql("UPDATE jobs SET next_at = next_at - 1000")
    town.next()
    assert town.job(job.id).counters.listed == 20


@pytest.mark.parametrize("rate", [None, 10_000.0])
def test_a_throttle_that_is_lifted_or_raised_keeps_no_page_waiting(
    town: Town, rate: float | None
) -> None:
    town.changes = {"max_entities_per_second": 0.001}
    job = town.request()
    assert job.throttle == 0.001
    town.next()
    town.next()
    town.messages.waiting.clear()  # what was put off is far away
    assert town.steering.throttle(job.id, rate).throttle == rate
    assert town.messages.waiting == [("page", job.id, 1)]
    assert town.messages.delays[job.id] < 1
    town.run()
    town.assert_succeeded(town.job(job.id))
    town.assert_index_equals(ENTITIES)


def test_a_declared_priority_and_throttle_hold_from_the_beginning(town: Town) -> None:
    town.changes = {"priority": Priority.LOW, "max_entities_per_second": 1_000_000.0}
    job = town.reindex()
    assert (job.priority, job.throttle) == (Priority.LOW, 1_000_000.0)
    town.assert_succeeded(job)


# Turns.


@pytest.fixture
def two_tenants(town: Town) -> Town:
    town.others[("best", NAME)] = ListSource(list(ENTITIES))
    return town


def listed(town: Town, job: Job) -> int:
    return town.job(job.id).counters.listed


def test_a_message_serves_whoever_waited_longest(two_tenants: Town) -> None:
    town = two_tenants
    ours, theirs = town.request_of(TENANT), town.request_of("best")
    town.next()
    town.next()
    first, second = town.messages.waiting
    assert (first[1], second[1]) == (ours.id, theirs.id)
    town.messages.waiting.reverse()
    town.next()  # a message of theirs, but ours was there before
    assert (listed(town, ours), listed(town, theirs)) == (10, 0)
    town.next()
    assert (listed(town, ours), listed(town, theirs)) == (10, 10)
    town.run()
    for job in (ours, theirs):
        town.assert_succeeded(town.job(job.id))
        town.assert_holds(town.job(job.id), ENTITIES)


def test_a_higher_priority_goes_first_from_the_moment_it_is_given(two_tenants: Town) -> None:
    town = two_tenants
    ours, theirs = town.request_of(TENANT), town.request_of("best")
    town.next()
    town.next()
    assert town.steering.prioritise(theirs.id, Priority.HIGH).priority == Priority.HIGH
    for _ in range(3):
        town.next()
    assert (listed(town, ours), listed(town, theirs)) == (0, 30)
    town.steering.prioritise(ours.id, Priority.LOW)
    town.run()
    for job in (ours, theirs):
        town.assert_succeeded(town.job(job.id))


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns are short, and whoever waits has waited for too long."""
    monkeypatch.setattr("celeriac.indexer.GROUP_CHUNKS", 10)
    monkeypatch.setattr("celeriac.turns.Turn.is_over", lambda _: True)
    monkeypatch.setattr("celeriac.turns.PASSED_OVER", 0.0)


def test_a_long_page_makes_way_and_counts_as_if_it_had_not(
    two_tenants: Town, undisturbed: Counters, hasty: None
) -> None:
    town = two_tenants
    ours, theirs = town.request_of(TENANT), town.request_of("best")
    town.next()
    town.next()
    town.next()  # a page of ours
    assert listed(town, ours) == 0
    standing = next(o for o in town.runtime.catalog.standings.now() if o.job_id == ours.id)
    assert (standing.held, standing.waiting) == (0, 2), "it was given back, and listed the next"
    town.next()
    town.run()
    for job in (ours, theirs):
        found = town.job(job.id)
        town.assert_succeeded(found)
        assert found.counters == undisturbed
        town.assert_holds(found, ENTITIES)


def test_a_page_of_a_tenant_on_its_own_makes_no_way(town: Town, hasty: None) -> None:
    town.others[(TENANT, "other")] = ListSource(list(ENTITIES))
    ours = town.request_of(TENANT)
    town.request_of(TENANT, "other")
    for _ in range(3):
        town.next()
    assert listed(town, ours) == 10


def test_a_tenant_leaves_a_thread_to_the_others(two_tenants: Town) -> None:
    town = two_tenants
    ours, theirs = town.request_of(TENANT), town.request_of("best")
    town.next()
    town.next()
    town.runtime.slots.limit = 1
    seen: list[tuple[int, int]] = []

    def meanwhile(number: int) -> None:
        town.source.before_page = None
        town.steering.prioritise(ours.id, Priority.HIGH)
        town.next()  # another thread takes the second message
        seen.append((listed(town, ours), listed(town, theirs)))
        waiting = len(town.messages.waiting)
        while town.messages.waiting:
            town.next()
        assert waiting

    town.source.before_page = meanwhile
    town.next()
    assert seen == [(0, 10)], "not a second page of ours, though it has the higher priority"
    town.run()
    town.jobs.recover()
    town.run()
    for job in (ours, theirs):
        town.assert_succeeded(town.job(job.id))


def test_messages_are_sent_again_only_where_some_are_missing(
    two_tenants: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celeriac.jobs.SILENCE", -1.0)
    town = two_tenants
    for tenant in (TENANT, "best"):
        town.request_of(tenant)
    town.next()
    town.next()
    before = list(town.messages.waiting)
    for _ in range(3):
        town.jobs.recover()
    assert town.messages.waiting == before
    del town.messages.waiting[0]
    town.jobs.recover()
    assert set(before) <= set(town.messages.waiting)
    town.run()
    for job in town.runtime.catalog.jobs.recent():
        town.assert_succeeded(job)
