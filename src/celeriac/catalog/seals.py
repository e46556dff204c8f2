"""Which state of its source a job lists, and whether it lists it at all."""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy import Connection, select, update

from celeriac.catalog.database import Database
from celeriac.catalog.jobs import Job
from celeriac.catalog.pages import reopen
from celeriac.catalog.tables import generations, jobs, pages
from celeriac.model import SourceVersion


class Seals:
    """What serves `Generation.seal`: columns of the tables `jobs` and `generations`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note_version(self, job_id: str, version: SourceVersion) -> None:
        """Record what the source was when the job began. What is known of that already stays: a
        page may have been listed then."""
        unknown = update(jobs).where(jobs.c.id == job_id, jobs.c.source_version.is_(None))
        with self._database.write() as connection:
            connection.execute(unknown.values(source_version=asdict(version)))

    def version(self, job_id: str) -> SourceVersion | None:
        """What the source was when the job began, where that is known."""
        with self._database.read() as connection:
            query = select(jobs.c.source_version).where(jobs.c.id == job_id)
            found = connection.execute(query).scalar()
        return None if found is None else SourceVersion(**found)

    def is_unlisted(self, job_id: str) -> bool:
        """Whether the job did not list its source, for that is as it was when its generation was
        sealed."""
        with self._database.read() as connection:
            query = select(jobs.c.unlisted).where(jobs.c.id == job_id)
            return bool(connection.execute(query).scalar())

    def list_after_all(self, job: Job) -> None:
        """Have the first page of an unlisted job run once more, and list; its generation is not
        what its seal says."""
        with self._database.write() as connection:
            reopen(connection, job.id, [0])
            connection.execute(update(pages).where(pages.c.job_id == job.id).values(is_last=False))
            mine = update(jobs).where(jobs.c.id == job.id)
            connection.execute(mine.values(unlisted=False))
            broken = update(generations).where(
                generations.c.index_id == job.index_id, generations.c.number == job.generation
            )
            connection.execute(broken.values(seal=None))


def leave_unlisted(connection: Connection, job_id: str) -> None:
    """Record, within the caller's transaction, that a job does not list its source."""
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(unlisted=True))
