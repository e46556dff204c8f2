"""What failed in ended jobs, for retries: ids by the page, however many there are."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    and_,
    distinct,
    exists,
    func,
    or_,
    select,
    true,
    update,
)

from celeriac.catalog.database import Database, epoch_now
from celeriac.catalog.jobs import JobState, add_counters
from celeriac.catalog.listings import batches
from celeriac.catalog.tables import job_errors, jobs
from celeriac.errors import DuplicateId
from celeriac.model import Counters, Selection

IDS_A_STEP = 500


class Retries:
    """Rows of the table `job_errors` by the entities they name.

    A second occurrence of an id is an error and no entity that failed. Of several selections that
    take one entity the first does.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def ids(self, retries: Sequence[Selection], number: int, after: str, limit: int) -> list[str]:
        """Entities that selection `number` takes, in the database's order, after this one; no id
        is empty."""
        query = _entities(retries, number).where(job_errors.c.entity_id > after)
        query = query.order_by(job_errors.c.entity_id).limit(limit)
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def walk(self, retries: Sequence[Selection]) -> Iterator[list[str]]:
        """Every entity that the selections take, once each."""
        for number in range(len(retries)):
            after = ""
            while ids := self.ids(retries, number, after, IDS_A_STEP):
                yield ids
                after = ids[-1]

    def among(self, retries: Sequence[Selection], entity_ids: Collection[str]) -> set[str]:
        """Those of the entities that the selections take."""
        taken = or_(*(_taken(one) for one in retries))
        found: set[str] = set()
        with self._database.read() as connection:
            for few in batches(list(entity_ids)):
                query = select(job_errors.c.entity_id).where(job_errors.c.entity_id.in_(few), taken)
                found.update(connection.execute(query).scalars())
        return found

    def count(self, retries: Sequence[Selection]) -> int:
        """How many entities the selections take."""
        named = job_errors.c.entity_id.is_not(None)
        queries = [
            _entities(retries, number).where(named).subquery() for number in range(len(retries))
        ]
        with self._database.read() as connection:
            return sum(
                connection.execute(select(func.count()).select_from(query)).scalar_one()
                for query in queries
            )

    def classes(self, job_id: str) -> dict[str, int]:
        """How many entities failed in a job, by the class of their error."""
        query = (
            select(job_errors.c.error_class, func.count(distinct(job_errors.c.entity_id)))
            .where(_taken(Selection(job_id)), job_errors.c.entity_id.is_not(None))
            .group_by(job_errors.c.error_class)
            .order_by(job_errors.c.error_class)
        )
        with self._database.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def unnamed(self, job_ids: Collection[str]) -> int:
        """How many errors of these jobs name no entity."""
        query = (
            select(func.count())
            .select_from(job_errors)
            .where(job_errors.c.job_id.in_(job_ids), job_errors.c.entity_id.is_(None))
        )
        with self._database.read() as connection:
            return connection.execute(query).scalar_one()

    def lost(self, retries: Sequence[Selection]) -> list[str]:
        """Jobs that the selections name and that were removed. Asked by a retry that runs: what is
        there stays until it has ended."""
        named = {one.job_id for one in retries}
        # Whoever is about to remove one is waited for, or sees the retry.
        query = select(jobs.c.id).where(jobs.c.id.in_(named)).with_for_update(read=True)
        with self._database.write() as connection:
            return sorted(named.difference(connection.execute(query).scalars()))

    def succeed(self, job_id: str, token: str, counted: Counters, message: str) -> bool:
        """End a retry as succeeded; False where it ended or another worker finishes it."""
        ended = (
            update(jobs)
            .where(jobs.c.id == job_id, jobs.c.state == JobState.RUNNING)
            .where(jobs.c.lease_token == token)
            .values(
                state=JobState.SUCCEEDED,
                message=message,
                finished_at=epoch_now(),
                lease_token=None,
                lease_until=None,
            )
        )
        with self._database.write() as connection:
            if not connection.execute(ended).rowcount:
                return False
            add_counters(connection, job_id, counted)
        return True


def _entities(retries: Sequence[Selection], number: int) -> Select[Any]:
    query = select(job_errors.c.entity_id).where(_taken(retries[number])).distinct()
    if number == 0:
        return query
    earlier = job_errors.alias("earlier")
    return query.where(
        ~exists().where(
            earlier.c.entity_id == job_errors.c.entity_id,
            or_(*(_taken(one, earlier) for one in retries[:number])),
        )
    )


def _taken(selection: Selection, errors: FromClause = job_errors) -> ColumnElement[bool]:
    """Whether an error is one of those selected. That it names an entity is for the query to say:
    SQLite would walk all that do rather than look up a few."""
    wanted = selection.error_class
    return and_(
        errors.c.job_id == selection.job_id,
        errors.c.error_class != DuplicateId.__name__,
        true() if wanted is None else errors.c.error_class == wanted,
        errors.c.retryable if selection.retryable_only else true(),
    )
