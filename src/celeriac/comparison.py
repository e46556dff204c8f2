"""A listing in a ledger held against every point of a generation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

from celeriac.errors import NotFound
from celeriac.ledger import Ledger
from celeriac.model import Outcome, Partition
from celeriac.store.base import VOID, Marker, StoredChunk, VectorStore

FIRST_IDS = 20
BATCH = 1000
"""Entities handed out at a time."""


class Kind(StrEnum):
    """How the index differs from the source at one entity."""

    MISSING = "missing"
    """Nothing of it is in the index."""
    STALE = "stale"
    """It is whole, but its fingerprint is not that of what the source lists now."""
    ORPHANED = "orphaned"
    """The source does not list it, or it has no text any more."""
    HALF_WRITTEN = "half_written"
    """Its points do not belong together."""
    ALTERED = "altered"
    """Fingerprints are right, but its chunks are not those that its text is cut into."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The entities that differ in one way."""

    count: int = 0
    entity_ids: tuple[str, ...] = ()
    """The first ones."""
    reasons: dict[str, int] = field(default_factory=dict)
    """How many for each reason."""


@dataclass(frozen=True, slots=True)
class Findings:
    """All the differences, each entity under one kind."""

    missing: Finding
    stale: Finding
    orphaned: Finding
    half_written: Finding
    altered: Finding

    @property
    def count(self) -> int:
        kinds = (self.missing, self.stale, self.orphaned, self.half_written, self.altered)
        return sum(kind.count for kind in kinds)


_TABLES = (
    """CREATE TABLE held (
        entity_id TEXT PRIMARY KEY, fingerprint TEXT, extent INTEGER,
        points INTEGER NOT NULL DEFAULT 0, last_chunk INTEGER, lowest TEXT, highest TEXT,
        content INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID""",
    """CREATE TABLE differences (
        entity_id TEXT PRIMARY KEY, kind TEXT NOT NULL, reason TEXT NOT NULL
    ) WITHOUT ROWID""",
)

_HOLD_MARKER = "INSERT OR REPLACE INTO held (entity_id, fingerprint, extent) VALUES (?, ?, ?)"

# SQLite has no exclusive or: it is what one side has and not both. An entity's chunks come in any
# order, each with its number in its digest, so no two of them cancel each other out.
_HOLD_CHUNK = """
INSERT INTO held (entity_id, points, last_chunk, lowest, highest, content)
VALUES (?1, 1, ?2, ?3, ?3, ?4)
ON CONFLICT (entity_id) DO UPDATE SET
    points = points + 1,
    last_chunk = max(coalesce(last_chunk, ?2), ?2),
    lowest = min(coalesce(lowest, ?3), ?3),
    highest = max(coalesce(highest, ?3), ?3),
    content = (content | ?4) - (content & ?4)
"""

_MISSING = f"""
INSERT INTO differences
SELECT entity_id, '{Kind.MISSING}', 'not in the index'
FROM listed LEFT JOIN held USING (entity_id)
WHERE outcome = {Outcome.INDEXED:d} AND held.entity_id IS NULL
"""  # noqa: S608  (of constants)

_DIFFERING = f"""
INSERT INTO differences
SELECT entity_id, substr(found, 1, instr(found, '/') - 1), substr(found, instr(found, '/') + 1)
FROM (
    SELECT held.entity_id, CASE
        WHEN listed.entity_id IS NULL THEN '{Kind.ORPHANED}/not listed'
        WHEN outcome = {Outcome.EMPTY:d} THEN '{Kind.ORPHANED}/without text'
        WHEN held.fingerprint IS NULL THEN '{Kind.HALF_WRITTEN}/no marker'
        WHEN held.fingerprint = '{VOID}' THEN '{Kind.HALF_WRITTEN}/void marker'
        WHEN last_chunk >= extent THEN '{Kind.HALF_WRITTEN}/chunks beyond the count'
        WHEN points < extent THEN '{Kind.HALF_WRITTEN}/chunks missing'
        WHEN points > extent THEN '{Kind.HALF_WRITTEN}/chunks twice'
        WHEN lowest <> held.fingerprint OR highest <> held.fingerprint
            THEN '{Kind.HALF_WRITTEN}/fingerprints differ'
        WHEN outcome = {Outcome.FAILED:d} THEN NULL
        WHEN held.fingerprint <> listed.fingerprint THEN '{Kind.STALE}/changed at the source'
        WHEN held.content <> listed.content THEN '{Kind.ALTERED}/text or chunk count'
    END AS found
    FROM held LEFT JOIN listed USING (entity_id)
)
WHERE found IS NOT NULL
"""  # noqa: S608  (of constants)

_DAMAGED = """
SELECT entity_id, held.fingerprint, extent, coalesce(last_chunk + 1, extent)
FROM differences JOIN held USING (entity_id) LEFT JOIN listed USING (entity_id)
WHERE held.fingerprint IS NOT NULL AND
"""
_TO_REMOVE = f"""(kind = '{Kind.ORPHANED}'
    OR kind = '{Kind.HALF_WRITTEN}' AND outcome = {Outcome.FAILED:d})"""
_TO_VOID = f"""kind IN ('{Kind.HALF_WRITTEN}', '{Kind.ALTERED}')
    AND outcome = {Outcome.INDEXED:d}"""

