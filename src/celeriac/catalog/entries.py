"""Index entries: one document in one index. The control contract shows them as documents, the batch
contract as RAG indexes."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    RowMapping,
    Select,
    and_,
    delete,
    func,
    select,
    update,
)

from celeriac.catalog.database import Database, epoch_now
from celeriac.catalog.tables import (
    documents,
    entries,
    knowledge_bases,
    knowledge_indexes,
)
from celeriac.documents import READABLE
from celeriac.model import EntityFailure, Outcome, storable


class EntryState(StrEnum):
    """Where a document is on its way into an index."""

    QUEUED = "queued"
    EMBEDDING = "embedding"
    INDEXED = "indexed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REFUSED = "refused"
    """It is not to be indexed: the reason says why."""
    DELETING = "deleting"
    """Its document is gone; a job will take its points out of the index."""


LISTED = (
    EntryState.QUEUED,
    EntryState.EMBEDDING,
    EntryState.INDEXED,
    EntryState.FAILED,
    EntryState.CANCELLED,
)
"""The states of documents that a reindex lists."""


class Refusal(StrEnum):
    """Why a document is not indexed."""

    TOO_SMALL = "document_too_small"
    QUOTA = "rag_limit_exceeded"
    FOLDER = "cannot_index_folder"
    UNREADABLE = "unsupported"


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the table `entries`."""

    id: str
    index_id: str
    document_id: str
    state: EntryState
    reason: str
    """Why it failed, or a Refusal."""
    used_bytes: int
    """What it counts towards its tenant's quota: the document's original size."""
    job_id: str | None
    """The job that dealt with it last."""
    created_at: float
    updated_at: float
    embedded_at: float | None


@dataclass(frozen=True, slots=True)
class Requested:
    """A document that is to have an entry."""

    id: str
    size_bytes: int
    refusal: Refusal | None = None
    """Why it is not to be indexed whatever room there is."""


@dataclass(frozen=True, slots=True)
class Quota:
    """How much the indexes of one knowledge base may hold together."""

    knowledge_base_id: str
    max_bytes: int
    """Of the documents' original sizes; a document counts once an index."""

    def lock(self, connection: Connection) -> None:
        """Have requests of one knowledge base wait for each other: they share its room."""
        query = select(knowledge_bases.c.id).where(knowledge_bases.c.id == self.knowledge_base_id)
        connection.execute(query.with_for_update())

    def refusal(self, connection: Connection, size_bytes: int) -> Refusal | None:
        mine = select(knowledge_indexes.c.id).where(
            knowledge_indexes.c.knowledge_base_id == self.knowledge_base_id
        )
        used = select(func.coalesce(func.sum(entries.c.used_bytes), 0)).where(
            entries.c.index_id.in_(mine), entries.c.state.in_(LISTED)
        )
        taken = int(connection.execute(used).scalar_one())
        return Refusal.QUOTA if taken + size_bytes > self.max_bytes else None


