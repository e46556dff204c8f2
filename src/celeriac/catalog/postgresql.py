"""A PostgreSQL connection that gives up on a server which stays connected and does not answer.

A server that is frozen (a paused machine, a disk that hangs) closes nothing: its kernel goes on
acknowledging packets, so neither keepalives nor `tcp_user_timeout` notice, and a timeout that the
server itself keeps is frozen with it. So the client keeps one.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import Connection

PING_TIMEOUT = 3.0
"""Seconds that a connection from the pool has to show that it lives."""
ANSWER_TIMEOUT = 35.0
"""Seconds until an answer is given up: more than the server itself lets a statement take."""
ENCODING = "UTF8"


class WrongEncoding(psycopg.OperationalError):
    """The database was made for texts of another encoding, or of none."""


class NoAnswer(psycopg.OperationalError):
    """The server is connected and does not answer."""


class PatientConnection(psycopg.Connection[Any]):
    """Waits a bounded time for each answer, and closes itself when there is none.

    What was asked may still happen once the server goes on, as with any connection that is lost
    before the answer to a commit.
    """

    in_use = False
    """Whether what commits by itself is a statement of the catalog, and not SQLAlchemy's ping."""

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **options: Any) -> Any:
        """Drive psycopg's exchange with the server to its end."""
        is_ping = self.autocommit and not self.in_use
        seconds = PING_TIMEOUT if is_ping else ANSWER_TIMEOUT
        try:
            return super().wait(_bounded(gen, seconds), *args, **options)
        except NoAnswer:
            self.close()
            raise


@contextmanager
def in_use(connection: Connection) -> Iterator[None]:
    """Have what is asked on a connection from the pool answered in the time of a statement."""
    driver = connection.connection.dbapi_connection
    assert isinstance(driver, PatientConnection)
    driver.in_use = True
    try:
        yield
    finally:
        driver.in_use = False


def connect(
    _dialect: object, _record: object, arguments: list[Any], options: dict[str, Any]
) -> PatientConnection:
    """SQLAlchemy's `do_connect`: a connection to a database that can hold any text."""
    connection = PatientConnection.connect(*arguments, **options)
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != ENCODING:
        name = connection.info.dbname
        connection.close()
        raise WrongEncoding(
            f"the database {name!r} has the encoding {encoding}, which cannot hold every text; "
            f"make one with CREATE DATABASE ... ENCODING '{ENCODING}' TEMPLATE template0"
        )
    return connection


def _bounded(gen: Generator[Any, Any, Any], seconds: float) -> Generator[Any, Any, Any]:
    """The same exchange, ended when psycopg has waited too long for the server.

    Psycopg goes on with it when the socket is ready and every tenth of a second when it is not.
    """
    deadline = time.monotonic() + seconds
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > deadline:
                raise NoAnswer(f"no answer within {seconds:.0f} s")
            wanted = gen.send(ready)
    except StopIteration as end:
        return end.value
