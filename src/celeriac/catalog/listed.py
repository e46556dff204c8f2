"""Rows of the table `listings` as a page writes them: listed, then settled with its commit."""

from __future__ import annotations

import functools
import uuid
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Delete,
    Select,
    Update,
    and_,
    bindparam,
    delete,
    exists,
    select,
    update,
)

from celeriac.catalog.tables import listings
from celeriac.model import ListedEntity, Outcome

NO_PAGE = -1
"""Where the listing keeps what no page lists and the sweep removes."""
FEW = 8
"""One in so many entities of a page, at most, is few."""

# The statements are made once: making them takes longer than their execution.
_JOB: BindParameter[str] = bindparam("of_job")
_PAGE: BindParameter[int] = bindparam("of_number")
_LIST = listings.insert()


def record(
    connection: Connection, job_id: str, page: int, fingerprints: Mapping[uuid.UUID, str | None]
) -> None:
    """Put the entities of these keys in place of what an earlier run of the page listed."""
    rows = [
        {**_row(job_id, page, key), "outcome": None, "fingerprint": fingerprint}
        for key, fingerprint in fingerprints.items()
    ]
    _replace(connection, job_id, page, rows)


def earlier(connection: Connection, job_id: str, page: int) -> set[uuid.UUID]:
    """The keys of those that an earlier page lists too."""
    return set(connection.execute(_listed_earlier(), _of(job_id, page)).scalars())


def settle(
    connection: Connection, job_id: str, page: int, outcomes: Sequence[ListedEntity]
) -> None:
    """Say what became of the entities that a page lists."""
    if not _settle_alike(connection, job_id, page, outcomes):
        rows = [
            {**_row(job_id, page, one.key), "outcome": one.outcome, "fingerprint": one.fingerprint}
            for one in outcomes
        ]
        _replace(connection, job_id, page, rows)


def _settle_alike(
    connection: Connection, job_id: str, page: int, outcomes: Sequence[ListedEntity]
) -> bool:
    """Where nearly all went alike, one statement is for those; False where they did not, or are
    others than were listed."""
    counted = Counter(one.outcome for one in outcomes)
    usual, count = counted.most_common(1)[0] if counted else (None, 0)
    others = [one for one in outcomes if one.outcome != usual]
    if usual not in (Outcome.UNCHANGED, Outcome.INDEXED) or len(others) * FEW > len(outcomes):
        return False
    where = _of(job_id, page)
    rows = [
        {
            **where,
            "of_key": one.key,
            "new_outcome": one.outcome,
            "new_fingerprint": one.fingerprint,
        }
        for one in others
    ]
    if rows and connection.execute(_settling_one(), rows).rowcount != len(rows):
        return False
    return connection.execute(_settling(), {**where, "new_outcome": usual}).rowcount == count


def _replace(
    connection: Connection, job_id: str, page: int, rows: Sequence[Mapping[str, Any]]
) -> None:
    connection.execute(_unlisting(), _of(job_id, page))
    if rows:
        connection.execute(_LIST, rows)


def _row(job_id: str, page: int, key: uuid.UUID) -> dict[str, Any]:
    return {"job_id": job_id, "entity_key": key, "page": page}


def _of(job_id: str, page: int) -> dict[str, Any]:
    return {"of_job": job_id, "of_number": page}


def of_entities(
    job_id: str, keys: Collection[uuid.UUID], *columns: ColumnElement[Any]
) -> Select[Any]:
    """A query of what a job listed of the entities.

    The job is compared by an expression that no index serves: while a job is young, PostgreSQL's
    statistics do not know it, and an index on the job alone would look selective and is not.
    """
    return select(listings.c.entity_key, *columns).where(
        listings.c.entity_key.in_(keys), listings.c.job_id + "" == job_id
    )


@functools.cache
def _on_page() -> ColumnElement[bool]:
    return and_(listings.c.job_id == _JOB, listings.c.page == _PAGE)


@functools.cache
def _unlisting() -> Delete:
    return delete(listings).where(_on_page())


@functools.cache
def _settling() -> Update:
    mine = and_(_on_page(), listings.c.outcome.is_(None))
    return update(listings).where(mine).values(outcome=bindparam("new_outcome"))


@functools.cache
def _settling_one() -> Update:
    mine = and_(_on_page(), listings.c.entity_key == bindparam("of_key"))
    return (
        update(listings)
        .where(mine)
        .values(outcome=bindparam("new_outcome"), fingerprint=bindparam("new_fingerprint"))
    )


@functools.cache
def _listed_earlier() -> Select[Any]:
    earlier = listings.alias()
    return select(listings.c.entity_key).where(
        listings.c.job_id == _JOB,
        listings.c.page == _PAGE,
        exists().where(
            earlier.c.entity_key == listings.c.entity_key,
            earlier.c.job_id + "" == _JOB,  # see `of_entities`
            earlier.c.page > NO_PAGE,
            earlier.c.page < _PAGE,
        ),
    )
