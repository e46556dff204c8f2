"""Where every job stands that has not ended: what it has in hand, and what it waits for; and how
up to date every index is."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, case, func, select

from celeriac.catalog.database import Database, epoch_now
from celeriac.catalog.jobs import ACTIVE, JobState
from celeriac.catalog.pages import PageState, is_waiting
from celeriac.catalog.tables import indexes, jobs, knowledge_indexes, pages
from celeriac.model import Priority


@dataclass(frozen=True, slots=True)
class Standing:
    """One job that is queued or running."""

    job_id: str
    tenant: str
    state: JobState
    priority: Priority
    paused: bool
    throttled_for: float
    """Seconds until its throttle lets it list more; 0 where it may."""
    held: int
    """Pages that workers have in hand; its finish counts as one."""
    waiting: int
    """Pages that no worker has taken, though they are due."""
    waited: float
    """Seconds for which the first of them has waited; of a queued job, since it was created."""
    behind: str | None
    """The running job of the same index that a queued one waits for."""

    @property
    def open(self) -> bool:
        """Whether a worker may take a page of it now."""
        return self.waiting > 0 and not self.paused and self.throttled_for <= 0


@dataclass(frozen=True, slots=True)
class Freshness:
    """How up to date an index is."""

    tenant: str
    entity_type: str
    succeeded_at: float | None
    """When a job last found it equal to its source."""
    lag: float
    """Seconds since the first request of a job that has not ended; 0 where there is none."""


class Standings:
    """The tables `jobs` and `pages`, one row an active job."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def now(self) -> list[Standing]:
        """Every active job, the oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(_active_jobs()).all()
        running = {row.index_id: row.id for row in rows if row.state == JobState.RUNNING}
        return [_standing(row, running) for row in rows]

    def freshness(self, limit: int) -> list[Freshness]:
        """Of the indexes that are there, those that were not indexed for longest first."""
        active = and_(jobs.c.index_id == indexes.c.id, jobs.c.state.in_(ACTIVE))
        lag = func.coalesce(epoch_now() - func.min(jobs.c.created_at), 0.0)
        columns = (indexes.c.tenant, indexes.c.entity_type, indexes.c.last_indexed_at)
        query = (
            select(*columns, lag)
            .outerjoin_from(indexes, jobs, active)
            .outerjoin(knowledge_indexes, knowledge_indexes.c.id == indexes.c.id)
            .where(knowledge_indexes.c.deleted_at.is_(None))
            .group_by(indexes.c.id)
            .order_by(func.coalesce(indexes.c.last_indexed_at, 0.0), indexes.c.id)
            .limit(limit)
        )
        with self._database.read() as connection:
            return [Freshness(*row) for row in connection.execute(query)]


@functools.cache
def _active_jobs() -> Select[Any]:
    due = case((pages.c.not_before > pages.c.sent_at, pages.c.not_before), else_=pages.c.sent_at)
    queued = jobs.c.state == JobState.QUEUED
    since = case((queued, jobs.c.created_at), else_=func.min(case((is_waiting(), due))))
    pending = and_(pages.c.job_id == jobs.c.id, pages.c.state == PageState.PENDING)
    return (
        select(
            *(jobs.c[name] for name in ("id", "index_id", "tenant", "state", "priority")),
            jobs.c.paused_at.is_not(None).label("paused"),
            (jobs.c.next_at - epoch_now()).label("throttled_for"),
            _number(jobs.c.lease_until >= epoch_now()).label("finishing"),
            func.sum(_number(pages.c.lease_until >= epoch_now())).label("held"),
            func.sum(_number(is_waiting())).label("waiting"),
            (epoch_now() - since).label("waited"),
        )
        .outerjoin_from(jobs, pages, pending)
        .where(jobs.c.state.in_(ACTIVE))
        .group_by(jobs.c.id)
        .order_by(jobs.c.created_at, jobs.c.id)
    )


def _standing(row: Row[Any], running: dict[str, str]) -> Standing:
    throttled_for, waited = row.throttled_for, row.waited or 0.0
    if throttled_for is not None:
        waited = min(waited, -throttled_for)  # what it waited for its throttle is no queueing
    return Standing(
        job_id=row.id,
        tenant=row.tenant,
        state=JobState(row.state),
        priority=Priority(row.priority),
        paused=bool(row.paused),
        throttled_for=max(throttled_for or 0.0, 0.0),
        held=int(row.held) + int(row.finishing),
        waiting=int(row.waiting),
        waited=max(waited, 0.0),
        behind=running.get(row.index_id) if row.state == JobState.QUEUED else None,
    )


def _number(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return case((condition, 1), else_=0)
