"""Rounds: how often a job lists its source, and whether it is through."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, exists, func, select, update

from celeriac.catalog.database import Database, epoch_now
from celeriac.catalog.jobs import is_finishing
from celeriac.catalog.pages import LOOKUP_ROUND, PageState
from celeriac.catalog.tables import jobs, pages
from celeriac.errors import JobStopped


class Rounds:
    """A job's rows of the table `pages`, taken together."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all_done(self, job_id: str) -> bool:
        """Whether the last page of the last round is known and every page is committed."""
        with self._database.read() as connection:
            return bool(connection.execute(_all_done(), {"of_job": job_id}).scalar_one())

    def all_listed(self, job_id: str) -> bool:
        """Whether the source was listed to its end."""
        query = select(exists().where(_listed_to_the_end(job_id)))
        with self._database.read() as connection:
            return bool(connection.execute(query).scalar_one())

    def begin_second_round(self, job_id: str) -> int | None:
        """Add the first page of a second listing and return its number; None if there was one."""
        once = and_(jobs.c.id == job_id, jobs.c.rounds == 1)
        with self._database.write() as connection:
            if not connection.execute(update(jobs).where(once).values(rounds=2)).rowcount:
                return None
            last = select(func.max(pages.c.number)).where(pages.c.job_id == job_id)
            number: int = connection.execute(last).scalar_one() + 1
            connection.execute(
                pages.insert().values(
                    job_id=job_id,
                    number=number,
                    round=2,
                    state=PageState.PENDING,
                    sent_at=epoch_now(),
                )
            )
        return number

    def begin_lookups(self, job_id: str, token: str, cursors: Sequence[str]) -> list[int]:
        """Add a page of the lookup round for each cursor and return their numbers.

        Raises:
            JobStopped: the job does not run any more, or another worker finishes it.
        """
        with self._database.write() as connection:
            begun = update(jobs).where(is_finishing(job_id, token)).values(rounds=LOOKUP_ROUND)
            if not connection.execute(begun).rowcount:
                raise JobStopped
            last = select(func.max(pages.c.number)).where(pages.c.job_id == job_id)
            first: int = connection.execute(last).scalar_one() + 1
            added = dict(enumerate(cursors, first))
            statement = pages.insert().values(
                job_id=job_id, round=LOOKUP_ROUND, state=PageState.PENDING, sent_at=epoch_now()
            )
            rows = [{"number": number, "cursor": cursor} for number, cursor in added.items()]
            connection.execute(statement, rows)
        return list(added)


def _listed_to_the_end(job_id: str) -> ColumnElement[bool]:
    rounds = select(jobs.c.rounds).where(jobs.c.id == job_id).scalar_subquery()
    return and_(pages.c.job_id == job_id, pages.c.is_last, pages.c.round == rounds)


@functools.cache
def _all_done() -> Select[Any]:
    mine = pages.c.job_id == bindparam("of_job")
    rounds = select(jobs.c.rounds).where(jobs.c.id == bindparam("of_job")).scalar_subquery()
    open_page = exists().where(mine, pages.c.state != PageState.DONE)
    last_page = exists().where(mine, pages.c.is_last, pages.c.round == rounds)
    return select(and_(last_page, ~open_page))
