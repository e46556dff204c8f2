"""Jobs: one run over one index."""

from __future__ import annotations

import builtins
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    and_,
    bindparam,
    case,
    exists,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql.dml import ReturningUpdate

from celeriac.catalog.database import Database, epoch_now
from celeriac.catalog.lists import Window, count_of, window_of
from celeriac.catalog.tables import jobs, pages
from celeriac.model import COUNTERS, Counters, Priority, Selection, storable


class JobState(StrEnum):
    """Where a job is in its life; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobMode(StrEnum):
    """What a job takes."""

    REINDEX = "reindex"
    """Everything that the source lists; what it does not list is removed."""
    RETRY = "retry"
    """Entities that failed in earlier jobs, and nothing else."""


SHORTEST = 1e-3
"""Seconds a job is held to have worked at least."""
MAX_CLASS = 128
"""Characters of an error's class that are kept."""
FINAL = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
ACTIVE = (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True, slots=True)
class Job:
    """A row of the table `jobs`."""

    id: str
    index_id: str
    tenant: str
    entity_type: str
    state: JobState
    epoch: int
    """Grows each time the job is taken up; a worker of an older epoch writes nothing."""
    generation: int | None
    mode: JobMode
    retries: tuple[Selection, ...]
    """What a retry takes; empty for a reindex."""
    message: str
    """Why it failed or was cancelled, what a retry that succeeded did, that nothing was listed;
    empty otherwise."""
    error_class: str | None
    """Of what it failed with, where that is known."""
    expected: int | None
    """Entities the listing is expected to have, where that is known."""
    removal_limit: float | None
    """Share of the index this job may remove, where it was set for this job alone."""
    priority: Priority
    throttle: float | None
    """Entities a second that it lists at most; None: as many as it can."""
    paused_at: float | None
    """Since when it has been paused; None where it is not."""
    paused_by: str | None
    """Who paused it last, where that is known."""
    paused_seconds: float
    """For how long it was paused before, in all, since it was taken up."""
    created_at: float
    started_at: float | None
    finished_at: float | None
    gate: Mapping[str, Any] | None
    """What was found before its generation went live; None where it did not."""
    load_seconds: float
    """For how long nothing was embedded because its model was loaded; known once it has ended."""
    counters: Counters

    @property
    def paused(self) -> bool:
        """Whether it is held up until it is resumed."""
        return self.paused_at is not None and self.state in ACTIVE

    def seconds(self, now: float) -> float:
        """For how long it has run, or ran, without the time it was paused."""
        if self.started_at is None:
            return 0.0
        end = self.finished_at or now
        pause = end - self.paused_at if self.paused_at is not None else 0.0
        return max(end - self.started_at - self.paused_seconds - pause, 0.0)

    def working_seconds(self, now: float) -> float:
        """Likewise, without the time in which its model was loaded: what rates are of."""
        return max(self.seconds(now) - self.load_seconds, SHORTEST)


@dataclass(frozen=True, slots=True)
class Seen:
    """A job as it was at a moment; of two, the later one is right."""

    job: Job
    at: float
    """Unix seconds by the database's clock."""


