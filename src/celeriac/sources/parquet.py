"""Parquet: a row an entity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celeriac.errors import SourceError, UnreadableDocument
from celeriac.sources.listing import PageBuilder
from celeriac.sources.positions import Position
from celeriac.sources.tables import OpenTable, Resume
from celeriac.sources.values import plain, size_of

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

BATCH_ROWS = 128
COLUMN_BUFFER_BYTES = 1 << 18
"""Read ahead in each column, instead of a whole row group."""


class ParquetReader:
    """See `tables.TableReader`. A page costs the rows it lists.

    Beginning within a row group costs decoding the rows before: about 0.3 s for 100 MB of them.
    """

    def __init__(self, table: OpenTable, position: Position | None) -> None:
        try:
            import pyarrow.parquet as pq
        except ImportError as error:
            raise SourceError(f"{table.place} needs pyarrow: install celeriac[files].") from error

        self._place = table.place
        self._max_entity_bytes = table.format.max_entity_bytes
        with _broken_file(self._place):
            self._file = pq.ParquetFile(
                table.stream, buffer_size=COLUMN_BUFFER_BYTES, pre_buffer=False
            )
        self._version = table.version
        self._rows = _rows(self._file, *_start(self._version, position, self._place))

    def fill(self, page: PageBuilder) -> Resume | None:
        with _broken_file(self._place):
            for group, row, record in self._rows:
                self._list(plain(record), _number(self._file, group, row), page)
                if page.full:
                    return _after(self._file, group, row, self._version)
        return None

    def _list(self, fields: Mapping[str, Any], number: int, page: PageBuilder) -> None:
        place = f"{self._place}, row {number}"
        size = size_of(fields)
        page.bytes_read += size
        if size <= self._max_entity_bytes:
            page.add(fields, place)
            return
        error = UnreadableDocument(
            f"{place} has {size} bytes; max_entity_bytes allows {self._max_entity_bytes}."
        )
        page.fail_record(error, fields)


@contextmanager
def _broken_file(place: str) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise SourceError(
            f"{place} is not a whole Parquet file: {error}; write it again."
        ) from error


def _start(version: str, position: Position | None, place: str) -> tuple[int, int]:
    """Row group and row within it."""
    if position is None:
        return 0, 0
    if position.text("version") != version:  # its rows may be as many, in another order
        raise SourceError(
            f"{place} has changed while it was being listed: it was written again; start the job "
            "again."
        )
    return position.number("group"), position.number("row")


def _after(file: pq.ParquetFile, group: int, row: int, version: str) -> Resume | None:
    """Where the row after this one stands."""
    row += 1
    if row == file.metadata.row_group(group).num_rows:
        group, row = group + 1, 0
    if group == file.num_row_groups:
        return None
    return {"group": group, "row": row, "version": version}


def _number(file: pq.ParquetFile, group: int, row: int) -> int:
    """The row's number in the file, from 1."""
    before: int = sum(file.metadata.row_group(earlier).num_rows for earlier in range(group))
    return before + row + 1


def _rows(
    file: pq.ParquetFile, group: int, row: int
) -> Iterator[tuple[int, int, Mapping[str, Any]]]:
    """Row group, row within it, and content, from a position to the end of the file."""
    for number in range(group, file.num_row_groups):
        for batch in _batches(file, number, row):
            for record in batch.to_pylist():
                yield number, row, record
                row += 1
        row = 0


def _batches(file: pq.ParquetFile, group: int, row: int) -> Iterator[pa.RecordBatch]:
    """The rows of a row group from `row` on."""
    schema = _microseconds(file.schema_arrow)
    batches = file.iter_batches(BATCH_ROWS, row_groups=[group], use_threads=False)
    for batch in batches:
        if row >= batch.num_rows:
            row -= batch.num_rows
            continue
        rest = batch.slice(row)
        row = 0
        yield rest if schema is None else rest.cast(schema, safe=False)


def _microseconds(schema: pa.Schema) -> pa.Schema | None:
    """The schema with nanoseconds cut to what Python's times hold, None where it has none."""
    import pyarrow as pa

    fields = [field.with_type(_coarser(field.type)) for field in schema]
    coarser = pa.schema(fields)
    return None if coarser.equals(schema) else coarser


def _coarser(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return pa.timestamp("us", kind.tz)
    if pa.types.is_time64(kind) and kind.unit == "ns":
        return pa.time64("us")
    if pa.types.is_duration(kind) and kind.unit == "ns":
        return pa.duration("us")
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_coarser(kind.value_type)))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_coarser(field.type)) for field in kind])
    return kind
