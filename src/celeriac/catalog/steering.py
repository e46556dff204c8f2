"""What people do to a job while it waits or runs: pause it, throttle it, change its priority."""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, case, exists, func, literal, select, update

from celeriac.catalog.database import Database, epoch_now
from celeriac.catalog.jobs import ACTIVE, JobState
from celeriac.catalog.tables import jobs, pages
from celeriac.model import Priority

CATCHING_UP = 2.0
"""Seconds that a throttled job may be late and make up for; idle for longer, it has lost them."""


class Steering:
    """Columns of the table `jobs` that are set from outside while a job is queued or running.

    A throttle is a bucket in virtual time (GCRA): each page that is listed moves `next_at` on by as
    many seconds as its entities take at the throttle's rate, and until `next_at` no page is taken.
    All of it is one statement by the database's clock, so the rate holds across all workers.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def pause(self, job_id: str, by: str | None = None) -> bool:
        """Pause an active job; False where it has ended, or is paused already."""
        return self._set(job_id, jobs.c.paused_at.is_(None), paused_at=epoch_now(), paused_by=by)

    def resume(self, job_id: str) -> bool:
        """Resume a paused job; False where it is none. Failing begins to count anew."""
        paused = and_(_is_active(job_id), jobs.c.paused_at.is_not(None))
        runs = jobs.c.state == JobState.RUNNING
        pause = epoch_now() - jobs.c.paused_at
        resumed = {
            "paused_at": None,
            # Before it was taken up no time was running that a pause could stop.
            "paused_seconds": case((runs, jobs.c.paused_seconds + pause), else_=0.0),
            "resumed_at": case((runs, epoch_now())),
        }
        failing = and_(
            pages.c.job_id == job_id, pages.c.failing_since.is_not(None), exists().where(paused)
        )
        with self._database.write() as connection:
            # Pages first, as whoever commits one locks them.
            connection.execute(update(pages).where(failing).values(failing_since=epoch_now()))
            return bool(connection.execute(update(jobs).where(paused).values(resumed)).rowcount)

    def is_paused(self, job_id: str) -> bool:
        query = select(exists().where(_is_active(job_id), jobs.c.paused_at.is_not(None)))
        with self._database.read() as connection:
            return bool(connection.execute(query).scalar_one())

    def throttled_for(self, job_id: str) -> float:
        """Seconds until the job's throttle lets it list more; 0 where it may."""
        query = select(jobs.c.next_at - epoch_now()).where(jobs.c.id == job_id)
        with self._database.read() as connection:
            return max(float(connection.execute(query).scalar() or 0.0), 0.0)

    def prioritise(self, job_id: str, priority: Priority) -> bool:
        """Give an active job another priority; False where it has ended."""
        return self._set(job_id, priority=priority)

    def throttle(self, job_id: str, rate: float | None) -> bool:
        """Let an active job list `rate` entities a second at most, or lift that; False where it has
        ended. What it was ahead of the old rate by, it has to wait for at the new one."""
        entities_ahead = (jobs.c.next_at - epoch_now()) * jobs.c.throttle
        next_at = epoch_now() + entities_ahead / rate if rate else None
        return self._set(job_id, throttle=rate, next_at=next_at)

    def charge(self, job_id: str, entities: int) -> float:
        """Charge a job for entities it has listed; the seconds until it may list more."""
        begin = func.coalesce(jobs.c.next_at, epoch_now())
        earliest = epoch_now() - CATCHING_UP
        statement = (
            update(jobs)
            .where(jobs.c.id == job_id, jobs.c.throttle.is_not(None))
            .values(
                next_at=case((begin > earliest, begin), else_=earliest)
                + literal(float(entities)) / jobs.c.throttle
            )
            .returning(jobs.c.next_at - epoch_now())
        )
        with self._database.write() as connection:
            return max(float(connection.execute(statement).scalar() or 0.0), 0.0)

    def _set(self, job_id: str, *held: ColumnElement[bool], **values: object) -> bool:
        statement = update(jobs).where(_is_active(job_id), *held).values(**values)
        with self._database.write() as connection:
            return bool(connection.execute(statement).rowcount)


def _is_active(job_id: str) -> ColumnElement[bool]:
    return and_(jobs.c.id == job_id, jobs.c.state.in_(ACTIVE))
