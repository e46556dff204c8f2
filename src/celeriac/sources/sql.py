"""The kind `sql`: the rows of a table or query, in keyset pages."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from marshmallow import ValidationError, fields, validates_schema
from marshmallow.validate import Length
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import ArgumentError

from celeriac.errors import MissingId, SourceError
from celeriac.model import Page
from celeriac.sources import databases
from celeriac.sources.keyset import Key, decode_key, encode_key, typed_ids
from celeriac.sources.listing import PAGE_BYTES, PAGE_SIZE, PageBuilder, page_length
from celeriac.sources.options import SourceOptions, page_size
from celeriac.sources.positions import MISMATCH, Position
from celeriac.sources.values import plain, size_of

ROW_BUFFER = 100
"""Rows fetched at once."""
MOST_TIES = 100
"""Rows looked at that the database takes for one."""
LOOKUP_SIZE = 100
"""Ids asked for in one statement."""


def _check_url(url: str) -> None:
    try:
        make_url(url)
    except (ArgumentError, ValueError):
        raise ValidationError("Must be an SQLAlchemy URL: driver://user@host/database.") from None


class SqlOptions(SourceOptions):
    """`kind: sql`."""

    url = fields.String(required=True, validate=_check_url)
    table = fields.String(load_default=None, allow_none=True, validate=Length(min=1))
    """May name its schema: `schema.table`."""
    query = fields.String(load_default=None, allow_none=True, validate=Length(min=1))
    key = fields.String(load_default=None, allow_none=True, validate=Length(min=1))
    """The column that orders the listing, indexed at best; the id where it is not given."""
    page_size = page_size(PAGE_SIZE)

    @validates_schema
    def _one_listing(self, data: dict[str, Any], **_: object) -> None:
        if bool(data.get("table")) == bool(data.get("query")):
            raise ValidationError("Give either table or query.", "table")


def build_sql(options: Mapping[str, Any]) -> SqlSource:
    """A source of loaded SqlOptions; nothing is connected.

    Raises:
        ConfigurationError: the database's driver is not installed.
    """
    listing = Listing(
        options["table"], options["query"], options["id"], options["key"] or options["id"]
    )
    return SqlSource(databases.connect(options["url"]), listing, options["page_size"])


@dataclass(frozen=True, slots=True)
class Listing:
    """The statements of one listing, ordered by key and, where that is another column, by id.

    The two together have to be unique in the database's own comparison. Values are compared in the
    database alone, so its collation may be any.
    """

    table: str | None
    query: str | None
    id: str
    key: str

    @property
    def name(self) -> str:
        return self.table or "query"

    @property
    def schema_and_table(self) -> tuple[str | None, str]:
        schema, _, table = (self.table or "").rpartition(".")
        return schema or None, table

    @property
    def order(self) -> tuple[str, ...]:
        """The columns that order the listing."""
        return (self.key,) if self.key == self.id else (self.key, self.id)

    def rows(self, after: Sequence[Key] | None, limit: int) -> sa.Select[Any]:
        """Rows in order, from the one after the row with these keys on."""
        source = self._source()
        columns = [source.c[name] for name in self.order]
        beyond = () if after is None else (_beyond(columns, after),)
        return self._listed(source, *beyond).limit(limit)

    def rows_of(self, ids: Sequence[Key | float]) -> sa.Select[Any]:
        """The rows with one of these values in the id's column, in order."""
        source = self._source()
        return self._listed(source, source.c[self.id].in_(_untyped("id", ids)))

    def ids_at(self, keys: Sequence[Key]) -> sa.Select[Any]:
        """The different ids of the rows that the database takes for the one with these keys."""
        source = self._source()
        bound = _untyped("at", keys)
        equal = [source.c[name] == value for name, value in zip(self.order, bound, strict=True)]
        return sa.select(source.c[self.id]).where(*equal).limit(MOST_TIES)

    def any_id(self) -> sa.Select[Any]:
        """The id of some row."""
        column = self._source().c[self.id]
        return sa.select(column).where(column.is_not(None)).limit(1)

    def counts(self) -> sa.Select[Any]:
        """How many rows there are, and in how many a column of the order is NULL."""
        source = self._source()
        missing = sa.or_(*(source.c[name].is_(None) for name in self.order))
        return sa.select(
            sa.func.count(), sa.func.coalesce(sa.func.sum(sa.case((missing, 1), else_=0)), 0)
        ).select_from(source)

    def _listed(self, source: sa.FromClause, *conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
        columns = [source.c[name] for name in self.order]
        there = [column.is_not(None) for column in columns]
        statement: sa.Select[Any] = sa.select(sa.text("listing.*"))
        return statement.select_from(source).where(*there, *conditions).order_by(*columns)

    def _source(self) -> sa.FromClause:
        columns: list[sa.ColumnClause[Any]] = [sa.column(name) for name in self.order]
        if self.query is not None:
            literal = self.query.strip().rstrip(";").replace(":", r"\:")
            return sa.text(literal).columns(*columns).subquery("listing")
        schema, table = self.schema_and_table
        return sa.table(table, *columns, schema=schema).alias("listing")


class SqlSource:
    """Lists rows of a table or query. See `SqlOptions`."""

    stable_listing = True
    lookup_size = LOOKUP_SIZE

    def __init__(self, engine: Engine, listing: Listing, page_size: int) -> None:
        self._engine = engine
        self._listing = listing
        self._page_size = page_size
        self._json_columns: frozenset[str] | None = None

    def page(self, cursor: str | None) -> Page:
        """See `Source.page`.

        The first page counts the rows, for `total` and for those that have no key and so cannot be
        listed: one failure tells how many.
        """
        after = None if cursor is None else Position.decode(cursor)
        before = after.number("listed") if after else 0
        page = PageBuilder(self._listing.id, page_length(before, self._page_size), PAGE_BYTES)
        with databases.reading(self._engine) as connection:
            total, missing = self._counts(connection) if cursor is None else (None, 0)
            keys = self._list(connection, self._decoded(after) if after else None, page)
        following = None
        if keys is not None:
            self._require_progress(after, keys)
            following = Position({"keys": keys, "listed": before + page.listed}).encode()
        if missing:
            page.fail(self._missing(missing))
        return page.build(following, total)

    def _require_progress(self, after: Position | None, keys: list[list[str]]) -> None:
        if after is not None and keys == after.values["keys"]:
            raise SourceError(
                f"{self._place}: the key {self._listing.key!r} does not come back from the "
                "database as it went in; set the source's `key` to another unique column."
            )

    def lookup(self, entity_ids: Sequence[str]) -> Page:
        """See `LookupSource.lookup`. Of several rows with one id the listing's first is taken."""
        wanted = frozenset(entity_ids)
        page = PageBuilder(self._listing.id, len(entity_ids))
        with databases.reading(self._engine) as connection:
            parsed = self._parsed_columns(connection)
            sample = connection.execute(self._listing.any_id()).scalar()
            ids = typed_ids(entity_ids, sample, connection.dialect.name)
            if ids:
                for row in self._rows(connection, self._listing.rows_of(ids)):
                    self._add(page, row, parsed)
        found = page.build(None)
        # A comparison in the database may take more for equal than is, such as other cases.
        entities = tuple(one for one in found.entities if one.id in wanted)
        return replace(found, entities=entities, failures=())

    def close(self) -> None:
        """See `Source.close`."""
        self._engine.dispose()

    @property
    def _place(self) -> str:
        return f"{databases.shown(self._engine.url)}, {self._listing.name}"

    def _list(
        self, connection: sa.Connection, after: Sequence[Key] | None, page: PageBuilder
    ) -> list[list[str]] | None:
        """List rows; return the last one's keys where there are more."""
        parsed = self._parsed_columns(connection)
        last: Mapping[str, Any] | None = None
        statement = self._listing.rows(after, page.room + 1)
        with closing(self._rows(connection, statement)) as rows:
            for row in rows:
                if page.full and last is not None:
                    break
                last = row
                self._add(page, row, parsed)
            else:
                return None
        self._refuse_ties(connection, last)
        return self._keys_of(last)

    def _refuse_ties(self, connection: sa.Connection, last: Mapping[str, Any]) -> None:
        """The next page begins beyond the last row, and so beyond all that compare as it does."""
        name = self._listing.id
        if not isinstance(last[name], str):
            return  # what is equal is the same
        keys = [decode_key(key) for key in self._keys_of(last)]
        ids = set(connection.execute(self._listing.ids_at(keys)).scalars()) - {last[name]}
        if ids:
            raise SourceError(
                f"{self._place}: {name!r} holds {last[name][:80]!r} and {str(min(ids))[:80]!r}, "
                "which the database takes for equal, so that one of them may be passed over; set "
                "the source's `key` to a column that is unique in the database's own comparison."
            )

    @staticmethod
    def _rows(
        connection: sa.Connection, statement: sa.Select[Any]
    ) -> Generator[Mapping[str, Any], None, None]:
        options = {"stream_results": True, "max_row_buffer": ROW_BUFFER}
        with connection.execution_options(**options).execute(statement) as result:
            for mapping in result.mappings():
                yield {str(name): value for name, value in mapping.items()}

    def _add(self, page: PageBuilder, row: Mapping[str, Any], parsed: frozenset[str]) -> None:
        fields = _fields(row, parsed)
        page.bytes_read += size_of(fields)
        page.add(fields, f"{self._place}, row with {self._key_of(row)}")

    def _key_of(self, row: Mapping[str, Any]) -> str:
        """For messages."""
        key = self._columns_of(row)[0]
        return f"{key} {str(row[key])[:80]!r}"

    def _keys_of(self, row: Mapping[str, Any]) -> list[list[str]]:
        return [encode_key(row[name], name) for name in self._columns_of(row)]

    def _columns_of(self, row: Mapping[str, Any]) -> Sequence[str]:
        for name in self._listing.order:
            if name not in row:
                raise SourceError(
                    f"{self._place} has no column {name!r}; it has {', '.join(row)}; check the "
                    "spelling of the source's `id` and `key`."
                )
        return self._listing.order

    def _decoded(self, position: Position) -> Sequence[Key]:
        encoded = position.values.get("keys")
        try:
            keys = [decode_key(key) for key in encoded]  # type: ignore[union-attr]
        except (TypeError, ValueError, ArithmeticError):
            keys = []
        if len(keys) != len(self._listing.order):
            raise SourceError(MISMATCH.format(cursor=position.encode()[:200]))
        return keys

    def _counts(self, connection: sa.Connection) -> tuple[int, int]:
        row = connection.execute(self._listing.counts()).one()
        return int(row[0]), int(row[1])

    def _missing(self, count: int) -> MissingId:
        columns = " or ".join(repr(name) for name in self._listing.order)
        rows = "1 row has" if count == 1 else f"{count} rows have"
        return MissingId(f"{self._place}: {rows} no value in {columns} and cannot be listed.")

    def _parsed_columns(self, connection: sa.Connection) -> frozenset[str]:
        """Columns of JSON that the driver leaves as text; known for tables only."""
        if self._json_columns is None:
            self._json_columns = self._inspected(connection)
        return self._json_columns

    def _inspected(self, connection: sa.Connection) -> frozenset[str]:
        if self._listing.table is None or connection.dialect.name == "postgresql":
            return frozenset()
        schema, table = self._listing.schema_and_table
        columns = sa.inspect(connection).get_columns(table, schema)
        return frozenset(
            column["name"] for column in columns if isinstance(column["type"], sa.JSON)
        )


def _beyond(
    columns: Sequence[sa.ColumnElement[Any]], after: Sequence[Key]
) -> sa.ColumnElement[bool]:
    """(key, id) > (after), in a form that every database takes and an index on the key serves."""
    bound = _untyped("after", after)
    if len(columns) == 1:
        return columns[0] > bound[0]
    key, identity = columns
    return sa.and_(key >= bound[0], sa.or_(key > bound[0], identity > bound[1]))


def _untyped(name: str, values: Sequence[Key | float]) -> list[sa.BindParameter[Any]]:
    """Parameters that go untyped, for the database knows best what it compares them with."""
    return [
        sa.bindparam(f"{name}_{number}", value, type_=sa.types.NullType())
        for number, value in enumerate(values)
    ]


def _fields(row: Mapping[str, Any], parsed: frozenset[str]) -> dict[str, Any]:
    return {
        name: _json(value) if name in parsed and isinstance(value, str) else plain(value)
        for name, value in row.items()
    }


def _json(text: str) -> Any:
    """What a JSON column says; SQLite lets it hold what is not JSON, which stays text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
