"""The connection to the catalog: transactions, the database's own clock, one outage error."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, Float, Table, create_engine, event, make_url, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement

from celeriac.errors import CatalogUnavailable, ConfigurationError

CONNECT_TIMEOUT = 3
"""Seconds until a connection attempt is given up."""
STATEMENT_TIMEOUT = 30
"""Seconds a statement may take."""
WHOLE_JOB_TIMEOUT = 3600
"""Seconds a statement about all rows of a job may take."""
_BUSY_PAUSE = 0.01


class epoch_now(FunctionElement[float]):  # noqa: N801  (an SQL function)
    """Unix seconds by the database's clock, so that workers' clocks do not matter to leases."""

    type = Float()
    inherit_cache = True


@compiles(epoch_now, "sqlite")
def _sqlite_now(_element: epoch_now, _compiler: SQLCompiler, **_: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(epoch_now, "postgresql")
def _postgresql_now(_element: epoch_now, _compiler: SQLCompiler, **_: Any) -> str:
    return "extract(epoch from clock_timestamp())::double precision"


class Database:
    """An SQLAlchemy engine for SQLite (WAL) or PostgreSQL, opened lazily."""

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """For reading; see `statements`.

        Raises:
            CatalogUnavailable: the database cannot be reached.
        """
        with self._alone(write=False) as connection:
            yield connection

    @contextmanager
    def statements(self) -> Iterator[Connection]:
        """For statements each of which takes effect by itself. On PostgreSQL that saves two
        exchanges; on SQLite it is a transaction.

        Raises:
            CatalogUnavailable: the database cannot be reached.
        """
        with self._alone(write=True) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction for writing, committed on leaving.

        Raises:
            CatalogUnavailable: the database cannot be reached.
        """
        with self._transaction(write=True) as connection:
            yield connection

    @contextmanager
    def frozen(self) -> Iterator[Connection]:
        """A transaction in which everything is read as it is at one moment.

        Raises:
            CatalogUnavailable: the database cannot be reached.
        """
        with self._transaction(write=False) as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            yield connection

    @contextmanager
    def unhurried(self) -> Iterator[Connection]:
        """For reading all rows of a job, which takes minutes where there are many millions.

        Raises:
            CatalogUnavailable: the database cannot be reached.
        """
        with self._transaction(write=False) as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{WHOLE_JOB_TIMEOUT}s'")
            yield connection

    @contextmanager
    def _alone(self, *, write: bool) -> Iterator[Connection]:
        if self.engine.dialect.name != "postgresql":
            with self._transaction(write=write) as connection:
                yield connection
            return
        from celeriac.catalog.postgresql import in_use

        with (
            self._transaction(write=write, isolation_level="AUTOCOMMIT") as connection,
            in_use(connection),
        ):
            yield connection

    @contextmanager
    def _transaction(self, *, write: bool, **options: str) -> Iterator[Connection]:
        try:
            with (
                self.engine.connect().execution_options(
                    celeriac_write=write, **options
                ) as connection,
                connection.begin(),
            ):
                yield connection
        except IntegrityError:
            raise
        except (OperationalError, InterfaceError, PoolTimeout) as error:
            if _is_mistake(error):
                raise
            raise CatalogUnavailable(_outage(self.engine, error)) from error
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            raise CatalogUnavailable(_outage(self.engine, error)) from error

    def now(self) -> float:
        """Unix seconds by the database's clock."""
        with self.read() as connection:
            return float(connection.execute(select(epoch_now())).scalar_one())

    def insert_new(self, table: Table) -> Any:
        """An INSERT that leaves existing rows as they are."""
        dialect = sqlite if self.engine.dialect.name == "sqlite" else postgresql
        return dialect.insert(table).on_conflict_do_nothing()

    def close(self) -> None:
        """Close pooled connections."""
        self.engine.dispose()


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    match parsed.get_backend_name():
        case "sqlite":
            engine = create_engine(
                parsed, connect_args={"timeout": STATEMENT_TIMEOUT}, pool_size=16, max_overflow=32
            )
            event.listen(engine, "connect", _sqlite_connect)
            event.listen(engine, "begin", _sqlite_begin)
            return engine
        case "postgresql":
            from celeriac.catalog.postgresql import connect

            options = f"-c statement_timeout={STATEMENT_TIMEOUT}s -c lock_timeout=10s"
            engine = create_engine(
                parsed.set(drivername="postgresql+psycopg"),
                connect_args={
                    "connect_timeout": CONNECT_TIMEOUT,
                    "options": options,
                    # A network that swallows packets is noticed within seconds too.
                    "tcp_user_timeout": 10_000,
                    "keepalives_idle": 10,
                    "keepalives_interval": 5,
                    "keepalives_count": 3,
                },
                pool_size=8,
                max_overflow=24,
                pool_timeout=CONNECT_TIMEOUT,
                pool_pre_ping=True,
                pool_recycle=1800,
            )
            event.listen(engine, "do_connect", connect)
            return engine
        case other:
            raise ConfigurationError(
                f"CELERIAC_DATABASE_URL names {other!r}; the catalog runs on sqlite and postgresql."
            )


def _sqlite_connect(connection: Any, _record: Any) -> None:
    # SQLAlchemy's own BEGIN comes from `_sqlite_begin`; the driver must not add another.
    connection.isolation_level = None
    cursor = connection.cursor()
    _write_ahead(cursor)
    for pragma in ("synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _write_ahead(cursor: sqlite3.Cursor) -> None:
    """Switch a new database to its write-ahead log. SQLite does not wait for the lock that this
    takes, whatever the connection's timeout: of two that open a new file, one is refused."""
    deadline = time.monotonic() + STATEMENT_TIMEOUT
    while (refusal := _refusal(cursor)) is not None:
        if time.monotonic() > deadline:
            raise refusal
        time.sleep(_BUSY_PAUSE)


def _refusal(cursor: sqlite3.Cursor) -> sqlite3.OperationalError | None:
    try:
        cursor.execute("PRAGMA journal_mode=WAL")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise
        return error
    return None


def _sqlite_begin(connection: Connection) -> None:
    # A transaction that reads first and writes later would fail at once when another one wrote
    # in between; taking the write lock at the beginning makes it wait instead.
    write = connection.get_execution_options().get("celeriac_write", True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _is_mistake(error: Exception) -> bool:
    """Whether the statement is wrong: SQLite reports that as it reports an outage."""
    cause = getattr(error, "orig", None)
    return isinstance(cause, sqlite3.Error) and cause.sqlite_errorcode == sqlite3.SQLITE_ERROR


def _outage(engine: Engine, error: Exception) -> str:
    cause = str(getattr(error, "orig", error)).strip().splitlines()
    where = engine.url.render_as_string(hide_password=True)
    return (
        f"The catalog database at {where} cannot be used for now "
        f"({cause[0] if cause else type(error).__name__}); "
        "check CELERIAC_DATABASE_URL and that the server runs."
    )