class Entries:
    """Rows of the table `entries`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, index_id: str, document_id: str) -> Entry | None:
        return self.of_documents(index_id, [document_id]).get(document_id)

    def of_documents(self, index_id: str, ids: Collection[str]) -> dict[str, Entry]:
        """The index's entries of these documents, by document id."""
        query = select(entries).where(
            entries.c.index_id == index_id,
            entries.c.document_id.in_(ids),
            entries.c.state != EntryState.DELETING,
        )
        with self._database.read() as connection:
            return {row["document_id"]: _entry(row) for row in connection.execute(query).mappings()}

    def of_document(self, document_id: str) -> list[Entry]:
        """The document's entries, in every index, oldest first."""
        query = (
            select(entries)
            .where(entries.c.document_id == document_id, entries.c.state != EntryState.DELETING)
            .order_by(entries.c.created_at, entries.c.id)
        )
        with self._database.read() as connection:
            return [_entry(row) for row in connection.execute(query).mappings()]

    def request(self, index_id: str, document: Requested, quota: Quota) -> Entry:
        """The index's entry of the document, made when there is none; two at once make one.

        An entry that is queued, in hand, indexed or failed stays as it is. One that was refused,
        cancelled or discarded is judged anew.
        """
        mine = and_(entries.c.index_id == index_id, entries.c.document_id == document.id)
        query = select(entries).where(mine)
        settled = [one for one in LISTED if one != EntryState.CANCELLED]
        with self._database.write() as connection:
            quota.lock(connection)
            row = connection.execute(query).mappings().one_or_none()
            if row is not None and row["state"] in settled:
                return _entry(row)
            refusal = document.refusal or quota.refusal(connection, document.size_bytes)
            values = {
                "state": EntryState.REFUSED if refusal else EntryState.QUEUED,
                "reason": refusal or "",
                "used_bytes": 0 if refusal else document.size_bytes,
            }
            if row is None:
                _insert(connection, index_id, [document])
            connection.execute(update(entries).where(mine).values(**values, updated_at=epoch_now()))
            return _entry(connection.execute(query).mappings().one())

    def discard(self, index_id: str, document_id: str) -> bool:
        """Take a document out of one index; False where it has no entry there."""
        mine = and_(
            entries.c.index_id == index_id,
            entries.c.document_id == document_id,
            entries.c.state != EntryState.DELETING,
        )
        with self._database.write() as connection:
            return bool(_discard(connection, mine))

    def page(self, index_id: str, after: str | None, limit: int) -> list[str]:
        """Ids of the documents that a reindex of the index lists, in order, `limit` at most."""
        query = (
            select(entries.c.document_id)
            .where(entries.c.index_id == index_id, entries.c.state.in_(LISTED))
            .order_by(entries.c.document_id)
            .limit(limit)
        )
        if after is not None:
            query = query.where(entries.c.document_id > after)
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def count(self, index_id: str, *states: EntryState) -> int:
        """How many entries the index has in these states."""
        query = (
            select(func.count())
            .select_from(entries)
            .where(entries.c.index_id == index_id, entries.c.state.in_(states))
        )
        with self._database.read() as connection:
            return connection.execute(query).scalar_one()

    def count_listed(self, index_id: str) -> int:
        """How many documents a reindex of the index lists."""
        return self.count(index_id, *LISTED)

    def take_up(self, index_id: str, sizes: Mapping[str, int]) -> None:
        """Have an entry for each of these documents: bytes by document id."""
        mine = and_(entries.c.index_id == index_id, entries.c.document_id.in_(sizes))
        with self._database.write() as connection:
            known = set(connection.execute(select(entries.c.document_id).where(mine)).scalars())
            new = [Requested(one, size) for one, size in sizes.items() if one not in known]
            _insert(connection, index_id, new)

    def begin(self, index_id: str, job_id: str, ids: Collection[str]) -> None:
        """Mark those of the documents as being embedded that are not indexed yet."""
        states = [EntryState.QUEUED, EntryState.FAILED, EntryState.CANCELLED]
        statement = (
            update(entries)
            .where(
                entries.c.index_id == index_id,
                entries.c.document_id.in_(ids),
                entries.c.state.in_(states),
            )
            .values(state=EntryState.EMBEDDING, job_id=job_id, updated_at=epoch_now())
        )
        with self._database.write() as connection:
            connection.execute(statement)

    def used_bytes(self, index_ids: Sequence[str]) -> dict[str, int]:
        """Bytes that count towards the quota, by index."""
        query = (
            select(entries.c.index_id, func.sum(entries.c.used_bytes))
            .where(entries.c.index_id.in_(index_ids), entries.c.state.in_(LISTED))
            .group_by(entries.c.index_id)
        )
        with self._database.read() as connection:
            found = {row[0]: int(row[1]) for row in connection.execute(query)}
        return {index_id: found.get(index_id, 0) for index_id in index_ids}


def add_entries_of_document(
    connection: Connection, document_id: str, knowledge_base_id: str
) -> None:
    """Add a new document to every index of its knowledge base, within the caller's transaction."""
    [document] = connection.execute(_as_requested().where(documents.c.id == document_id))
    ids = select(knowledge_indexes.c.id).where(
        knowledge_indexes.c.knowledge_base_id == knowledge_base_id,
        knowledge_indexes.c.deleted_at.is_(None),
    )
    for index_id in list(connection.execute(ids).scalars()):
        _insert(connection, index_id, [_requested(document)])


