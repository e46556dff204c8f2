"""Lists of rows in the order of their creation, a window at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Table, and_, func, or_, select


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of a list is wanted."""

    limit: int = 100
    offset: int = 0
    after: str | None = None
    """Id of the row before the first one wanted."""
    before: str | None = None
    """Id of the row after the last one wanted."""
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Rows:
    """A part of a list."""

    rows: tuple[RowMapping, ...]
    has_more: bool
    """Whether rows follow in the direction that was asked for."""


def window_of(
    connection: Connection,
    table: Table,
    owner: ColumnElement[bool],
    where: ColumnElement[bool],
    window: Window,
) -> Rows:
    """The rows of a window; ties of the creation time are broken by id. Only a row of the `owner`
    can stand before or after it, for it would tell when another's was made.

    A window before a row holds the rows right before it, in the list's own order.
    """
    backwards = window.before is not None and window.after is None
    downwards = window.descending != backwards
    query = select(table).where(where)
    if window.after is not None:
        query = query.where(_beyond(table, owner, window.after, window.descending))
    if window.before is not None:
        query = query.where(_beyond(table, owner, window.before, not window.descending))
    order = [table.c.created_at, table.c.id]
    query = query.order_by(*(column.desc() if downwards else column for column in order))
    query = query.offset(window.offset).limit(window.limit + 1)
    found = list(connection.execute(query).mappings())
    kept = found[: window.limit]
    return Rows(tuple(reversed(kept) if backwards else kept), len(found) > window.limit)


def count_of(connection: Connection, table: Table, where: ColumnElement[bool]) -> int:
    """How many rows the whole list has."""
    return connection.execute(select(func.count()).select_from(table).where(where)).scalar_one()


def _beyond(
    table: Table, owner: ColumnElement[bool], anchor: str, descending: bool
) -> ColumnElement[bool]:
    """Rows that come after the anchor in this direction; none where there is no such row."""
    found = select(table.c.created_at).where(table.c.id == anchor, owner)
    created: Any = found.correlate(None).scalar_subquery()
    if descending:
        return or_(
            table.c.created_at < created,
            and_(table.c.created_at == created, table.c.id < anchor),
        )
    return or_(
        table.c.created_at > created,
        and_(table.c.created_at == created, table.c.id > anchor),
    )
