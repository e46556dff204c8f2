"""What jobs say about the entities that failed."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Delete, bindparam, delete, select

from celeriac.catalog.database import Database
from celeriac.catalog.tables import job_errors, jobs
from celeriac.model import EntityFailure, storable


@dataclass(frozen=True, slots=True)
class RecordedError:
    """What a job said about one entity."""

    job_id: str
    recorded_at: float
    """When the job was created: the errors' own times are not kept."""
    failure: EntityFailure


class JobErrors:
    """Rows of the table `job_errors`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def first(self, job_id: str, *, limit: int = 100) -> list[EntityFailure]:
        """The first errors of the job, in the order of its pages."""
        query = (
            select(job_errors)
            .where(job_errors.c.job_id == job_id)
            .order_by(job_errors.c.page, job_errors.c.id)
            .limit(limit)
        )
        with self._database.read() as connection:
            return [
                EntityFailure(row.entity_id, row.error_class, row.message, row.retryable)
                for row in connection.execute(query)
            ]

    def last(self, index_id: str, entity_id: str) -> RecordedError | None:
        """The error that a job of the index recorded last for this entity."""
        query = (
            select(job_errors, jobs.c.created_at)
            .join(jobs, jobs.c.id == job_errors.c.job_id)
            .where(jobs.c.index_id == index_id, job_errors.c.entity_id == entity_id)
            .order_by(jobs.c.created_at.desc(), job_errors.c.id.desc())
            .limit(1)
        )
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        failure = EntityFailure(row.entity_id, row.error_class, row.message, row.retryable)
        return RecordedError(row.job_id, row.created_at, failure)


def insert_errors(
    connection: Connection, job_id: str, page: int | None, failures: Sequence[EntityFailure]
) -> None:
    """Replace a page's errors, within the caller's transaction."""
    if page is not None:
        connection.execute(_forgetting(), {"of_job": job_id, "of_page": page})
    rows = [
        {
            "job_id": job_id,
            "page": page,
            "entity_id": failure.entity_id,
            "error_class": failure.error_class,
            "message": storable(failure.message),
            "retryable": failure.retryable,
        }
        for failure in failures
    ]
    if rows:
        connection.execute(job_errors.insert(), rows)


@functools.cache
def _forgetting() -> Delete:
    return delete(job_errors).where(
        job_errors.c.job_id == bindparam("of_job"), job_errors.c.page == bindparam("of_page")
    )
