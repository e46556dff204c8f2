"""What people look at first: every index with its last jobs, what runs, what went wrong."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, func, select, true

from celeriac.catalog.database import Database
from celeriac.catalog.indexes import Generation, IndexRow, generation_of
from celeriac.catalog.jobs import ACTIVE, FINAL, Job, JobMode, JobState, job_of
from celeriac.catalog.tables import (
    generations,
    indexes,
    job_errors,
    jobs,
    knowledge_bases,
    knowledge_indexes,
)
from celeriac.errors import DuplicateId

Tenants = Collection[str] | None
"""None stands for every tenant."""


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """The errors of one class in a job."""

    error_class: str
    count: int
    retryable: int
    """How many of them may succeed as they stand."""
    named: int
    """How many name an entity that a retry can take."""
    example: str
    """What one of them says."""
    entity_ids: tuple[str, ...]
    """Of the first few."""


class Overviews:
    """Reads across indexes; nothing here decides anything."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def indexes(self, tenants: Tenants) -> list[IndexRow]:
        """The indexes of these tenants, by tenant and name."""
        query = select(indexes).where(_of(indexes.c.tenant, tenants))
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(indexes.c.tenant, indexes.c.entity_type))
            return [IndexRow(**row._mapping) for row in rows]

    def live_generations(self, tenants: Tenants) -> dict[str, Generation]:
        """The generations that searches read, by index id."""
        query = select(generations).join(
            indexes,
            (indexes.c.id == generations.c.index_id)
            & (indexes.c.live_generation == generations.c.number),
        )
        with self._database.read() as connection:
            found = connection.execute(query.where(_of(indexes.c.tenant, tenants)))
            return {row.index_id: generation_of(row) for row in found}

    def titles(self, tenants: Tenants) -> dict[str, str]:
        """What people call indexes of knowledge bases, `Handbook / small`, by index id."""
        query = (
            select(
                knowledge_indexes.c.id,
                knowledge_indexes.c.name,
                knowledge_bases.c.name.label("knowledge_base"),
            )
            .join(knowledge_bases, knowledge_bases.c.id == knowledge_indexes.c.knowledge_base_id)
            .where(_of(knowledge_bases.c.tenant, tenants), knowledge_indexes.c.deleted_at.is_(None))
        )
        with self._database.read() as connection:
            return {
                row.id: f"{row.knowledge_base} / {row.name or row.id}"
                for row in connection.execute(query)
            }

    def knowledge_base_names(self, tenants: Tenants) -> dict[str, str]:
        """What people call knowledge bases, by id."""
        query = select(knowledge_bases.c.id, knowledge_bases.c.name)
        query = query.where(
            _of(knowledge_bases.c.tenant, tenants), knowledge_bases.c.deleted_at.is_(None)
        )
        with self._database.read() as connection:
            return {row.id: row.name for row in connection.execute(query)}

    def last_ended(self, tenants: Tenants) -> dict[str, Job]:
        """The job that ended last, by index id."""
        return self._newest(_of(jobs.c.tenant, tenants), jobs.c.state.in_(FINAL))

    def last_reindexed(self, tenants: Tenants) -> dict[str, Job]:
        """The reindex that succeeded last, by index id: it counted the whole index."""
        return self._newest(
            _of(jobs.c.tenant, tenants),
            jobs.c.state == JobState.SUCCEEDED,
            jobs.c.mode == JobMode.REINDEX,
        )

    def settled_by_retries(self, tenants: Tenants) -> dict[str, int]:
        """How many entities retries indexed or removed since the last reindex that succeeded, by
        index id."""
        succeeded = and_(_of(jobs.c.tenant, tenants), jobs.c.state == JobState.SUCCEEDED)
        reindexed = (
            select(jobs.c.index_id, func.max(jobs.c.created_at).label("at"))
            .where(succeeded, jobs.c.mode == JobMode.REINDEX)
            .group_by(jobs.c.index_id)
            .subquery()
        )
        query = (
            select(jobs.c.index_id, func.sum(jobs.c.indexed + jobs.c.removed).label("settled"))
            .join(reindexed, reindexed.c.index_id == jobs.c.index_id)
            .where(succeeded, jobs.c.mode == JobMode.RETRY, jobs.c.created_at > reindexed.c.at)
            .group_by(jobs.c.index_id)
        )
        with self._database.read() as connection:
            return {row.index_id: int(row.settled) for row in connection.execute(query)}

    def active(self, tenants: Tenants) -> list[Job]:
        """Jobs that run, then those that wait, in the order of their creation."""
        query = select(jobs).where(_of(jobs.c.tenant, tenants), jobs.c.state.in_(ACTIVE))
        query = query.order_by(jobs.c.state.desc(), jobs.c.created_at)
        with self._database.read() as connection:
            return [job_of(row) for row in connection.execute(query).mappings()]

    def jobs(
        self,
        tenants: Tenants,
        *,
        index_id: str | None = None,
        states: Sequence[JobState] = (),
        offset: int = 0,
        limit: int = 50,
    ) -> list[Job]:
        """Jobs of every kind, newest first."""
        query = select(jobs).where(_of(jobs.c.tenant, tenants))
        if index_id is not None:
            query = query.where(jobs.c.index_id == index_id)
        if states:
            query = query.where(jobs.c.state.in_(states))
        query = query.order_by(jobs.c.created_at.desc(), jobs.c.id).offset(offset).limit(limit)
        with self._database.read() as connection:
            return [job_of(row) for row in connection.execute(query).mappings()]

    def error_groups(self, job_id: str, *, examples: int = 5) -> list[ErrorGroup]:
        """What went wrong in a job by class, the most frequent first."""
        query = (
            select(
                job_errors.c.error_class,
                func.count().label("total"),
                func.count().filter(job_errors.c.retryable).label("retryable"),
                func.count(job_errors.c.entity_id).label("named"),
                func.min(job_errors.c.id).label("first"),
            )
            .where(job_errors.c.job_id == job_id)
            .group_by(job_errors.c.error_class)
            .order_by(func.count().desc(), job_errors.c.error_class)
        )
        with self._database.read() as connection:
            found = connection.execute(query).all()
            return [_group(connection, job_id, row, examples) for row in found]

    def _newest(self, *where: ColumnElement[bool]) -> dict[str, Job]:
        rank = func.row_number().over(
            partition_by=jobs.c.index_id, order_by=(jobs.c.created_at.desc(), jobs.c.id)
        )
        ranked = select(jobs, rank.label("rank")).where(*where).subquery()
        query = select(ranked).where(ranked.c.rank == 1)
        with self._database.read() as connection:
            return {row["index_id"]: job_of(row) for row in connection.execute(query).mappings()}


def _of(column: ColumnElement[str], tenants: Tenants) -> ColumnElement[bool]:
    return true() if tenants is None else column.in_(sorted(tenants))


def _group(connection: Connection, job_id: str, row: Row[Any], examples: int) -> ErrorGroup:
    said = select(job_errors.c.message).where(job_errors.c.id == row.first)
    ids = (
        select(job_errors.c.entity_id)
        .where(job_errors.c.job_id == job_id, job_errors.c.error_class == row.error_class)
        .where(job_errors.c.entity_id.is_not(None))
        .order_by(job_errors.c.id)
        .limit(examples)
    )
    # The first entity of an id was indexed: there is nothing to retry of the second.
    takes = row.error_class != DuplicateId.__name__
    return ErrorGroup(
        error_class=row.error_class,
        count=row.total,
        retryable=row.retryable,
        named=row.named if takes else 0,
        example=connection.execute(said).scalar_one(),
        entity_ids=tuple(connection.execute(ids).scalars()),
    )
