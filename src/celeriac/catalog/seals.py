"""Which state of its source a job lists, and whether it lists it at all."""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy import Connection, select, update

from celeriac.catalog.database import Database
from celeriac.catalog.jobs import Job, is_finishing
from celeriac.catalog.pages import Claim, is_alone, reopen
from celeriac.catalog.tables import generations, jobs, pages
from celeriac.errors import JobStopped
from celeriac.model import SourceVersion

_DISTURBED = SourceVersion("", "")
"""No source is in this state."""


class Seals:
    """What serves `Generation.seal`: columns of the tables `jobs` and `generations`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note_version(self, claim: Claim, version: SourceVersion) -> bool:
        """Record what the source was when the job began; False where that cannot be said any more,
        because pages that follow the first were listed, or another worker holds it. What is known
        already stays: a page may have been listed then."""
        unknown = update(jobs).where(jobs.c.id == claim.job_id, jobs.c.source_version.is_(None))
        with self._database.write() as connection:
            if not is_alone(connection, claim):
                return False
            connection.execute(unknown.values(source_version=asdict(version)))
        return True

    def disturb(self, job_id: str) -> None:
        """Record that a job's source was seen to change while it was listed: whatever it is at the
        end, a page may have listed another."""
        mine = update(jobs).where(jobs.c.id == job_id)
        with self._database.write() as connection:
            connection.execute(mine.values(source_version=asdict(_DISTURBED)))

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

    def list_after_all(self, job: Job, token: str) -> None:
        """Have the first page of an unlisted job run once more, and list; its generation is not
        what its seal says.

        Raises:
            JobStopped: the job does not run any more, or another worker finishes it.
        """
        listed = update(jobs).where(is_finishing(job.id, token)).values(unlisted=False)
        with self._database.write() as connection:
            if not connection.execute(listed).rowcount:
                raise JobStopped
            reopen(connection, job.id, [0])
            connection.execute(update(pages).where(pages.c.job_id == job.id).values(is_last=False))
            broken = update(generations).where(
                generations.c.index_id == job.index_id, generations.c.number == job.generation
            )
            connection.execute(broken.values(seal=None))


def leave_unlisted(connection: Connection, job_id: str) -> None:
    """Record, within the caller's transaction, that a job does not list its source."""
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(unlisted=True))
