"""What is removed of jobs that have ended: what served their workers as soon as none has a page in
hand, the jobs themselves after a time, and what only they referred to.

Every method is a bounded step, and any number of processes may call any of them at once: each takes
rows that no other has locked, and looks at them again once it has.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)

from celeriac.catalog.database import Database, epoch_now
from celeriac.catalog.entries import EntryState
from celeriac.catalog.indexes import GenerationState
from celeriac.catalog.jobs import ACTIVE, FINAL, JobMode
from celeriac.catalog.pages import PageState
from celeriac.catalog.tables import (
    data_source_links,
    documents,
    entries,
    expired_jobs,
    generations,
    indexes,
    job_errors,
    jobs,
    knowledge_bases,
    knowledge_indexes,
    listings,
    pages,
    schedules,
)

KEPT_JOBS = 20
"""Ended jobs of an index that are kept however old they are."""
CLEARED_A_STEP = 10
"""Jobs."""
PAGES_A_STEP = 100
JOBS_A_STEP = 200
ERRORS_A_STEP = 5_000


class Retention:
    """Removes rows of every table that a job adds to."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def clear_ended(self) -> None:
        """Forget pages and listings of jobs that have ended, some jobs at a time.

        A worker that holds a page writes until its lease has run out: so long they stay. After
        that, one that comes back finds no page to go on with.
        """
        # By an expression that no index serves: one on the state goes through every job there is.
        ended = and_((jobs.c.state + "").in_(FINAL), jobs.c.cleared_at.is_(None), ~_in_hand())
        query = select(jobs.c.id).where(ended).limit(CLEARED_A_STEP)
        with self._database.read() as connection:
            found = list(connection.execute(query).scalars())
        for job_id in found:
            self._clear(job_id)

    def _clear(self, job_id: str) -> None:
        # Pages first: without its page no worker adds to the listing.
        while self._clear_step(pages, "number", job_id):
            pass
        while self._clear_step(listings, "page", job_id):
            pass
        with self._database.write() as connection:
            cleared = update(jobs).where(jobs.c.id == job_id).values(cleared_at=epoch_now())
            connection.execute(cleared)

    def _clear_step(self, table: Table, column: str, job_id: str) -> bool:
        """Delete the rows of a job's first few pages; whether there were any."""
        mine, number = table.c.job_id == job_id, table.c[column]
        with self._database.write() as connection:
            first = connection.execute(select(func.min(number)).where(mine)).scalar()
            if first is None:
                return False
            few = number < first + PAGES_A_STEP
            connection.execute(delete(table).where(mine, few))
        return True

    def expire(self, older_than: float) -> list[str]:
        """Remove jobs that ended more than so many seconds ago, some at a time; their ids.

        For everyone who reads they are gone at once, with their errors, which `sweep` deletes. Of
        each index the last KEPT_JOBS stay, the last one of each state and mode, and whichever the
        index, a schedule, a document in hand or a retry that has not ended refers to.
        """
        # Not by their state: an index on that would be taken, and goes through every job there is.
        old = jobs.c.finished_at < epoch_now() - older_than
        query = select(jobs.c.id).where(old, jobs.c.cleared_at.is_not(None), _removable())
        query = query.order_by(jobs.c.finished_at).limit(JOBS_A_STEP)
        with self._database.write() as connection:
            ids = list(connection.execute(query.with_for_update(skip_locked=True)).scalars())
            # Again, in another statement: it sees what others did before the rows were locked.
            still = and_(jobs.c.id.in_(ids), jobs.c.state.in_(FINAL), _removable())
            return _remove(connection, still) if ids else []

    def sweep(self) -> bool:
        """Delete some of the errors of jobs that were removed; whether there may be more."""
        query = select(expired_jobs.c.job_id).order_by(expired_jobs.c.job_id).limit(JOBS_A_STEP)
        with self._database.write() as connection:
            ids = list(connection.execute(query.with_for_update(skip_locked=True)).scalars())
            if not ids:
                return False
            some = select(job_errors.c.id).where(job_errors.c.job_id.in_(ids)).limit(ERRORS_A_STEP)
            deleted = connection.execute(
                delete(job_errors).where(job_errors.c.id.in_(some.scalar_subquery()))
            )
            if deleted.rowcount < ERRORS_A_STEP:
                done = expired_jobs.c.job_id.in_(ids)
                connection.execute(delete(expired_jobs).where(done))
        return True

    def forget_generations(self) -> None:
        """Forget generations whose points are gone and that no job wrote that there is.

        The newest of an index stays, for its number, and with it the ids of its points, is never
        given again; and so does one that was rolled back from.
        """
        newer = generations.alias()
        statement = delete(generations).where(
            generations.c.state == GenerationState.DROPPED,
            generations.c.rejected_at.is_(None),
            exists().where(
                newer.c.index_id == generations.c.index_id, newer.c.number > generations.c.number
            ),
            ~exists().where(
                jobs.c.index_id == generations.c.index_id,
                jobs.c.generation == generations.c.number,
            ),
        )
        with self._database.write() as connection:
            connection.execute(statement)

    def deleted_indexes(self, older_than: float) -> list[str]:
        """Ids of indexes that were deleted more than so many seconds ago and that no job is to
        clear any more, some at a time."""
        busy = exists().where(jobs.c.index_id == indexes.c.id, jobs.c.state.in_(ACTIVE))
        query = (
            select(indexes.c.id)
            .join(knowledge_indexes, knowledge_indexes.c.id == indexes.c.id)
            .where(knowledge_indexes.c.deleted_at < epoch_now() - older_than, ~busy)
            .limit(JOBS_A_STEP)
        )
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def forget_index(self, index_id: str) -> bool:
        """Remove a deleted index, with its jobs; False where it has points or a job runs."""
        mine = select(indexes.c.id).where(indexes.c.id == index_id).with_for_update()
        kept = or_(
            exists().where(
                generations.c.index_id == index_id, generations.c.state != GenerationState.DROPPED
            ),
            exists().where(jobs.c.index_id == index_id, jobs.c.state.in_(ACTIVE)),
            exists().where(jobs.c.index_id == index_id, jobs.c.cleared_at.is_(None)),
        )
        with self._database.write() as connection:
            found = connection.execute(mine).scalar()
            if found is None or connection.execute(select(kept)).scalar_one():
                return False
            _remove(connection, jobs.c.index_id == index_id)
            for table in (entries, generations):
                connection.execute(delete(table).where(table.c.index_id == index_id))
            for table in (knowledge_indexes, indexes):
                connection.execute(delete(table).where(table.c.id == index_id))
        return True

    def forget_knowledge_bases(self, older_than: float) -> None:
        """Remove knowledge bases that were deleted more than so many seconds ago and to which
        nothing belongs any more."""
        held = (
            exists().where(table.c.knowledge_base_id == knowledge_bases.c.id)
            for table in (knowledge_indexes, documents, data_source_links)
        )
        long_gone = knowledge_bases.c.deleted_at < epoch_now() - older_than
        with self._database.write() as connection:
            connection.execute(delete(knowledge_bases).where(long_gone, ~or_(*held)))


