"""CSV with a header (RFC 4180): a record an entity, all values text."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from celeriac.errors import SourceError, UnreadableDocument
from celeriac.sources.lines import BOM, Line, Lines
from celeriac.sources.listing import PageBuilder
from celeriac.sources.positions import Position
from celeriac.sources.tables import OpenTable, Resume, TableFormat


@dataclass(frozen=True, slots=True)
class Record:
    """One record: its values, or why it cannot be read."""

    number: int
    """Of its first line."""
    size: int
    """Bytes."""
    values: Sequence[str]
    """Empty for a blank line."""
    error: str | None = None


class _Feed(Iterator[str]):
    """Gives the parser line after line and remembers which ones it took."""

    def __init__(self, lines: Lines, encoding: str, max_bytes: int) -> None:
        self.taken: list[Line] = []
        self.size = 0
        self.undecodable = False
        self._lines = lines
        self._encoding = encoding
        self._max_bytes = max_bytes

    def begin(self) -> None:
        self.taken, self.size, self.undecodable = [], 0, False

    def __next__(self) -> str:
        line = self._lines.next()
        if line is None:
            raise StopIteration
        self.taken.append(line)
        self.size += line.size
        if self.size > self._max_bytes:
            raise csv.Error(f"larger than max_entity_bytes ({self._max_bytes}); an open quote?")
        content = line.content.removeprefix(BOM) if line.offset == 0 else line.content
        try:
            return content.decode(self._encoding)
        except UnicodeDecodeError:
            self.undecodable = True
            return content.decode(self._encoding, "replace")


class Records:
    """Splits lines into records; quoted values may hold line breaks.

    Offsets between records are exact, for the parser takes no line before it needs it. A record
    that cannot be parsed ends with its first line: a stray quote costs one record, not the file.
    """

    def __init__(self, lines: Lines, delimiter: str, format_: TableFormat) -> None:
        csv.field_size_limit(max(csv.field_size_limit(), format_.max_entity_bytes))
        self._lines = lines
        self._encoding = format_.encoding
        self._feed = _Feed(lines, format_.encoding, format_.max_entity_bytes)
        self._parser = csv.reader(self._feed, delimiter=delimiter, strict=True)

    def next(self) -> Record | None:
        """The next record, None at the end."""
        feed = self._feed
        feed.begin()
        try:
            values = next(self._parser)
        except StopIteration:
            return None
        except csv.Error as error:
            first, *rest = feed.taken
            self._lines.take_back(rest)
            return Record(first.number, first.size, (), str(error))
        problem = f"not {self._encoding} text" if feed.undecodable else None
        return Record(feed.taken[0].number, feed.size, values, problem)


class DelimitedReader:
    """See `tables.TableReader`. A page costs the bytes it lists; beginning costs the header."""

    def __init__(self, table: OpenTable, position: Position | None) -> None:
        place = table.place
        delimiter = table.format.delimiter or ("\t" if place.lower().endswith(".tsv") else ",")
        self._place = place
        self._lines = Lines(table.stream, table.format.max_entity_bytes)
        self._records = Records(self._lines, delimiter, table.format)
        self._columns = _header(self._records, place)
        if position is not None:
            self._lines.resume(position, place)

    def fill(self, page: PageBuilder) -> Resume | None:
        while not page.full:
            record = self._records.next()
            if record is None:
                return None
            page.bytes_read += record.size
            _list_record(record, self._columns, f"{self._place}:{record.number}", page)
        return self._lines.position()


def _header(records: Records, place: str) -> Sequence[str]:
    """The columns' names; none for an empty file."""
    record = records.next()
    while record is not None and not record.values and not record.error:
        record = records.next()
    if record is None:
        return ()
    if record.error:
        raise SourceError(f"{place}: the header cannot be read: {record.error}.")
    repeated = [name for name, count in Counter(record.values).items() if name and count > 1]
    if repeated:
        raise SourceError(f"{place}: the header names {repeated[0]!r} more than once.")
    return record.values


def _list_record(record: Record, columns: Sequence[str], place: str, page: PageBuilder) -> None:
    if record.error:
        page.fail(UnreadableDocument(f"{place} is not a record: {record.error}."))
    elif record.values and len(record.values) != len(columns):
        found, expected = len(record.values), len(columns)
        page.fail(UnreadableDocument(f"{place} has {found} values; the header has {expected}."))
    elif record.values:
        pairs = zip(columns, record.values, strict=True)
        page.add({name: value for name, value in pairs if name}, place)
