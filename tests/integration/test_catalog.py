"""The catalog's promises, on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from celeriac.catalog import Catalog
from celeriac.catalog.database import Database
from celeriac.catalog.indexes import Generation, GenerationState, IndexRow, index_id_of
from celeriac.catalog.jobs import Job, JobState
from celeriac.catalog.pages import Claim
from celeriac.catalog.postgresql import PING_TIMEOUT
from celeriac.catalog.seals import leave_unlisted
from celeriac.catalog.tables import metadata
from celeriac.errors import (
    CatalogUnavailable,
    ConfigurationError,
    Conflict,
    JobStopped,
    LeaseLost,
    SourceUnavailable,
)
from celeriac.model import (
    Counters,
    EntityFailure,
    FilterField,
    FilterType,
    IndexSpec,
    ListedEntity,
    Outcome,
    Seal,
    SourceVersion,
    Splitting,
    SplittingMethod,
    TextField,
)

LEASE = 60.0


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'catalog.sqlite'}"
    found: str = request.getfixturevalue("postgres_url")
    return found


@pytest.fixture
def catalog(url: str) -> Iterator[Catalog]:
    catalog = Catalog(url)
    catalog.migrate()
    yield catalog
    catalog.close()


def spec(**changes: object) -> IndexSpec:
    values: dict[str, object] = {
        "model": "stub",
        "model_digest": "d",
        "dimension": 384,
        "splitting": Splitting(),
        "text_fields": (TextField("title"),),
    }
    return IndexSpec(**{**values, **changes})  # type: ignore[arg-type]


def queued(catalog: Catalog, entity_type: str = "product") -> Job:
    index_id = index_id_of("acme", entity_type)
    return catalog.requests.queue(index_id, "acme", entity_type).job


def index_of(catalog: Catalog, entity_type: str = "product") -> str:
    """An index over which no job runs or waits."""
    job = queued(catalog, entity_type)
    catalog.jobs.cancel(job.id)
    return job.index_id


def running(catalog: Catalog, entity_type: str = "product") -> Job:
    job = catalog.jobs.take_up(queued(catalog, entity_type).id)
    assert job is not None
    catalog.pages.add(job.id, 0, None)
    return job


def claimed(catalog: Catalog, job: Job, number: int = 0, lease: float = LEASE) -> Claim:
    claim = catalog.pages.claim(job.id, number, lease)
    assert claim is not None
    return claim


def test_migrations_give_the_tables_as_they_are_declared(catalog: Catalog) -> None:
    with catalog.database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_several_processes_may_migrate_at_once(url: str) -> None:
    catalogs = [Catalog(url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(Catalog.migrate, catalogs))
    catalogs[0].jobs.recent()
    for catalog in catalogs:
        catalog.close()


def test_several_may_open_a_new_sqlite_database_at_once(tmp_path: Path) -> None:
    # SQLite's switch to the write-ahead log does not wait for others by itself.
    for number in range(30):
        catalogs = [Catalog(f"sqlite:///{tmp_path / f'{number}.sqlite'}") for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(Catalog.ping, catalogs))
        for catalog in catalogs:
            catalog.close()


def test_what_is_read_of_a_whole_job_may_take_longer(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celeriac.catalog.database.STATEMENT_TIMEOUT", 1)
    catalog = Catalog(postgres_url)
    longer = sqlalchemy.text("SELECT pg_sleep(1.5)")
    with catalog.database.unhurried() as connection:
        connection.execute(longer)
    with pytest.raises(CatalogUnavailable), catalog.database.read() as connection:
        connection.execute(longer)
    catalog.close()


def test_concurrent_requests_make_one_job(catalog: Catalog) -> None:
    index_id = index_id_of("acme", "product")
    with ThreadPoolExecutor(8) as pool:
        requests = list(
            pool.map(lambda _: catalog.requests.queue(index_id, "acme", "product"), range(16))
        )
    assert len({request.job.id for request in requests}) == 1
    assert [request.joined for request in requests].count(False) == 1


def test_one_job_runs_one_waits_the_rest_join(catalog: Catalog) -> None:
    first = running(catalog)
    second = queued(catalog)
    assert second.id != first.id
    assert queued(catalog).id == second.id
    assert catalog.jobs.take_up(second.id) is None

    catalog.jobs.cancel(first.id)

    assert catalog.jobs.take_up(second.id) is not None


def test_taking_up_a_job_raises_its_epoch_once(catalog: Catalog) -> None:
    job = queued(catalog)
    with ThreadPoolExecutor(8) as pool:
        taken = [found for found in pool.map(catalog.jobs.take_up, [job.id] * 8) if found]
    assert [found.epoch for found in taken] == [1]


def test_a_page_is_held_by_one_worker(catalog: Catalog) -> None:
    job = running(catalog)
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda _: catalog.pages.claim(job.id, 0, LEASE), range(8)))
    assert len([claim for claim in claims if claim is not None]) == 1


def test_an_expired_lease_is_taken_over_and_its_holder_writes_nothing(catalog: Catalog) -> None:
    job = running(catalog)
    slow = claimed(catalog, job, lease=0.05)
    time.sleep(0.2)
    fast = claimed(catalog, job)

    with pytest.raises(LeaseLost):
        catalog.pages.renew(slow, LEASE)
    with pytest.raises(LeaseLost):
        catalog.pages.commit(slow, Counters(listed=1), [], [], is_last=True)
    catalog.pages.commit(fast, Counters(listed=1), [], [], is_last=True)

    found = catalog.jobs.get(job.id)
    assert found is not None
    assert found.counters.listed == 1
    assert fast.claims == 2


def test_a_page_committed_twice_counts_once(catalog: Catalog) -> None:
    job = running(catalog)
    claim = claimed(catalog, job)
    failure = EntityFailure("a", "NotText", "no")
    catalog.pages.commit(claim, Counters(listed=3, chunks=7), [], [failure], is_last=True)
    with pytest.raises(LeaseLost):
        catalog.pages.commit(claim, Counters(listed=3, chunks=7), [], [failure], is_last=True)

    found = catalog.jobs.get(job.id)
    assert found is not None
    assert (found.counters.listed, found.counters.chunks) == (3, 7)
    assert catalog.job_errors.first(job.id) == [failure]
    assert catalog.pages.claim(job.id, 0, LEASE) is None


def test_nothing_is_committed_for_a_job_that_was_cancelled(catalog: Catalog) -> None:
    job = running(catalog)
    claim = claimed(catalog, job)
    catalog.jobs.cancel(job.id)
    with pytest.raises(JobStopped):
        catalog.pages.renew(claim, LEASE)
    with pytest.raises(JobStopped):
        catalog.pages.commit(claim, Counters(listed=1), [], [], is_last=True)
    found = catalog.jobs.get(job.id)
    assert found is not None
    assert (found.state, found.counters.listed) == (JobState.CANCELLED, 0)


def test_listing_a_page_adds_the_next_and_names_what_came_before(catalog: Catalog) -> None:
    job = running(catalog)
    a, b, c = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
    first = claimed(catalog, job)
    assert catalog.pages.list_entities(first, {a: "f", b: None}, "next") == set()
    second = claimed(catalog, job, 1)
    assert second.cursor == "next"
    assert catalog.pages.list_entities(second, dict.fromkeys([b, c]), None) == {b}
    # Run once more, the page may list something else.
    assert catalog.pages.list_entities(second, {a: "f"}, None) == {a}


def test_a_job_is_done_when_its_last_page_is_known_and_all_are_committed(catalog: Catalog) -> None:
    job = running(catalog)
    first = claimed(catalog, job)
    catalog.pages.list_entities(first, {}, "next")
    second = claimed(catalog, job, 1)
    catalog.pages.commit(second, Counters(), [], [], is_last=True)
    assert not catalog.rounds.all_done(job.id)
    catalog.pages.commit(first, Counters(), [], [], is_last=False)
    assert catalog.rounds.all_done(job.id)


def test_a_second_round_has_to_be_complete_too(catalog: Catalog) -> None:
    job = running(catalog)
    catalog.pages.commit(claimed(catalog, job), Counters(), [], [], is_last=True)
    assert catalog.rounds.begin_second_round(job.id) == 1
    assert catalog.rounds.begin_second_round(job.id) is None
    assert not catalog.rounds.all_done(job.id)
    again = claimed(catalog, job, 1)
    assert again.round == 2
    catalog.pages.commit(again, Counters(), [], [], is_last=True)
    assert catalog.rounds.all_done(job.id)


def test_a_postponed_page_is_not_taken_before_its_time(catalog: Catalog) -> None:
    job = running(catalog)
    claim = claimed(catalog, job)
    trouble = catalog.pages.postpone(claim, 0.3, SourceUnavailable("source is slow"))
    assert trouble is not None
    assert trouble.error_class == "SourceUnavailable"
    assert trouble.seconds < 5
    assert catalog.pages.claim(job.id, 0, LEASE) is None
    time.sleep(0.5)
    again = claimed(catalog, job)
    assert (again.claims, again.postponed) == (1, 1)


def test_the_page_that_fails_longest_says_what_holds_the_job_up(catalog: Catalog) -> None:
    job = running(catalog)
    first = claimed(catalog, job)
    assert catalog.pages.troubles(job.id) == []
    catalog.pages.list_entities(first, {}, "next")
    catalog.pages.postpone(first, 0, SourceUnavailable("the source is away"))
    slow = SourceUnavailable("the source is slow")
    catalog.pages.postpone(claimed(catalog, job, 1), 0, slow)
    assert str(catalog.pages.troubles(job.id)[0]) == "Page 0 is tried again: the source is away"
    catalog.pages.commit(claimed(catalog, job), Counters(), [], [], is_last=False)
    (trouble,) = catalog.pages.troubles(job.id)
    assert str(trouble) == "Page 1 is tried again: the source is slow"


def test_a_reopened_page_takes_back_what_it_counted(catalog: Catalog) -> None:
    job = running(catalog)
    catalog.pages.commit(claimed(catalog, job), Counters(listed=2, tokens=9), [], [], is_last=True)
    with pytest.raises(JobStopped):
        catalog.pages.reopen(job.id, "token", [0])
    assert catalog.jobs.claim_finish(job.id, "token", LEASE)
    catalog.pages.reopen(job.id, "token", [0])
    catalog.pages.commit(claimed(catalog, job), Counters(listed=3, tokens=5), [], [], is_last=True)
    found = catalog.jobs.get(job.id)
    assert found is not None
    assert (found.counters.listed, found.counters.tokens) == (3, 5)


def test_lost_messages_are_found_once_they_were_silent(catalog: Catalog) -> None:
    job = running(catalog)
    assert catalog.pages.take_lost(job.id, silent_for=30) == []
    assert catalog.pages.take_lost(job.id, silent_for=-1) == [0]
    claimed(catalog, job)
    assert catalog.pages.take_lost(job.id, silent_for=-1) == []


@pytest.mark.parametrize("failed", [0, 1, 3, 20])
@pytest.mark.parametrize("usual", [Outcome.INDEXED, Outcome.UNCHANGED])
@pytest.mark.parametrize("unlisted", [0, 1])
def test_a_page_s_entities_have_the_outcomes_that_it_commits(
    catalog: Catalog, usual: Outcome, failed: int, unlisted: int
) -> None:
    job = running(catalog)
    claim = claimed(catalog, job)
    keys = [uuid.uuid4() for _ in range(24)]
    listed: dict[uuid.UUID, str | None] = {key: f"f{number}" for number, key in enumerate(keys)}
    catalog.pages.list_entities(claim, dict(list(listed.items())[unlisted:]), None)

    outcomes = [
        ListedEntity(key, usual, fingerprint) for key, fingerprint in list(listed.items())[failed:]
    ] + [ListedEntity(key, Outcome.FAILED) for key in keys[:failed]]
    catalog.pages.commit(claim, Counters(), outcomes, [], is_last=True)

    expected = catalog.listings.expected(job.id, keys)
    assert {key: (one.outcome, one.fingerprint) for key, one in expected.items()} == {
        one.key: (one.outcome, one.fingerprint) for one in outcomes
    }
    assert catalog.listings.count_in_index(job.id) == 24 - failed


def test_who_has_the_catalog_to_itself_ends_the_leases_of_who_was_killed(catalog: Catalog) -> None:
    job = running(catalog)
    claimed(catalog, job)
    assert catalog.jobs.claim_finish(job.id, "killed", LEASE)
    catalog.end_leases()
    assert catalog.pages.take_lost(job.id, silent_for=30) == [0]
    claimed(catalog, job)
    assert catalog.jobs.claim_finish(job.id, "new", LEASE)


def test_the_listing_says_what_is_expected_and_what_nobody_dealt_with(catalog: Catalog) -> None:
    job = running(catalog)
    a, b, c = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
    first = claimed(catalog, job)
    catalog.pages.list_entities(first, {a: "f1"}, "next")
    listed = [ListedEntity(a, Outcome.INDEXED, "f1"), ListedEntity(b, Outcome.FAILED)]
    catalog.pages.commit(first, Counters(), listed, [], is_last=False)
    second = claimed(catalog, job, 1)
    repeated = [ListedEntity(a, Outcome.REPEATED), ListedEntity(c, Outcome.REPEATED)]
    catalog.pages.commit(second, Counters(), repeated, [], is_last=True)

    expected = catalog.listings.expected(job.id, [a, b, c])
    assert {key: found.outcome for key, found in expected.items()} == {
        a: Outcome.INDEXED,
        b: Outcome.FAILED,
    }
    assert expected[a].fingerprint == "f1"
    assert catalog.listings.count_in_index(job.id) == 1
    assert catalog.listings.unclaimed_pages(job.id) == [1]
    assert catalog.listings.contested(job.id) == []

    catalog.jobs.cancel(job.id)
    catalog.retention.clear_ended()
    assert catalog.listings.expected(job.id, [a, b, c]) == {}


def switch(catalog: Catalog, index_id: str, number: int) -> None:
    """End a job of the index as succeeded, with this generation."""
    job = catalog.jobs.take_up(catalog.requests.queue(index_id, "acme", "product").job.id)
    assert job is not None
    assert catalog.jobs.claim_finish(job.id, "token", LEASE)
    assert not catalog.indexes.switch(index_id, number, job.id, "another", Counters())
    assert catalog.indexes.switch(index_id, number, job.id, "token", Counters())


def test_a_job_left_unlisted_is_listed_after_all(catalog: Catalog) -> None:
    index_id = index_of(catalog)
    seal = Seal("content", 3, 5, "a1", "b2")
    catalog.indexes.generation_for(index_id, spec())
    job = catalog.jobs.take_up(catalog.requests.queue(index_id, "acme", "product").job.id)
    assert job is not None
    assert catalog.jobs.claim_finish(job.id, "token", LEASE)
    assert catalog.indexes.switch(index_id, 1, job.id, "token", Counters(), seal=seal)
    assert catalog.indexes.generation(index_id, 1).seal == seal

    job = catalog.jobs.take_up(catalog.requests.queue(index_id, "acme", "product").job.id)
    assert job is not None
    catalog.jobs.plan(job.id, 1)
    catalog.pages.add(job.id, 0, None)
    assert catalog.seals.version(job.id) is None
    first, page = SourceVersion("content", "monday"), claimed(catalog, job)
    assert not catalog.seals.note_version(replace(page, token="another"), first)
    assert catalog.seals.version(job.id) is None
    assert catalog.seals.note_version(page, first)
    assert catalog.seals.note_version(page, SourceVersion("content", "tuesday"))
    assert catalog.seals.version(job.id) == first
    assert not catalog.seals.is_unlisted(job.id)

    catalog.pages.commit(
        page,
        Counters(listed=3, unchanged=3),
        [],
        [],
        is_last=True,
        also=lambda connection: leave_unlisted(connection, job.id),
    )
    assert catalog.seals.is_unlisted(job.id)
    assert catalog.rounds.all_done(job.id)

    again = catalog.jobs.get(job.id)
    assert again is not None
    with pytest.raises(JobStopped):
        catalog.seals.list_after_all(again, "token")
    assert catalog.jobs.claim_finish(job.id, "token", LEASE)
    catalog.seals.list_after_all(again, "token")
    assert not catalog.seals.is_unlisted(job.id)
    assert not catalog.rounds.all_listed(job.id)
    assert catalog.indexes.generation(index_id, 1).seal is None
    after = catalog.jobs.get(job.id)
    assert after is not None
    assert after.counters == Counters()
    assert claimed(catalog, job).number == 0


def test_a_changed_spec_is_built_beside_the_live_generation(catalog: Catalog) -> None:
    index_id = index_of(catalog)
    first = catalog.indexes.generation_for(index_id, spec())
    assert catalog.indexes.live(index_id) is None
    switch(catalog, index_id, first.number)
    assert catalog.indexes.generation_for(index_id, spec()).number == first.number

    second = catalog.indexes.generation_for(index_id, spec(dimension=768))
    assert second.number == 2
    assert catalog.indexes.generation_for(index_id, spec(dimension=768)) == second
    live = catalog.indexes.live(index_id)
    assert live is not None
    assert live.number == 1
    switch(catalog, index_id, 2)
    live = catalog.indexes.live(index_id)
    assert live is not None
    assert (live.number, live.state) == (2, GenerationState.LIVE)
    assert states(catalog, index_id) == {1: "retired", 2: "live"}
    assert catalog.generations.claim_dropping(LEASE) is None


def states(catalog: Catalog, index_id: str) -> dict[int, str]:
    return {one.number: one.state for one in catalog.generations.of_index(index_id)}


def built(catalog: Catalog, index_id: str, *dimensions: int) -> None:
    """Have generations with these dimensions go live one after the other."""
    for dimension in dimensions:
        number = catalog.indexes.generation_for(index_id, spec(dimension=dimension)).number
        switch(catalog, index_id, number)


def test_a_switch_gives_up_all_but_the_last_generation(catalog: Catalog) -> None:
    index_id = index_of(catalog)
    built(catalog, index_id, 1, 2)
    catalog.indexes.generation_for(index_id, spec(dimension=9))
    built(catalog, index_id, 3)
    assert states(catalog, index_id) == {1: "dropping", 2: "retired", 3: "dropping", 4: "live"}

    first = catalog.generations.claim_dropping(LEASE)
    second = catalog.generations.claim_dropping(LEASE)
    assert first is not None
    assert second is not None
    assert {first.number, second.number} == {1, 3}
    assert catalog.generations.claim_dropping(LEASE) is None
    catalog.generations.release_dropping(first)
    again = catalog.generations.claim_dropping(LEASE)
    assert again is not None
    assert again.number == first.number
    catalog.generations.dropped(first)
    catalog.generations.dropped(second)
    assert states(catalog, index_id) == {1: "dropped", 2: "retired", 3: "dropped", 4: "live"}


def test_a_generation_says_the_spec_it_was_built_under(catalog: Catalog) -> None:
    index_id = index_of(catalog)
    full = spec(
        splitting=Splitting(SplittingMethod.TOKEN, 200, 20),
        text_fields=(TextField("title", "Title"), TextField("a.b")),
        filter_fields=(FilterField("year", FilterType.INTEGER, "y", "when"),),
        own_collection=True,
    )
    generation = catalog.indexes.generation_for(index_id, full)
    assert generation.spec == full
    other = replace(generation, values={**generation.values, "later": 1})
    with pytest.raises(ConfigurationError, match="another version"):
        _ = other.spec


def rolled_back(catalog: Catalog) -> IndexRow:
    """An index with two generations whose first is live again."""
    index_id = index_of(catalog)
    built(catalog, index_id, 1, 2)
    index = catalog.indexes.find("acme", "product")
    assert index is not None
    live, back = catalog.generations.of_index(index_id)
    catalog.generations.roll_back(index, live, back, 7)
    return index


def test_a_rollback_makes_the_generation_before_live_and_rejects_the_present_one(
    catalog: Catalog,
) -> None:
    index = rolled_back(catalog)
    rejected, live = catalog.generations.of_index(index.id)
    assert states(catalog, index.id) == {1: "live", 2: "retired"}
    assert (rejected.rejected_at is None, rejected.points) == (False, 7)
    found = catalog.indexes.find("acme", "product")
    assert found is not None
    assert (found.live_generation, found.last_indexed_at) == (1, live.indexed_at)
    assert catalog.jobs.of_index(index.id, JobState.RUNNING) == []

    kept = catalog.generations.kept_instead(index.id, rejected.spec_digest)
    assert kept == live
    assert catalog.generations.kept_instead(index.id, live.spec_digest) is None
    assert catalog.generations.kept_instead(index.id, "another") is None


def test_what_was_rolled_back_from_is_kept_until_another_is_live(catalog: Catalog) -> None:
    index = rolled_back(catalog)
    switch(catalog, index.id, 1)
    assert states(catalog, index.id) == {1: "live", 2: "retired"}
    built(catalog, index.id, 3)
    assert states(catalog, index.id) == {1: "retired", 2: "dropping", 3: "live"}
    digest = catalog.generations.of_index(index.id)[1].spec_digest
    kept = catalog.generations.kept_instead(index.id, digest)
    assert kept is not None
    assert kept.number == 3


def test_what_was_rolled_back_from_can_be_gone_on_with_once_it_is_accepted(
    catalog: Catalog,
) -> None:
    index = rolled_back(catalog)
    digest = catalog.generations.of_index(index.id)[0].spec_digest
    assert catalog.generations.accept(index, "another") == []
    assert catalog.generations.accept(index, digest) == [2]
    assert catalog.generations.accept(index, digest) == []
    assert states(catalog, index.id) == {1: "live", 2: "building"}
    assert catalog.generations.kept_instead(index.id, digest) is None
    assert catalog.indexes.generation_for(index.id, spec(dimension=2)).number == 2


def test_nothing_is_rolled_back_or_accepted_while_a_job_runs(catalog: Catalog) -> None:
    index = rolled_back(catalog)
    rejected, live = catalog.generations.of_index(index.id)
    job = running(catalog)
    with pytest.raises(Conflict, match=job.id):
        catalog.generations.accept(index, rejected.spec_digest)
    catalog.jobs.cancel(job.id)
    queued(catalog)
    assert catalog.generations.accept(index, rejected.spec_digest) == [2]
    with pytest.raises(Conflict, match="changed meanwhile"):
        catalog.generations.roll_back(index, rejected, live, 0)
    assert states(catalog, index.id) == {1: "live", 2: "building"}


def test_of_rollbacks_and_starting_jobs_at_once_each_sees_the_other(catalog: Catalog) -> None:
    index_id = index_of(catalog)
    built(catalog, index_id, 1, 2)
    index = catalog.indexes.find("acme", "product")
    assert index is not None
    live, back = catalog.generations.of_index(index_id)
    job = queued(catalog)
    barrier = threading.Barrier(8)
    seen: list[Generation | None] = []

    def roll_back(_: int) -> int:
        barrier.wait()
        try:
            catalog.generations.roll_back(index, live, back, 0)
        except Conflict:
            return 0
        return 1

    def take_up(_: int) -> int:
        barrier.wait()
        if catalog.jobs.take_up(job.id) is None:
            return 0
        seen.append(catalog.indexes.live(index_id))
        return 1

    with ThreadPoolExecutor(8) as pool:
        rollbacks = [pool.submit(roll_back, one) for one in range(4)]
        taken = [pool.submit(take_up, one) for one in range(4)]
        assert sum(one.result() for one in rollbacks) <= 1
        assert sum(one.result() for one in taken) <= 1
    # What a job sees when it starts stays until it ends.
    assert all(found == catalog.indexes.live(index_id) for found in seen)


def test_workers_that_plan_one_job_at_once_agree_on_its_generation(catalog: Catalog) -> None:
    for number in range(20):
        index_id = index_of(catalog, f"article{number}")
        together = threading.Barrier(4)

        def plan(_: int, index_id: str = index_id, together: threading.Barrier = together) -> int:
            together.wait()
            return catalog.indexes.generation_for(index_id, spec()).number

        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(plan, range(4))) == {1}


def test_one_worker_finishes_a_job(catalog: Catalog) -> None:
    job = running(catalog)
    assert catalog.jobs.claim_finish(job.id, "a", LEASE)
    assert catalog.jobs.claim_finish(job.id, "a", LEASE)
    assert not catalog.jobs.claim_finish(job.id, "b", LEASE)
    catalog.jobs.release_finish(job.id, "a")
    assert catalog.jobs.claim_finish(job.id, "b", LEASE)


def test_pages_commit_from_many_threads_without_losing_a_count(catalog: Catalog) -> None:
    job = running(catalog)
    for number in range(1, 24):
        catalog.pages.add(job.id, number, None)
    barrier = threading.Barrier(8)

    def work(worker: int) -> None:
        barrier.wait()
        for number in range(worker, 24, 8):
            claim = claimed(catalog, job, number)
            keys = [uuid.uuid4() for _ in range(20)]
            catalog.pages.list_entities(claim, dict.fromkeys(keys, "f"), None)
            listed = [ListedEntity(key, Outcome.INDEXED, "f") for key in keys]
            catalog.pages.commit(claim, Counters(listed=20), listed, [], is_last=number == 23)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    found = catalog.jobs.get(job.id)
    assert found is not None
    assert found.counters.listed == 480 == catalog.listings.count_in_index(job.id)


def test_a_database_that_is_away_is_said_to_be_without_its_password() -> None:
    catalog = Catalog("postgresql+psycopg://celeriac:secret@127.0.0.1:1/celeriac")
    with pytest.raises(CatalogUnavailable) as caught:
        catalog.jobs.recent()
    assert "127.0.0.1:1" in str(caught.value)
    assert "secret" not in str(caught.value)
    catalog.close()


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_cannot_hold_every_text_says_so(postgres_url: str, encoding: str) -> None:
    url = sqlalchemy.make_url(postgres_url)
    name = f"{url.database}_{encoding.lower()}"
    maintenance = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
    made = f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LOCALE 'C'"
    with maintenance.connect() as connection:
        connection.exec_driver_sql(made)
    catalog = Catalog(url.set(database=name).render_as_string(hide_password=False))
    try:
        for ask in (catalog.migrate, catalog.ping):
            with pytest.raises(CatalogUnavailable, match=rf"{encoding}.*ENCODING 'UTF8'"):
                ask()
    finally:
        catalog.close()
        with maintenance.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name}")
        maintenance.dispose()


def test_a_statement_may_take_longer_than_a_ping(postgres_url: str) -> None:
    database = Database(postgres_url)
    with database.read() as connection:
        slow = f"SELECT pg_sleep({PING_TIMEOUT + 0.5})"
        assert connection.exec_driver_sql(slow).all() != []
    database.close()
