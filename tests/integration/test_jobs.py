"""Jobs from request to end, message by message, on local mode and on a Qdrant server."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from harness import NAME, TENANT, ListSource, World, article

from celeriac.catalog.jobs import JobState
from celeriac.embedding.base import Vectors
from celeriac.embedding.stub import StubEmbedder
from celeriac.errors import ModelError, SourceError, SourceUnavailable, StoreUnavailable
from celeriac.lately import Lately
from celeriac.model import Counters, Entity, EntityFailure, Splitting
from celeriac.plan import plan
from celeriac.store.opening import open_local


def test_requests_that_join_a_job_announce_it_once_a_moment(world: World) -> None:
    first = world.request()
    assert {world.request().id for _ in range(5)} == {first.id}
    assert world.messages.waiting == [("start", first.id, 0)]

    world.runtime.announced = Lately(0)  # the moment has passed
    world.request()
    assert len(world.messages.waiting) == 2


def test_a_reindex_makes_the_index_equal_the_source(world: World) -> None:
    entities = [article(number, words=number * 7) for number in range(35)]
    world.source = ListSource(entities)
    job = world.reindex()
    world.assert_succeeded(job)
    world.assert_index_equals(entities)
    assert job.counters.listed == job.counters.indexed == 35
    assert job.counters.chunks == job.counters.embedded == len(world.indexed())


def test_an_empty_source_gives_an_empty_index(world: World) -> None:
    world.source = ListSource([])
    job = world.reindex()
    world.assert_succeeded(job)
    world.assert_index_equals([])


def test_a_second_reindex_embeds_nothing(world: World) -> None:
    world.source = ListSource([article(number, words=90) for number in range(25)])
    world.reindex()
    job = world.reindex()
    world.assert_succeeded(job)
    assert (job.counters.unchanged, job.counters.embedded) == (25, 0)


def test_changes_additions_and_removals_are_followed(world: World) -> None:
    before = [article(number, words=150) for number in range(30)]
    world.source = ListSource(before)
    world.reindex()
    after = before[2:]
    after[3] = article(5, words=400)
    after[4] = article(6, words=3)
    after.append(article(99))
    world.source = ListSource(after)
    job = world.reindex()
    world.assert_succeeded(job)
    world.assert_index_equals(after)
    assert (job.counters.indexed, job.counters.unchanged, job.counters.removed) == (3, 26, 2)


def test_only_chunks_whose_text_changed_are_embedded_again(world: World) -> None:
    paragraphs = ["\n\n".join(f"{number} " + "word " * 80 for number in range(8))]
    world.source = ListSource([article(1, body=paragraphs[0]), article(2)])
    first = world.reindex()
    changed = paragraphs[0].replace("7 word", "7 other word", 1)
    entities = [article(1, body=changed), article(2)]
    world.source = ListSource(entities)
    job = world.reindex()
    world.assert_succeeded(job)
    world.assert_index_equals(entities)
    assert job.counters.indexed == 1
    assert 0 < job.counters.embedded < first.counters.embedded - 1


def test_a_change_of_metadata_alone_embeds_nothing(world: World) -> None:
    world.source = ListSource([article(1, code="old"), article(2)])
    world.reindex()
    entities = [article(1, code="new"), article(2)]
    world.source = ListSource(entities)
    job = world.reindex()
    world.assert_succeeded(job)
    world.assert_index_equals(entities)
    assert (job.counters.indexed, job.counters.embedded) == (1, 0)


def test_poison_is_reported_and_the_rest_is_indexed(world: World) -> None:
    sound = [article(number) for number in range(12)]
    poison = [
        Entity("binary", {"title": b"\x00\x01"}),
        Entity("nul", {"title": "a\0b"}),
        Entity("surrogate", {"title": "\ud800"}),
        Entity("structure", {"title": object()}),
        Entity("empty", {"title": "  "}),
        Entity("filter", {"title": "x", "code": ["a"]}),
    ]
    world.source = ListSource([*sound[:6], *poison, *sound[6:]])
    world.source.failures[0] = EntityFailure(None, "MissingId", "page 0, position 3: no id")
    job = world.reindex()
    world.assert_succeeded(job)
    world.assert_index_equals(sound)
    assert (job.counters.indexed, job.counters.failed) == (12, 7)
    errors = world.runtime.catalog.job_errors.first(job.id)
    assert {error.entity_id for error in errors} == {None, *(one.id for one in poison)}
    assert {error.error_class for error in errors if error.entity_id == "empty"} == {"EmptyText"}


def test_a_text_that_the_model_cannot_embed_is_isolated(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed = StubEmbedder.embed

    def poisoned(self: StubEmbedder, texts: Sequence[str]) -> Vectors:
        if any("word5x" in text for text in texts):
            raise ModelError("CUDA assertion")
        vectors = embed(self, texts)
        vectors[["word7x" in text for text in texts]] = float("nan")
        return vectors

    monkeypatch.setattr(StubEmbedder, "embed", poisoned)
    world.source = ListSource([article(number) for number in range(12)])
    job = world.reindex()
    world.assert_succeeded(job)
    world.assert_index_equals([article(number) for number in range(12) if number not in (5, 7)])
    errors = world.runtime.catalog.job_errors.first(job.id)
    assert {(error.entity_id, error.error_class) for error in errors} == {
        ("a5", "ModelError"),
        ("a7", "ModelError"),
    }


def test_a_job_in_which_nothing_could_be_indexed_fails(world: World) -> None:
    world.source = ListSource([Entity(f"e{number}", {"name": "x"}) for number in range(3)])
    job = world.reindex()
    assert job.state == JobState.FAILED
    assert "None of the 3 listed entities could be indexed" in job.message
    assert "EmptyText" in job.message


def test_an_entity_that_fails_now_keeps_what_was_indexed_of_it(world: World) -> None:
    world.source = ListSource([article(number) for number in range(10)])
    world.reindex()
    world.source.entities[4] = Entity("a4", {"title": "\0"})
    job = world.reindex()
    world.assert_succeeded(job)
    world.assert_index_equals([article(number) for number in range(10)])
    assert job.counters.failed == 1


def test_an_entity_whose_text_went_away_leaves_the_index(world: World) -> None:
    world.source = ListSource([article(number, words=300) for number in range(5)])
    world.reindex()
    world.source.entities[2] = Entity("a2", {"title": "", "body": None})
    job = world.reindex()
    world.assert_succeeded(job)
    world.assert_index_equals([article(number, words=300) for number in (0, 1, 3, 4)])


def test_the_first_of_two_entities_with_one_id_is_indexed(world: World) -> None:
    entities = [article(number) for number in range(25)]
    entities[23] = article(3, words=77)
    world.source = ListSource(entities)
    job = world.reindex()
    world.assert_succeeded(job)
    world.assert_index_equals([article(number) for number in range(25) if number != 23])
    errors = world.runtime.catalog.job_errors.first(job.id)
    assert [(error.entity_id, error.error_class) for error in errors] == [("a3", "DuplicateId")]
    assert job.counters.listed == 24


@pytest.mark.parametrize("seed", range(3))
def test_messages_in_any_order_and_twice_change_nothing(world: World, seed: int) -> None:
    entities = [article(number, words=60) for number in range(47)]
    world.source = ListSource(entities, page_size=5)
    job = world.request()
    world.run(twice=True, shuffle=random.Random(seed))
    job = world.job(job.id)
    world.assert_succeeded(job)
    world.assert_index_equals(entities)
    assert (job.counters.listed, job.counters.indexed) == (47, 47)


def test_lost_messages_are_sent_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celeriac.jobs.SILENCE", -1.0)
    entities = [article(number) for number in range(33)]
    world.source = ListSource(entities, page_size=10)
    job = world.request()
    for _ in range(20):
        world.messages.waiting.clear()  # an emptied Redis
        world.jobs.recover()
        if world.messages.waiting:
            world.deliver(world.messages.waiting.pop(0))
    assert world.job(job.id).state == JobState.SUCCEEDED
    world.assert_index_equals(entities)


def test_a_cancelled_job_writes_no_more_and_the_next_one_starts(world: World) -> None:
    world.source = ListSource([article(number) for number in range(30)])
    job = world.request()
    world.source.before_page = lambda number: number == 1 and world.jobs.cancel(job.id)  # type: ignore[assignment,return-value]
    waiting = world.request()
    assert waiting.id == job.id
    world.deliver(world.messages.waiting.pop(0))
    waiting = world.request()
    assert waiting.id != job.id
    world.run()
    assert world.job(job.id).state == JobState.CANCELLED
    assert world.job(job.id).counters.listed == 10
    world.assert_succeeded(world.job(waiting.id))
    world.assert_index_equals(world.source.entities)


def test_a_source_that_refuses_fails_the_job_and_nothing_is_removed(world: World) -> None:
    world.source = ListSource([article(number) for number in range(30)])
    world.reindex()

    def refuse(number: int) -> None:
        if number == 2:
            raise SourceError("HTTP 403: the key may not list products")

    world.source = ListSource([article(number) for number in range(30)], before_page=refuse)
    job = world.reindex()
    assert job.state == JobState.FAILED
    assert "HTTP 403" in job.message
    world.assert_index_equals([article(number) for number in range(30)])


@pytest.mark.parametrize("when", ["planning", "listing", "later", "one entity"])
def test_what_an_error_says_can_always_be_recorded(
    database_url: str, redis_url: str, tmp_path: Path, when: str
) -> None:
    """The name of a file may be no text, and what is quoted of it binary."""
    world = World(
        home=tmp_path, database_url=database_url, redis_url=redis_url, store=open_local(None)
    )
    said = SourceError("caf\udce9.parquet is not a whole file: \0")

    def refuse(_: int) -> None:
        if when == "later":
            raise SourceUnavailable(str(said))
        raise said

    world.source = ListSource([article(1)])
    if when == "one entity":
        world.source.failures[0] = EntityFailure.of("a9", said)
    elif when != "planning":
        world.source.before_page = refuse
    job = world.request()
    if when == "planning":
        world.store.ensure_collection = lambda *_: refuse(0)  # type: ignore[method-assign]
    for _ in range(2):
        if world.messages.waiting:
            world.deliver(world.messages.waiting.pop(0))
    found = world.job(job.id)
    recorded = {
        "one entity": lambda: world.runtime.catalog.job_errors.first(job.id)[0].message,
        "later": lambda: world.runtime.catalog.pages.troubles(job.id)[0].message,
    }.get(when, lambda: found.message)()
    assert "caf\\udce9.parquet is not a whole file: \\0" in recorded
    ended = JobState.FAILED if when in ("planning", "listing") else None
    assert ended in (None, found.state)
    world.close()


def test_a_source_that_is_away_for_a_while_delays_the_job(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celeriac.paging._delay", lambda _: 0.0)
    failing = iter([True, True, False, True])

    def flaky(_: int) -> None:
        if next(failing, False):
            raise SourceUnavailable("HTTP 502")

    entities = [article(number) for number in range(30)]
    world.source = ListSource(entities, before_page=flaky)
    job = world.reindex()
    world.assert_succeeded(job)
    world.assert_index_equals(entities)


def test_a_page_that_keeps_failing_fails_the_job_with_its_reason(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celeriac.paging._delay", lambda _: 0.0)
    monkeypatch.setattr("celeriac.paging.RETRY_FOR", 0.05)

    def away(_: int) -> None:
        raise SourceUnavailable("HTTP 502 of the shop")

    world.source = ListSource([article(1)], before_page=away)
    job = world.reindex()
    assert job.state == JobState.FAILED
    assert "HTTP 502 of the shop" in job.message


def test_a_page_that_brings_its_workers_down_fails_the_job(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celeriac.paging.LEASE", -1.0)

    class Killed(BaseException):
        pass

    def kill(_: int) -> None:
        raise Killed

    world.source = ListSource([article(1)], before_page=kill)
    job = world.request()
    world.deliver(world.messages.waiting.pop(0))
    for _ in range(6):
        with pytest.raises(Killed):
            world.deliver(("page", job.id, 0))
    world.deliver(("page", job.id, 0))
    assert world.job(job.id).state == JobState.FAILED
    assert "brought its worker down 6 times" in world.job(job.id).message


def test_mass_removal_is_refused_until_it_is_confirmed(world: World) -> None:
    world.source = ListSource([article(number) for number in range(30)])
    world.reindex()
    world.source = ListSource([article(number) for number in range(10)])
    job = world.reindex()
    assert job.state == JobState.FAILED
    assert "20 of the 30 indexed entities" in job.message
    world.assert_index_equals([article(number) for number in range(30)])

    job = world.reindex(removal_limit=1.0)
    world.assert_succeeded(job)
    assert job.counters.removed == 20
    world.assert_index_equals([article(number) for number in range(10)])


def test_texts_that_all_went_away_are_a_mass_removal_too(world: World) -> None:
    entities = [article(number) for number in range(30)]
    world.source = ListSource(list(entities))
    world.reindex()
    emptied = [Entity(one.id, {"code": "c1"}) for one in entities]
    world.source = ListSource(emptied)
    assert world.reindex().state == JobState.FAILED
    world.assert_index_equals(entities)

    world.source = ListSource([*entities[:10], *emptied[10:]])
    assert plan(world.runtime, TENANT, NAME).removal_refused
    job = world.reindex()
    assert job.state == JobState.FAILED
    assert "20 of the 30 indexed entities" in job.message
    assert "no text" in job.message
    world.assert_index_equals(entities)

    job = world.reindex(removal_limit=1.0)
    world.assert_succeeded(job)
    assert (job.counters.failed, job.counters.removed) == (20, 0)
    world.assert_index_equals(entities[:10])


def test_an_entity_that_slid_past_the_listing_is_not_removed(world: World) -> None:
    entities = [article(number) for number in range(30)]
    world.source = ListSource(list(entities), stable_listing=False)
    world.reindex()

    def shrink(number: int) -> None:
        # After the first page was read its first entity goes: what follows slides up by one, and
        # the eleventh entity stands on a page that was read already.
        if number == 1 and len(world.source.entities) == 30:
            del world.source.entities[0]

    world.source.before_page = shrink
    job = world.reindex()
    world.assert_succeeded(job)
    assert job.counters.removed == 0
    world.assert_index_equals(entities)  # the first one was there when it was listed
    assert world.runtime.catalog.job_errors.first(job.id) == []

    job = world.reindex()
    world.assert_succeeded(job)
    assert job.counters.removed == 1
    world.assert_index_equals(entities[1:])


def test_another_splitting_is_built_beside_the_live_generation(world: World) -> None:
    entities = [article(number, words=200) for number in range(15)]
    world.source = ListSource(entities)
    world.reindex()
    world.assert_index_equals(entities)
    first = world.partition()

    def watch(number: int) -> None:
        if number == 1:
            assert world.partition() == first

    world.source.before_page = watch
    world.declare(splitting=Splitting(chunk_size=150))
    job = world.reindex()
    world.assert_succeeded(job)
    assert job.generation == 2
    assert world.partition().generation == 2
    world.assert_index_equals(entities)
    assert world.store.count(first) > 0, "the generation before is kept for a way back"

    world.source.before_page = None
    world.declare(splitting=Splitting(chunk_size=120))
    world.reindex()
    assert world.partition().generation == 3
    assert world.store.count(first) == 0, "older ones are removed"


def test_what_a_crash_left_behind_is_removed(world: World) -> None:
    # A first writing that died before the marker, of an entity that the source then lost.
    world.source = ListSource([article(number, words=300) for number in range(3)])
    die = iter([False, False, True])
    job = world.request()
    upsert = world.store.upsert

    class Killed(BaseException):
        pass

    def upsert_and_die(partition, points):  # type: ignore[no-untyped-def]
        if any(point.chunk == 0 for point in points):
            raise Killed
        upsert(partition, points)

    world.deliver(world.messages.waiting.pop(0))
    world.store.upsert = upsert_and_die  # type: ignore[method-assign]
    with pytest.raises(Killed):
        world.run()
    world.store.upsert = upsert  # type: ignore[method-assign]
    next(die)
    world.runtime.catalog.jobs.cancel(job.id)
    with world.runtime.catalog.database.write() as connection:
        connection.exec_driver_sql("UPDATE pages SET lease_until = 0")

    entities = [article(1, words=300)]
    world.source = ListSource(entities)
    job = world.reindex()
    world.assert_succeeded(job)
    world.assert_index_equals(entities)


def test_a_store_that_is_away_while_planning_leaves_the_job_to_recovery(world: World) -> None:
    world.source = ListSource([article(1)])
    job = world.request()
    ensure = world.store.ensure_collection

    def away(*_: object) -> None:
        raise StoreUnavailable

    world.store.ensure_collection = away  # type: ignore[method-assign]
    world.run()
    assert world.job(job.id).state == JobState.RUNNING
    world.store.ensure_collection = ensure  # type: ignore[method-assign]
    world.jobs.recover()
    world.run()
    world.assert_succeeded(world.job(job.id))


def test_a_worker_with_another_configuration_writes_nothing(world: World) -> None:
    world.source = ListSource([article(number) for number in range(20)])
    job = world.request()
    world.deliver(world.messages.waiting.pop(0))
    world.declare(splitting=Splitting(chunk_size=150))
    world.run()
    assert world.job(job.id).state == JobState.FAILED
    assert "changed while the job ran" in world.job(job.id).message


def test_a_worker_with_another_source_does_not_go_on_with_a_listing(world: World) -> None:
    """While a configuration is rolled out, say: what lies before the cursor there is never read."""
    entities = [article(number) for number in range(40)]
    world.source = ListSource(list(entities))
    world.assert_succeeded(world.reindex())
    job = world.request()
    world.deliver(world.messages.waiting.pop(0))
    world.deliver(world.messages.waiting.pop(0))
    moved = [article(number) for number in range(35)]
    world.source = ListSource([*(article(100 + number) for number in range(5)), *moved])
    world.entity_type = replace(world.entity_type, source={"kind": "files", "path": "/new"})
    world.refresh()
    world.run()
    assert world.job(job.id).state == JobState.FAILED
    assert "differs between workers" in world.job(job.id).message
    world.assert_index_equals(entities)
    job = world.reindex()
    world.assert_succeeded(job)
    world.assert_index_equals(world.source.entities)


def test_progress_is_live_in_redis(world: World) -> None:
    world.source = ListSource([article(number) for number in range(20)])
    job = world.reindex()
    picture = world.runtime.progress.picture(job.id)
    assert picture is not None
    assert (picture.job, picture.in_hand) == (job, Counters())