class Jobs:
    """Rows of the table `jobs`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def waiting(self, index_id: str) -> Job | None:
        """The job that waits for the index to become free."""
        query = select(jobs).where(jobs.c.index_id == index_id, jobs.c.state == JobState.QUEUED)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return job_of(row._mapping) if row else None

    def get(self, job_id: str) -> Job | None:
        with self._database.read() as connection:
            row = connection.execute(_one(), {"of_job": job_id}).one_or_none()
        return job_of(row._mapping) if row else None

    def seen(self, job_id: str) -> Seen | None:
        """The job, and when this was so."""
        query = select(jobs, epoch_now().label("seen_at")).where(jobs.c.id == job_id)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return _seen(row._mapping) if row else None

    def recent(self, *, tenant: str | None = None, limit: int = 50) -> builtins.list[Job]:
        """The jobs created last, newest first."""
        query = select(jobs).order_by(jobs.c.created_at.desc()).limit(limit)
        if tenant is not None:
            query = query.where(jobs.c.tenant == tenant)
        with self._database.read() as connection:
            return [job_of(row._mapping) for row in connection.execute(query)]

    def list(self, index_id: str, window: Window) -> tuple[builtins.list[Job], bool]:
        """A part of an index's jobs, and whether more follow."""
        owner = jobs.c.index_id == index_id
        with self._database.read() as connection:
            found = window_of(connection, jobs, owner, owner, window)
        return [job_of(row) for row in found.rows], found.has_more

    def search(
        self,
        tenant: str,
        *,
        entity_type: str | None = None,
        states: Sequence[JobState] = (),
        listed: bool | None = None,
        job_id: str | None = None,
        order: str = "created_at",
        descending: bool = True,
        offset: int = 0,
        limit: int = 60,
    ) -> tuple[builtins.list[Job], int]:
        """Reindexes of the tenant's entity types that are so, and how many there are in all; with
        `listed`, those whose source is listed to its end, or is not."""
        where = [jobs.c.tenant == tenant, jobs.c.entity_type.not_like("kb:%")]
        if entity_type is not None:
            where.append(jobs.c.entity_type == entity_type)
        if states:
            where.append(jobs.c.state.in_(states))
        if job_id is not None:
            where.append(jobs.c.id == job_id)
        if listed is not None:
            to_the_end = exists().where(
                pages.c.job_id == jobs.c.id, pages.c.is_last, pages.c.round == jobs.c.rounds
            )
            where.append(to_the_end if listed else ~to_the_end)
        columns = (jobs.c[order], jobs.c.id)
        query = select(jobs).where(*where).offset(offset).limit(limit)
        query = query.order_by(*(one.desc() if descending else one.asc() for one in columns))
        with self._database.read() as connection:
            found = [job_of(row) for row in connection.execute(query).mappings()]
            return found, count_of(connection, jobs, and_(*where))

    def count(self, index_id: str) -> int:
        """How many jobs of the index there are."""
        with self._database.read() as connection:
            return count_of(connection, jobs, jobs.c.index_id == index_id)

    def of_index(self, index_id: str, *states: JobState, limit: int = 10) -> builtins.list[Job]:
        """The jobs of one index created last, newest first; in these states, or in any."""
        query = select(jobs).where(jobs.c.index_id == index_id)
        if states:
            query = query.where(jobs.c.state.in_(states))
        query = query.order_by(jobs.c.created_at.desc()).limit(limit)
        with self._database.read() as connection:
            return [job_of(row._mapping) for row in connection.execute(query)]

    def first_of(self, index_id: str, states: Sequence[JobState]) -> Job | None:
        """The newest job of an index in the first of these states that any is in."""
        rank = case({state: place for place, state in enumerate(states)}, value=jobs.c.state)
        query = select(jobs).where(jobs.c.index_id == index_id, jobs.c.state.in_(states))
        query = query.order_by(rank, jobs.c.created_at.desc()).limit(1)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return job_of(row._mapping) if row else None

    def take_up(self, job_id: str) -> Job | None:
        """Set a queued job running; None where it is not queued, or paused, or another of its index
        runs."""
        statement = (
            update(jobs)
            .where(
                jobs.c.id == job_id,
                jobs.c.state == JobState.QUEUED,
                jobs.c.paused_at.is_(None),
            )
            .values(state=JobState.RUNNING, started_at=epoch_now(), epoch=jobs.c.epoch + 1)
            .returning(jobs)
        )
        try:
            with self._database.write() as connection:
                row = connection.execute(statement).one_or_none()
        except IntegrityError:
            return None
        return job_of(row._mapping) if row else None

    def plan(self, job_id: str, generation: int) -> None:
        """Record which generation a running job writes."""
        self._update(job_id, JobState.RUNNING, generation=generation)

    def expect(self, job_id: str, expected: int) -> None:
        """Record how many entities the source says it has."""
        self._update(job_id, JobState.RUNNING, expected=expected)

    def loaded(self, job_id: str, seconds: float) -> None:
        """Record for how long a job waited for its model."""
        with self._database.write() as connection:
            found = update(jobs).where(jobs.c.id == job_id)
            connection.execute(found.values(load_seconds=seconds))

    def cancel(self, job_id: str) -> bool:
        """Cancel a job that has not ended; False where there is none."""
        return self._end(job_id, JobState.CANCELLED, "cancelled on request")

    def fail(self, job_id: str, message: str, error: Exception | None = None) -> bool:
        """Fail a job that has not ended, because of an error if there is one; False where there is
        none."""
        return self._end(job_id, JobState.FAILED, message, class_of(error) if error else None)

    def running_for(self, job_id: str) -> float:
        """Seconds since the job was taken up, or resumed."""
        since = func.coalesce(jobs.c.resumed_at, jobs.c.started_at)
        query = select(epoch_now() - since).where(jobs.c.id == job_id)
        with self._database.read() as connection:
            return float(connection.execute(query).scalar() or 0.0)

    def claim_finish(self, job_id: str, token: str, lease: float) -> bool:
        """Take the lease under which one worker finishes the job."""
        statement = (
            update(jobs)
            .where(
                jobs.c.id == job_id,
                jobs.c.state == JobState.RUNNING,
                jobs.c.paused_at.is_(None),
                or_(
                    jobs.c.lease_until.is_(None),
                    jobs.c.lease_until < epoch_now(),
                    jobs.c.lease_token == token,
                ),
            )
            .values(lease_token=token, lease_until=epoch_now() + lease)
        )
        with self._database.write() as connection:
            return bool(connection.execute(statement).rowcount)

    def renew_finish(self, job_id: str, token: str, lease: float) -> bool:
        """Extend the lease; False where it was lost or given back, or the job does not run."""
        return self._update(
            job_id, JobState.RUNNING, jobs.c.lease_token == token, lease_until=epoch_now() + lease
        )

    def release_finish(self, job_id: str, token: str) -> bool:
        """Give the lease back; False where it was lost."""
        statement = (
            update(jobs)
            .where(jobs.c.id == job_id, jobs.c.lease_token == token)
            .values(lease_token=None, lease_until=None)
        )
        with self._database.write() as connection:
            return bool(connection.execute(statement).rowcount)

    def _end(
        self, job_id: str, state: JobState, message: str, error_class: str | None = None
    ) -> bool:
        statement = (
            update(jobs)
            .where(jobs.c.id == job_id, jobs.c.state.in_(ACTIVE))
            .values(
                state=state,
                message=storable(message),
                error_class=error_class,
                finished_at=epoch_now(),
            )
        )
        with self._database.write() as connection:
            return bool(connection.execute(statement).rowcount)

    def _update(
        self, job_id: str, expected_state: JobState, *held: ColumnElement[bool], **values: Any
    ) -> bool:
        statement = (
            update(jobs)
            .where(and_(jobs.c.id == job_id, jobs.c.state == expected_state, *held))
            .values(**values)
        )
        with self._database.write() as connection:
            return bool(connection.execute(statement).rowcount)


