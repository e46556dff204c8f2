"""What a listing and a scan found, in a temporary SQLite file: memory stays flat however large
the corpus is, and ids are compared by joins."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

from celeriac.model import Outcome

IDS_A_QUERY = 500
"""Parameters a query; SQLite has a limit."""

_SCHEMA = """
CREATE TABLE pages (number INTEGER PRIMARY KEY, cursor TEXT);
CREATE TABLE listed (
    entity_id TEXT PRIMARY KEY, page INTEGER NOT NULL, outcome INTEGER NOT NULL,
    fingerprint TEXT, content INTEGER
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Listed:
    """An entity as the source lists it."""

    entity_id: str
    page: int
    outcome: Outcome
    """INDEXED for one that can be indexed, else FAILED or EMPTY."""
    fingerprint: str | None = None
    content: int | None = None
    """`content_of` the chunks it must have."""


class Ledger:
    """The listing, entity by entity, each under the page that listed it first."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        connection.executescript(_SCHEMA)
        # One transaction to the end: nobody else reads it, and rows are written in bulk.
        connection.execute("BEGIN")

    def add_page(self, cursor: str | None) -> int:
        """Note where a page of the listing begins; returns its number, from 1."""
        row = self.connection.execute("INSERT INTO pages (cursor) VALUES (?)", [cursor])
        return int(row.lastrowid or 0)

    def cursor_of(self, page: int) -> str | None:
        query = "SELECT cursor FROM pages WHERE number = ?"
        cursor: str | None = self.connection.execute(query, [page]).fetchone()[0]
        return cursor

    def record(self, listed: Iterable[Listed]) -> None:
        """Note entities; what was noted of them before is replaced."""
        self.connection.executemany(
            "INSERT OR REPLACE INTO listed VALUES (?, ?, ?, ?, ?)", map(astuple, listed)
        )

    def outcomes(self, entity_ids: Sequence[str]) -> dict[str, Outcome]:
        """What became of those of the entities that were listed."""
        found: dict[str, Outcome] = {}
        for start in range(0, len(entity_ids), IDS_A_QUERY):
            ids = entity_ids[start : start + IDS_A_QUERY]
            marks = ", ".join("?" * len(ids))
            query = f"SELECT entity_id, outcome FROM listed WHERE entity_id IN ({marks})"  # noqa: S608
            rows = self.connection.execute(query, ids)
            found.update((entity_id, Outcome(outcome)) for entity_id, outcome in rows)
        return found

    def count(self, outcome: Outcome) -> int:
        query = "SELECT count(*) FROM listed WHERE outcome = ?"
        return int(self.connection.execute(query, [outcome]).fetchone()[0])


@contextmanager
def temporary_ledger() -> Iterator[Ledger]:
    """A ledger in a file of its own, removed on leaving."""
    with (
        tempfile.TemporaryDirectory(prefix="celeriac-") as folder,
        closing(
            sqlite3.connect(Path(folder) / "ledger.sqlite", isolation_level=None)
        ) as connection,
    ):
        # What a crash would leave of it is of no use to anyone.
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        yield Ledger(connection)
