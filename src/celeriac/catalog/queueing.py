"""The job that waits for an index, or else a new one: statements that are compiled once."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import Executable, Float, bindparam, cast, exists, literal, select, union_all
from sqlalchemy.dialects import postgresql, sqlite

from celeriac.catalog.database import epoch_now
from celeriac.catalog.jobs import JobState
from celeriac.catalog.tables import indexes, jobs

VALUES = (
    "id",
    "state",
    "index_id",
    "tenant",
    "entity_type",
    "removal_limit",
    "mode",
    "retries",
    "priority",
    "throttle",
)
"""Of a new job: what the statements are executed with."""


@cache
def waiting_or_new(dialect: str) -> tuple[Executable, ...]:
    """The statements to execute in turn until one gives a row: the job, and `joined`, whether it
    was there. One on PostgreSQL, where each costs an exchange. None gives a row where another
    request was faster, or where there is no such index."""
    waiting = select(jobs, literal(True).label("joined")).where(
        jobs.c.index_id == _given("index_id"), jobs.c.state == JobState.QUEUED
    )
    if dialect == "sqlite":
        made = _insert(sqlite.insert(jobs)).returning(*jobs.c, literal(False).label("joined"))
        return waiting, made
    inserted = _insert(postgresql.insert(jobs)).returning(*jobs.c).cte("made")
    return (union_all(waiting, select(inserted, literal(False).label("joined"))),)


def _insert(insert: Any) -> Any:
    waits = exists().where(jobs.c.index_id == _given("index_id"), jobs.c.state == JobState.QUEUED)
    row = select(*(_given(name).label(name) for name in VALUES), epoch_now().label("created_at"))
    row = row.where(indexes.c.id == _given("index_id"), ~waits)
    return insert.from_select([*VALUES, "created_at"], row).on_conflict_do_nothing()


def _given(name: str) -> Any:
    kind = jobs.c[name].type
    given = bindparam(f"new_{name}", type_=kind)
    # PostgreSQL would take a NULL without a type for a text.
    return cast(given, kind) if isinstance(kind, Float) else given
