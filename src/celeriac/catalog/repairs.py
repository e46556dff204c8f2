"""Repairs: jobs that one process runs by itself, under the locks of every other job."""

from __future__ import annotations

import uuid

from sqlalchemy import Connection, exists, or_, select, update
from sqlalchemy.exc import IntegrityError

from celeriac.catalog.database import Database, epoch_now
from celeriac.catalog.indexes import Generation, IndexRow
from celeriac.catalog.jobs import FINAL, JobState, add_counters
from celeriac.catalog.pages import Claim, PageState
from celeriac.catalog.tables import jobs, pages
from celeriac.errors import TransientError
from celeriac.model import Counters


class Repairs:
    """Rows of the tables `jobs` and `pages` that hold an index for a repair.

    A repair is a running job with its first page in hand. While it runs no other job of the index
    starts: the database refuses a second running one, and those requested meanwhile wait. When the
    process dies, the page's lease runs out and a worker takes the page up: the repair goes on as
    an ordinary reindex from the beginning of the source, which leaves the index equal to it too.
    The page is never committed; the repair ends with its job.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, index: IndexRow, generation: Generation, lease: float) -> Claim:
        """Take the index, in one transaction.

        Raises:
            TransientError: a job of it runs or waits, or a worker is still at an ended one.
        """
        claim = Claim(str(uuid.uuid4()), 0, str(uuid.uuid4()), None, 1, 1, 1, 0)
        try:
            with self._database.write() as connection:
                _require_free(connection, index)
                _insert(connection, index, generation, claim, lease)
        except IntegrityError:
            raise TransientError(
                f"A job of {index.tenant}/{index.entity_type} has just started; "
                "audit again once it has ended."
            ) from None
        return claim

    def succeed(self, claim: Claim, counters: Counters) -> bool:
        """End the repair's job as succeeded with what it did; False where it was cancelled."""
        with self._database.write() as connection:
            ended = connection.execute(
                update(jobs)
                .where(jobs.c.id == claim.job_id, jobs.c.state == JobState.RUNNING)
                .values(state=JobState.SUCCEEDED, finished_at=epoch_now())
            )
            if ended.rowcount:
                add_counters(connection, claim.job_id, counters)
            return bool(ended.rowcount)


def _require_free(connection: Connection, index: IndexRow) -> None:
    mine = jobs.c.index_id == index.id
    active = select(jobs.c.id, jobs.c.state).where(mine, jobs.c.state.not_in(FINAL)).limit(1)
    name = f"{index.tenant}/{index.entity_type}"
    for job_id, state in connection.execute(active):
        raise TransientError(
            f"Job {job_id} of {name} is {state}, and repairs while it writes could undo its work; "
            f"repair once it has ended, or cancel it: celeriac cancel {job_id}"
        )
    page = exists().where(
        mine,
        pages.c.job_id == jobs.c.id,
        pages.c.state == PageState.PENDING,
        pages.c.lease_until >= epoch_now(),
    )
    finish = exists().where(mine, jobs.c.lease_until >= epoch_now())
    if connection.execute(select(or_(page, finish))).scalar_one():
        raise TransientError(
            f"A worker still has an ended job of {name} in hand; repair again in a minute."
        )


def _insert(
    connection: Connection, index: IndexRow, generation: Generation, claim: Claim, lease: float
) -> None:
    connection.execute(
        jobs.insert().values(
            id=claim.job_id,
            index_id=index.id,
            tenant=index.tenant,
            entity_type=index.entity_type,
            state=JobState.RUNNING,
            epoch=claim.epoch,
            generation=generation.number,
            created_at=epoch_now(),
            started_at=epoch_now(),
        )
    )
    connection.execute(
        pages.insert().values(
            job_id=claim.job_id,
            number=claim.number,
            state=PageState.PENDING,
            claims=claim.claims,
            sent_at=epoch_now(),
            lease_token=claim.token,
            lease_until=epoch_now() + lease,
        )
    )
