"""What failed in ended jobs, in the catalog on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command

from celeriac.catalog import Catalog
from celeriac.catalog.indexes import index_id_of
from celeriac.catalog.jobs import Job, JobMode, JobState
from celeriac.catalog.migrate import alembic_config
from celeriac.errors import JobStopped
from celeriac.model import Counters, EntityFailure, Selection

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


def ended(catalog: Catalog, *failures: EntityFailure) -> Job:
    """A job that ended with these errors, a page for each hundred."""
    index_id = index_id_of("acme", "product")
    job = catalog.jobs.take_up(catalog.requests.queue(index_id, "acme", "product").job.id)
    assert job is not None
    for number, first in enumerate(range(0, max(len(failures), 1), 100)):
        catalog.pages.add(job.id, number, None)
        claim = catalog.pages.claim(job.id, number, LEASE)
        assert claim is not None
        catalog.pages.commit(claim, Counters(), [], failures[first : first + 100], is_last=True)
    catalog.jobs.fail(job.id, "ended")
    return job


def failure(entity_id: str | None, error: str = "NotText", *, retry: bool = False) -> EntityFailure:
    return EntityFailure(entity_id, error, "why", retry)


def walked(catalog: Catalog, *retries: Selection) -> list[str]:
    return [one for ids in catalog.retries.walk(retries) for one in ids]


NAMES = [
    "a",
    "A",
    "ä",
    "Z",
    "10",
    "9",
    "a b",
    "%",
    "é",
    "\U0001f33f",
    "x" * 512,
    "\U0001f33f" * 512,
]


def test_every_entity_that_failed_is_walked_once(catalog: Catalog) -> None:
    job = ended(catalog, *map(failure, NAMES), failure("a", "EmptyText"), failure(None))
    assert sorted(walked(catalog, Selection(job.id))) == sorted(NAMES)
    assert catalog.retries.count([Selection(job.id)]) == len(NAMES)
    assert catalog.retries.unnamed([job.id]) == 1


@pytest.mark.parametrize("limit", [1, 2, 5, 100])
def test_pages_of_ids_go_on_after_the_last_one(catalog: Catalog, limit: int) -> None:
    retries = [Selection(ended(catalog, *map(failure, NAMES)).id)]
    ended(catalog, failure("another"))
    found: list[str] = []
    while ids := catalog.retries.ids(retries, 0, found[-1] if found else "", limit):
        assert len(ids) <= limit
        found += ids
    assert sorted(found) == sorted(NAMES)


def test_no_error_is_left_out_however_many_there_are(catalog: Catalog) -> None:
    names = [f"e{number}" for number in range(2_345)]
    retries = [Selection(ended(catalog, *map(failure, names)).id)]
    assert sorted(walked(catalog, *retries)) == sorted(names)
    assert catalog.retries.among(retries, [*names, "x"]) == set(names)
    assert catalog.retries.among(retries, []) == set()


def test_a_selection_takes_a_class_or_the_retryable(catalog: Catalog) -> None:
    job = ended(
        catalog,
        failure("a"),
        failure("b", "EmptyText"),
        failure("c", "UnreadableDocument", retry=True),
        failure("d", retry=True),
        failure("e", "DuplicateId"),
        failure(None, "MissingId"),
    )

    def taken(**options: object) -> list[str]:
        selection = Selection(job.id, **options)  # type: ignore[arg-type]
        assert catalog.retries.among([selection], ["a", "b", "c", "d", "e"]) == set(
            walked(catalog, selection)
        )
        return walked(catalog, selection)

    assert taken() == ["a", "b", "c", "d"]
    assert taken(error_class="NotText") == ["a", "d"]
    assert taken(retryable_only=True) == ["c", "d"]
    assert taken(error_class="NotText", retryable_only=True) == ["d"]
    assert taken(error_class="DuplicateId") == []
    assert catalog.retries.classes(job.id) == {
        "EmptyText": 1,
        "NotText": 2,
        "UnreadableDocument": 1,
    }


def test_selections_together_take_each_entity_once(catalog: Catalog) -> None:
    first = ended(catalog, failure("a"), failure("b", "EmptyText"), failure("c"))
    second = ended(catalog, failure("a", "EmptyText"), failure("b"), failure("d"))
    retries = [Selection(first.id, "NotText"), Selection(second.id), Selection(first.id)]
    assert [catalog.retries.ids(retries, number, "", 10) for number in range(3)] == [
        ["a", "c"],
        ["b", "d"],
        [],
    ]
    assert walked(catalog, *retries) == ["a", "c", "b", "d"]
    assert catalog.retries.count(retries) == 4


def requested(catalog: Catalog, retries: Sequence[Selection | None]) -> list[Job]:
    """The jobs of requests that all come at once."""
    index_id = index_id_of("acme", "product")
    with ThreadPoolExecutor(8) as pool:
        return list(
            pool.map(
                lambda retry: catalog.requests.queue(index_id, "acme", "product", retry=retry).job,
                retries,
            )
        )


def only(catalog: Catalog, jobs: Sequence[Job]) -> Job:
    (job_id,) = {job.id for job in jobs}
    found = catalog.jobs.get(job_id)
    assert found is not None
    return found


def test_concurrent_retries_become_one_that_takes_them_all(catalog: Catalog) -> None:
    selections = [Selection(ended(catalog, failure("a")).id) for _ in range(12)]
    job = only(catalog, requested(catalog, selections * 2))
    assert job.mode == JobMode.RETRY
    assert set(job.retries) == set(selections)
    assert len(job.retries) == len(selections)


def test_a_reindex_among_concurrent_retries_is_what_runs(catalog: Catalog) -> None:
    selections = [Selection(ended(catalog, failure("a")).id) for _ in range(4)]
    job = only(catalog, requested(catalog, [*selections, None, *selections]))
    assert (job.mode, job.retries) == (JobMode.REINDEX, ())


def test_a_retry_that_runs_takes_nothing_more(catalog: Catalog) -> None:
    first, second = (Selection(ended(catalog, failure(name)).id) for name in "ab")
    (running,) = requested(catalog, [first])
    assert catalog.jobs.take_up(running.id) is not None
    (waiting,) = requested(catalog, [second])
    assert waiting.id != running.id
    assert (only(catalog, [running]).retries, waiting.retries) == ((first,), (second,))


def test_a_retry_is_ended_by_the_worker_that_finishes_it(catalog: Catalog) -> None:
    (job,) = requested(catalog, [Selection(ended(catalog, failure("a")).id)])
    assert catalog.jobs.take_up(job.id) is not None
    assert catalog.jobs.claim_finish(job.id, "mine", LEASE)
    assert not catalog.retries.succeed(job.id, "another's", Counters(), "done")
    assert catalog.retries.succeed(job.id, "mine", Counters(listed=-1), "done")
    found = only(catalog, [job])
    assert (found.state, found.message, found.counters.listed) == (JobState.SUCCEEDED, "done", -1)
    assert not catalog.retries.succeed(job.id, "mine", Counters(), "done")


def test_lookups_are_begun_by_the_worker_that_finishes_the_job(catalog: Catalog) -> None:
    index_id = index_id_of("acme", "product")
    job = catalog.jobs.take_up(catalog.requests.queue(index_id, "acme", "product").job.id)
    assert job is not None
    catalog.pages.add(job.id, 0, None)
    claim = catalog.pages.claim(job.id, 0, LEASE)
    assert claim is not None
    catalog.pages.commit(claim, Counters(), [], [], is_last=True)
    assert catalog.jobs.claim_finish(job.id, "mine", LEASE)
    with pytest.raises(JobStopped):
        catalog.rounds.begin_lookups(job.id, "another's", ["x"])
    assert catalog.rounds.all_done(job.id)
    assert catalog.rounds.begin_lookups(job.id, "mine", ["x", "y"]) == [1, 2]
    assert not catalog.rounds.all_done(job.id)
    for number, cursor in ((2, "y"), (1, "x")):
        claim = catalog.pages.claim(job.id, number, LEASE)
        assert claim is not None
        assert (claim.cursor, claim.round) == (cursor, 3)
        assert not catalog.rounds.all_done(job.id)
        catalog.pages.commit(claim, Counters(), [], [], is_last=True)
    assert catalog.rounds.all_done(job.id)


def test_jobs_of_before_are_reindexes(url: str) -> None:
    catalog = Catalog(url)
    with catalog.database.write() as connection:
        command.upgrade(alembic_config(connection), "0001")
        connection.exec_driver_sql(
            "INSERT INTO indexes (id, tenant, entity_type, created_at) "
            "VALUES ('i', 'acme', 'product', 0)"
        )
        counters = "listed, unchanged, indexed, failed, removed, chunks, embedded, tokens, bytes"
        connection.exec_driver_sql(
            "INSERT INTO jobs (id, index_id, tenant, entity_type, state, epoch, message, rounds, "
            f"created_at, {counters}, split_for_model) VALUES ('j', 'i', 'acme', 'product', "
            "'queued', 0, '', 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)"
        )
    catalog.migrate()
    job = catalog.jobs.get("j")
    assert job is not None
    assert (job.mode, job.retries) == (JobMode.REINDEX, ())
    assert catalog.requests.queue("i", "acme", "product").job == job
    catalog.close()