def _in_hand() -> ColumnElement[bool]:
    """Whether a worker has a page of the job, or its finish."""
    page = exists().where(
        pages.c.job_id == jobs.c.id,
        pages.c.state == PageState.PENDING,
        pages.c.lease_until >= epoch_now(),
    )
    return or_(page, func.coalesce(jobs.c.lease_until, 0.0) >= epoch_now())


def _remove(connection: Connection, where: ColumnElement[bool]) -> list[str]:
    """Remove jobs, within the caller's transaction, and leave their errors to `sweep`."""
    ids = select(jobs.c.id).where(where)
    removed = list(connection.execute(ids).scalars())
    if removed:
        # A worker that planned a job which was cancelled meanwhile may have added one.
        connection.execute(delete(pages).where(pages.c.job_id.in_(removed)))
        connection.execute(delete(jobs).where(jobs.c.id.in_(removed)))
        connection.execute(expired_jobs.insert(), [{"job_id": one} for one in removed])
    return removed


def _removable() -> ColumnElement[bool]:
    """Whether nothing needs an ended job any more."""
    return and_(_is_beyond_the_last(), _has_successor(), ~or_(*_references()))


def _is_beyond_the_last() -> ColumnElement[bool]:
    """Whether KEPT_JOBS of its index ended that were made later."""
    later = jobs.alias()
    first_kept = (
        select(later.c.created_at)
        .where(later.c.index_id == jobs.c.index_id, later.c.state.in_(FINAL))
        .order_by(later.c.created_at.desc())
        .offset(KEPT_JOBS - 1)
        .limit(1)
        .scalar_subquery()
    )
    return jobs.c.created_at < first_kept


def _has_successor() -> ColumnElement[bool]:
    """Whether a later job of its index and mode ended the same way."""
    later = jobs.alias()
    return exists().where(
        later.c.index_id == jobs.c.index_id,
        later.c.created_at > jobs.c.created_at,
        later.c.state == jobs.c.state,
        later.c.mode == jobs.c.mode,
    )


def _references() -> Sequence[ColumnElement[bool]]:
    other = jobs.alias()
    retried = select(other.c.index_id).where(
        other.c.state.in_(ACTIVE), other.c.mode == JobMode.RETRY
    )
    scheduled = select(schedules.c.last_job_id).where(schedules.c.last_job_id.is_not(None))
    return (
        exists().where(indexes.c.id == jobs.c.index_id, indexes.c.last_job_id == jobs.c.id),
        jobs.c.id.in_(scheduled),
        exists().where(
            entries.c.index_id == jobs.c.index_id,
            entries.c.state == EntryState.EMBEDDING,
            entries.c.job_id == jobs.c.id,
        ),
        jobs.c.index_id.in_(retried),
    )