_TO_INDEX = f"""
FROM differences JOIN listed USING (entity_id) WHERE outcome = {Outcome.INDEXED:d}
"""


def content_of(chunks: Iterable[tuple[int, int, str]]) -> int:
    """64 bits over an entity's chunks, each a number, a chunk count and a text, in any order."""
    content = 0
    for number, count, text in chunks:
        content ^= _digest(number, count, text)
    return content


def _digest(number: int, count: int, text: str) -> int:
    """A signed 64-bit integer, as SQLite has them."""
    digest = hashlib.blake2b(f"{number}/{count}/{text}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


class Comparison:
    """What a partition holds, entity by entity, beside what a ledger lists."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._connection = ledger.connection
        for table in _TABLES:
            self._connection.execute(table)

    def run(
        self, store: VectorStore, partition: Partition, checkpoint: Callable[[], None]
    ) -> Findings:
        """Read every point of the partition and compare; what was found before is forgotten."""
        self._connection.execute("DELETE FROM held")
        self._connection.execute("DELETE FROM differences")
        with suppress(NotFound):  # somebody deleted the collection: all of it is missing
            self._read(store, partition, checkpoint)
        self._connection.execute(_MISSING)
        self._connection.execute(_DIFFERING)
        return Findings(**{kind.value: self._finding(kind) for kind in Kind})

    def _read(
        self, store: VectorStore, partition: Partition, checkpoint: Callable[[], None]
    ) -> None:
        for markers in store.scan_markers(partition):
            checkpoint()
            rows = [(one.entity_id, one.fingerprint, one.chunk_count) for one in markers]
            self._connection.executemany(_HOLD_MARKER, rows)
        for chunks in store.scan(partition):
            checkpoint()
            self._connection.executemany(_HOLD_CHUNK, map(_chunk_row, chunks))

    def _finding(self, kind: Kind) -> Finding:
        reasons = self._connection.execute(
            "SELECT reason, count(*) FROM differences WHERE kind = ? GROUP BY reason", [kind]
        )
        by_reason = {str(reason): int(count) for reason, count in reasons}
        first = self._connection.execute(
            "SELECT entity_id FROM differences WHERE kind = ? ORDER BY entity_id LIMIT ?",
            [kind, FIRST_IDS],
        )
        ids = tuple(str(entity_id) for (entity_id,) in first)
        return Finding(sum(by_reason.values()), ids, by_reason)

    @property
    def markers(self) -> int:
        """Entities that have a marker."""
        return self._number("SELECT count(fingerprint) FROM held")

    @property
    def points(self) -> int:
        return self._number("SELECT coalesce(sum(points), 0) FROM held")

    def has_strays(self) -> bool:
        """Whether there are chunks that no marker accounts for."""
        query = "SELECT count(*) FROM held WHERE fingerprint IS NULL OR last_chunk >= extent"
        return self._number(query) > 0

    def strays(self, chunks: Sequence[StoredChunk]) -> list[tuple[str, int]]:
        """Those of the chunks that no marker accounts for, as (entity id, chunk)."""
        query = (
            "SELECT fingerprint IS NULL OR ? >= extent FROM differences JOIN held USING (entity_id)"
            " WHERE entity_id = ?"
        )
        found = []
        for one in chunks:
            row = self._connection.execute(query, [one.chunk, one.entity_id]).fetchone()
            if row is not None and row[0]:
                found.append((one.entity_id, one.chunk))
        return found

    def to_remove(self, partition: Partition) -> Iterator[list[Marker]]:
        """Markers of the entities that do not belong in the index, in batches."""
        return self._damaged(partition, _TO_REMOVE)

    def to_void(self, partition: Partition) -> Iterator[list[Marker]]:
        """Markers that say an entity is whole which is not, in batches."""
        return self._damaged(partition, _TO_VOID)

    def count_to_remove(self) -> int:
        return self._number(f"SELECT count(*) FROM ({_DAMAGED} {_TO_REMOVE})")  # noqa: S608

    def pages_to_index(self) -> list[int]:
        """The pages of the listing that have an entity to index again."""
        rows = self._connection.execute(f"SELECT DISTINCT page {_TO_INDEX} ORDER BY page")
        return [int(page) for (page,) in rows]

    def ids_to_index(self, page: int) -> set[str]:
        """The entities of a page that are to be indexed again."""
        rows = self._connection.execute(f"SELECT entity_id {_TO_INDEX} AND page = ?", [page])
        return {str(entity_id) for (entity_id,) in rows}

    def _damaged(self, partition: Partition, condition: str) -> Iterator[list[Marker]]:
        rows = self._connection.execute(f"{_DAMAGED} {condition}")
        while batch := rows.fetchmany(BATCH):
            # An extent that was tampered with must not make us name a billion chunks.
            yield [
                Marker(partition.point_id(entity_id, 0), entity_id, mark, min(extent, found))
                for entity_id, mark, extent, found in batch
            ]

    def _number(self, query: str) -> int:
        return int(self._connection.execute(query).fetchone()[0])


def _chunk_row(chunk: StoredChunk) -> tuple[str, int, str, int]:
    content = _digest(chunk.chunk, chunk.chunk_count, chunk.text)
    return chunk.entity_id, chunk.chunk, chunk.fingerprint, content
