"""Databases that sources read: few connections, read-only transactions, errors as celeriac's."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from celeriac.errors import ConfigurationError, SourceError, SourceUnavailable

CONNECT_SECONDS = 10
POOL_SECONDS = 30.0
"""For a free connection."""
RECYCLE_SECONDS = 600

_PASSING_STATES = ("08", "40", "53", "55", "57", "58")
"""Classes of SQLSTATE that may pass: connection, rollback, resources, locks, operator, system."""
_PASSING_SQLITE = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}
)
_PRIMARY_CODE = 0xFF


def connect(url: str) -> Engine:
    """An engine whose transactions read only. Connects nowhere yet.

    Raises:
        ConfigurationError: the URL is none, or the database's driver is not installed.
    """
    try:
        parsed = make_url(url)
        engine = sa.create_engine(
            parsed,
            hide_parameters=True,
            pool_pre_ping=True,
            pool_recycle=RECYCLE_SECONDS,
            connect_args=_connect_args(parsed),
            **_pool_options(parsed),
        )
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise ConfigurationError(
            f"The source's `url` cannot be used: {error}; it is driver://user@host/database, and "
            "the driver's package has to be installed."
        ) from None
    if parsed.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    elif engine.driver == "psycopg":
        event.listen(engine, "connect", _prepare_psycopg)
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[sa.Connection]:
    """A connection in a read-only transaction.

    Raises:
        SourceUnavailable: the database cannot be reached, or is busy.
        SourceError: it refuses what it is asked; the message is its own.
    """
    try:
        _check_exists(engine.url)
        with engine.connect() as connection:
            yield connection.execution_options(postgresql_readonly=True)
    except SQLAlchemyError as error:
        raise _translated(error, engine.url) from error


def beside(url: str, folder: Path) -> str:
    """The URL, with a relative path to a SQLite file made absolute, from `folder`."""
    parsed = make_url(url)
    if not _is_file(parsed):
        return url
    moved = parsed.set(database=str(folder.absolute() / (parsed.database or "")))
    return moved.render_as_string(hide_password=False)


def shown(url: URL) -> str:
    """A database's place without user, password and options."""
    host = f"{url.host or ''}:{url.port}" if url.port else url.host or ""
    return f"{url.get_backend_name()}://{host}/{url.database or ''}"


def _is_file(url: URL) -> bool:
    """Whether it is a SQLite database in a file that the URL names by its path."""
    path = url.database or ":memory:"
    return url.get_backend_name() == "sqlite" and not path.startswith(("file:", ":memory:"))


def _pool_options(url: URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        return {}
    return {"pool_size": 1, "max_overflow": 3, "pool_timeout": POOL_SECONDS}


def _connect_args(url: URL) -> dict[str, Any]:
    """A bound for connecting, where the URL gives none."""
    name = {"sqlite": "timeout", "postgresql": "connect_timeout"}.get(url.get_backend_name())
    return {name: CONNECT_SECONDS} if name and name not in url.query else {}


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.execute("PRAGMA query_only = ON")
    connection.text_factory = _sqlite_text


def _sqlite_text(content: bytes) -> str:
    """Text of a row; one that is none must not keep the others from being read."""
    return content.decode("utf-8", "surrogateescape")


def _prepare_psycopg(connection: Any, _: object) -> None:
    """Read dates and times as PostgreSQL writes them: Python's have no infinity and end in 9999."""
    from psycopg.adapt import Loader

    class Text(Loader):
        def load(self, data: Any) -> str:
            return bytes(data).decode("ascii")

    class Timestamp(Text):
        def load(self, data: Any) -> str:
            return super().load(data).replace(" ", "T", 1)

    for kind in ("date", "time", "timetz", "interval"):
        connection.adapters.register_loader(kind, Text)
    for kind in ("timestamp", "timestamptz"):
        connection.adapters.register_loader(kind, Timestamp)


def _check_exists(url: URL) -> None:
    """SQLite would create a missing database."""
    if _is_file(url) and not Path(url.database or "").exists():
        raise SourceError(f"{url.database} does not exist; check the source's `url`.")


def _translated(error: SQLAlchemyError, url: URL) -> SourceError | SourceUnavailable:
    place = shown(url)
    if not isinstance(error, DBAPIError) or error.orig is None:
        if isinstance(error, sa.exc.TimeoutError):
            return SourceUnavailable(f"{place}: no connection became free; it will be tried again.")
        if isinstance(error, sa.exc.NoSuchTableError):
            return SourceError(f"{place} has no table {error}; check the source's `table`.")
        return SourceError(f"{place}: {_safe(str(error), url)}")
    said = _safe(str(error.orig).strip(), url)
    if error.connection_invalidated or _passes(error.orig):
        return SourceUnavailable(f"{place} cannot be read for now: {said}")
    return SourceError(
        f"{place} refuses the query: {said}; check `table`, `query`, `id` and `key`."
    )


def _passes(error: BaseException) -> bool:
    """Whether the same query may succeed later."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None) or 0
        return (code & _PRIMARY_CODE) in _PASSING_SQLITE
    state = getattr(error, "sqlstate", None)
    if state is None:
        return type(error).__name__ in ("OperationalError", "InterfaceError")
    return str(state).startswith(_PASSING_STATES)


def _safe(message: str, url: URL) -> str:
    password = url.password
    return message.replace(str(password), "***") if password else message
