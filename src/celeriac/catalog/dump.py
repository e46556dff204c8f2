"""The catalog as files: one a table, JSON Lines, the same for SQLite and PostgreSQL."""

from __future__ import annotations

import base64
import gzip
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, LargeBinary, Table, func, select, update

from celeriac.catalog.database import Database, epoch_now
from celeriac.catalog.indexes import GenerationState
from celeriac.catalog.jobs import ACTIVE, JobState
from celeriac.catalog.leases import end_leases
from celeriac.catalog.tables import documents, generations, indexes, jobs, metadata
from celeriac.errors import Conflict

LEFT_OUT = frozenset({"listings", "access_tokens"})
"""What running jobs have seen, which end with the backup; tokens, which end within the hour."""
ROWS_AT_A_TIME = 500
RESTORED = "The catalog was restored from a backup that was made while it ran."

GONE = (GenerationState.DROPPING, GenerationState.DROPPED)


def dump(database: Database, folder: Path) -> dict[str, int]:
    """Write every table as it is at one moment; rows by table."""
    folder.mkdir(parents=True, exist_ok=True)
    with database.frozen() as connection:
        return {table.name: _dump_table(connection, table, folder) for table in _tables()}


def load(database: Database, folder: Path, *, overwrite: bool = False) -> None:
    """Fill the catalog in one transaction. Jobs that ran or waited are ended, nothing holds a page,
    and every index has a reindex queued.

    Raises:
        Conflict: there is something in it, and it is not to be overwritten.
    """
    with database.write() as connection:
        if overwrite:
            for table in reversed(metadata.sorted_tables):
                connection.execute(table.delete())
        _require_empty(connection)
        for table in _tables():
            _load_table(connection, table, folder)
        _renumber(connection)
        _end_jobs(connection)
        _queue_jobs(connection)


def require_empty(database: Database) -> None:
    """Raise Conflict where there is something in the catalog."""
    with database.read() as connection:
        _require_empty(connection)


def collections(database: Database) -> list[str]:
    """Names of the collections that generations are in whose points are kept."""
    query = select(generations.c.collection).distinct().where(generations.c.state.not_in(GONE))
    with database.read() as connection:
        return sorted(row.collection for row in connection.execute(query))


def kept_generations(database: Database) -> set[tuple[str, int]]:
    """Those whose points are kept: index ids and numbers."""
    query = select(generations.c.index_id, generations.c.number)
    with database.read() as connection:
        kept = connection.execute(query.where(generations.c.state.not_in(GONE)))
        return {(row.index_id, row.number) for row in kept}


def _tables() -> list[Table]:
    """In an order in which each refers to those before."""
    return [table for table in metadata.sorted_tables if table.name not in LEFT_OUT]


def _file(folder: Path, table: Table) -> Path:
    return folder / f"{table.name}.jsonl.gz"


def _dump_table(connection: Connection, table: Table, folder: Path) -> int:
    count = 0
    query = select(table).order_by(*table.primary_key.columns)
    streamed = connection.execution_options(yield_per=ROWS_AT_A_TIME).execute(query)
    with gzip.open(_file(folder, table), "wt", encoding="utf-8") as lines:
        for row in streamed.mappings():
            values = {name: _plain(value) for name, value in row.items() if value is not None}
            lines.write(json.dumps(values, ensure_ascii=False) + "\n")
            count += 1
    return count


def _plain(value: object) -> object:
    return base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else value


def _load_table(connection: Connection, table: Table, folder: Path) -> None:
    binary = {column.name for column in table.columns if isinstance(column.type, LargeBinary)}
    parents = []
    # Without what is null, so that JSON's null does not take the place of SQL's.
    for values in _rows(_file(folder, table)):
        for name in binary & values.keys():
            values[name] = base64.b64decode(values[name])
        if table is documents and "parent_id" in values:
            parents.append((values["id"], values.pop("parent_id")))
        connection.execute(table.insert().values(values))
    for child, parent in parents:
        of_child = update(documents).where(documents.c.id == child)
        connection.execute(of_child.values(parent_id=parent))


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _require_empty(connection: Connection) -> None:
    for table in _tables():
        if connection.execute(select(func.count()).select_from(table)).scalar_one():
            raise Conflict(
                f"The catalog is not empty: it has {table.name}. Name an empty database in "
                "CELERIAC_DATABASE_URL, or give --overwrite to lose what is there."
            )


def _renumber(connection: Connection) -> None:
    """Have PostgreSQL's own numbers go on after those that were brought along."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(
            "SELECT setval(pg_get_serial_sequence('job_errors', 'id'), "
            "(SELECT coalesce(max(id), 0) + 1 FROM job_errors), false)"
        )


def _end_jobs(connection: Connection) -> None:
    connection.execute(
        update(jobs)
        .where(jobs.c.state.in_(ACTIVE))
        .values(state=JobState.FAILED, message=RESTORED, finished_at=epoch_now())
    )
    end_leases(connection)


def _queue_jobs(connection: Connection) -> None:
    for index in connection.execute(select(indexes)).all():
        connection.execute(
            jobs.insert().values(
                id=str(uuid.uuid4()),
                index_id=index.id,
                tenant=index.tenant,
                entity_type=index.entity_type,
                state=JobState.QUEUED,
                created_at=epoch_now(),
            )
        )