def add_entries_of_index(connection: Connection, index_id: str, knowledge_base_id: str) -> None:
    """Add every document of a knowledge base to a new index, within the caller's transaction."""
    query = _as_requested().where(documents.c.knowledge_base_id == knowledge_base_id)
    for part in connection.execute(query).partitions(1_000):
        _insert(connection, index_id, [_requested(row) for row in part])


def _as_requested() -> Select[Any]:
    return select(documents.c.id, documents.c.size_bytes, documents.c.media_type)


def _requested(row: Row[Any]) -> Requested:
    readable = row.media_type.partition(";")[0].strip() in READABLE
    return Requested(row.id, row.size_bytes, None if readable else Refusal.UNREADABLE)


def record_outcomes(
    connection: Connection,
    index_id: str,
    job_id: str,
    outcomes: Mapping[str, Outcome],
    failures: Sequence[EntityFailure],
    *,
    live: bool,
) -> None:
    """Say what became of a page's documents, within the transaction that commits the page.

    Where the generation is not `live` yet nobody can find them: they are indexed once the job has
    succeeded (`Settlement.settle`).
    """
    messages = {failure.entity_id: failure.message for failure in failures}
    for wanted, values in (
        (Outcome.INDEXED, {"embedded_at": epoch_now()}),
        (Outcome.UNCHANGED, {}),
    ):
        ids = [one for one, outcome in outcomes.items() if outcome == wanted]
        if not live:
            _embedded(connection, index_id, ids, job_id=job_id, **values)
            continue
        _set(
            connection, index_id, ids, state=EntryState.INDEXED, job_id=job_id, reason="", **values
        )
    for one, outcome in outcomes.items():
        if outcome in (Outcome.FAILED, Outcome.EMPTY):
            reason = storable(messages.get(one, ""))
            _set(connection, index_id, [one], state=EntryState.FAILED, job_id=job_id, reason=reason)


def discard_entries(connection: Connection, document_id: str) -> None:
    """Mark the entries of a document that is deleted, within the caller's transaction."""
    _discard(connection, entries.c.document_id == document_id)


def _discard(connection: Connection, where: ColumnElement[bool]) -> int:
    # What was refused never had points: nothing has to be taken out of the index.
    dropped = connection.execute(
        delete(entries).where(where, entries.c.state == EntryState.REFUSED)
    )
    statement = (
        update(entries)
        .where(where)
        .values(state=EntryState.DELETING, used_bytes=0, updated_at=epoch_now())
    )
    return dropped.rowcount + connection.execute(statement).rowcount


def _embedded(connection: Connection, index_id: str, ids: Collection[str], **values: Any) -> None:
    """Note that documents are embedded, and wait for their generation to go live."""
    if ids:
        connection.execute(
            update(entries)
            .where(
                entries.c.index_id == index_id,
                entries.c.document_id.in_(ids),
                entries.c.state.in_([one for one in LISTED if one != EntryState.INDEXED]),
            )
            .values(state=EntryState.EMBEDDING, reason="", **values, updated_at=epoch_now())
        )


def _set(connection: Connection, index_id: str, ids: Collection[str], **values: Any) -> None:
    if ids:
        connection.execute(
            update(entries)
            .where(
                entries.c.index_id == index_id,
                entries.c.document_id.in_(ids),
                entries.c.state.in_(LISTED),
            )
            .values(**values, updated_at=epoch_now())
        )


def _insert(connection: Connection, index_id: str, new: Sequence[Requested]) -> None:
    now = connection.execute(select(epoch_now())).scalar_one()
    rows = [
        {
            "id": str(uuid.uuid4()),
            "index_id": index_id,
            "document_id": one.id,
            "state": EntryState.REFUSED if one.refusal else EntryState.QUEUED,
            "reason": one.refusal or "",
            "used_bytes": 0 if one.refusal else one.size_bytes,
            "created_at": now,
            "updated_at": now,
        }
        for one in new
    ]
    if rows:
        connection.execute(entries.insert(), rows)


def _entry(row: RowMapping) -> Entry:
    values = {field.name: row[field.name] for field in fields(Entry)}
    values["state"] = EntryState(row["state"])
    return Entry(**values)