def is_finishing(job_id: str, token: str) -> ColumnElement[bool]:
    """Whether the job runs, and the worker of this token finishes it."""
    return and_(jobs.c.id == job_id, jobs.c.state == JobState.RUNNING, jobs.c.lease_token == token)


def add_counters(connection: Connection, job_id: str, counters: Counters) -> Seen:
    """Add a page's counters to its job's, within the caller's transaction; the job with them."""
    values = {f"more_{name}": getattr(counters, name) for name in COUNTERS}
    row = connection.execute(_adding(), {"of_job": job_id, **values}).one()
    return _seen(row._mapping)


# Made once: see the statements of `pages`.


@functools.cache
def _one() -> Select[Any]:
    return select(jobs).where(jobs.c.id == bindparam("of_job"))


@functools.cache
def _adding() -> ReturningUpdate[Any]:
    values = {jobs.c[name]: jobs.c[name] + bindparam(f"more_{name}") for name in COUNTERS}
    added = update(jobs).where(jobs.c.id == bindparam("of_job")).values(values)
    # Whoever writes to the row waits for this transaction: the moments are in its order.
    return added.returning(jobs, epoch_now().label("seen_at"))


def class_of(error: Exception) -> str:
    """What an error is called in the catalog."""
    return type(error).__name__[:MAX_CLASS]


def _seen(values: RowMapping) -> Seen:
    return Seen(job_of(values), values["seen_at"])


def job_of(values: RowMapping) -> Job:
    converted: dict[str, Any] = {
        "state": JobState(values["state"]),
        "mode": JobMode(values["mode"]),
        "retries": tuple(Selection(**one) for one in values["retries"] or ()),
        "priority": Priority(values["priority"]),
        "counters": Counters(*(values[name] for name in COUNTERS)),
    }
    plain = {field.name: values[field.name] for field in fields(Job) if field.name not in converted}
    return Job(**plain, **converted)
