"""Documents: what a knowledge base holds."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    and_,
    case,
    delete,
    exists,
    func,
    literal,
    select,
    update,
)

from celeriac.catalog.database import Database, epoch_now
from celeriac.catalog.entries import add_entries_of_document, discard_entries
from celeriac.catalog.lists import Window, count_of, window_of
from celeriac.catalog.tables import document_contents, documents, entries
from celeriac.model import Entity

DOCUMENTS_A_STEP = 100


class DocumentKind(StrEnum):
    """Where a document comes from."""

    TEXT = "text"
    URL = "url"
    FILE = "file"
    FOLDER = "folder"
    ENTITY = "entity"
    """Listed by a data source; its content stays there."""


@dataclass(frozen=True, slots=True)
class Document:
    """A row of the table `documents`."""

    id: str
    knowledge_base_id: str
    tenant: str
    kind: DocumentKind
    name: str
    origin_ref: str
    """Where it is at its origin: a file's name, a URL, an id in a data source."""
    media_type: str
    size_bytes: int
    """Of the content as it was uploaded."""
    sha256: str
    """Of that content, in hexadecimal."""
    parent_id: str | None
    """The folder it is in."""
    data_source_id: str | None
    created_at: float
    updated_at: float


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document to be added."""

    kind: DocumentKind
    name: str
    origin_ref: str = ""
    media_type: str = ""
    content: bytes | None = None
    sha256: str = ""
    parent_id: str | None = None


class Documents:
    """Rows of the tables `documents` and `document_contents`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self, knowledge_base_id: str, tenant: str, new: NewDocument, *, unique: bool, entries: bool
    ) -> Document:
        """Add a document; with `entries`, to every index of the knowledge base.

        Raises:
            sqlalchemy.exc.IntegrityError: with `unique`, where another one has its name.
        """
        document_id = str(uuid.uuid4())
        statement = (
            documents.insert()
            .values(
                id=document_id,
                knowledge_base_id=knowledge_base_id,
                tenant=tenant,
                kind=new.kind,
                name=new.name,
                unique_name=new.name if unique else None,
                origin_ref=new.origin_ref,
                media_type=new.media_type,
                size_bytes=len(new.content or b""),
                sha256=new.sha256,
                parent_id=new.parent_id,
                created_at=epoch_now(),
                updated_at=epoch_now(),
            )
            .returning(documents)
        )
        with self._database.write() as connection:
            document = _document(connection.execute(statement).one()._mapping)
            if new.content is not None:
                connection.execute(
                    document_contents.insert().values(document_id=document_id, content=new.content)
                )
            if entries:
                add_entries_of_document(connection, document_id, knowledge_base_id)
        return document

    def find(self, knowledge_base_id: str, document_id: str) -> Document | None:
        query = select(documents).where(
            documents.c.knowledge_base_id == knowledge_base_id, documents.c.id == document_id
        )
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return _document(row._mapping) if row else None

    def find_many(self, knowledge_base_id: str, ids: Collection[str]) -> dict[str, Document]:
        """Those of the documents that there are, by id."""
        query = select(documents).where(
            documents.c.knowledge_base_id == knowledge_base_id, documents.c.id.in_(ids)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).mappings()
            return {row["id"]: _document(row) for row in rows}

    def content(self, document_id: str) -> bytes | None:
        """What was uploaded, or fetched, as it was."""
        query = select(document_contents.c.content).where(
            document_contents.c.document_id == document_id
        )
        with self._database.read() as connection:
            return connection.execute(query).scalar_one_or_none()

    def list(
        self,
        knowledge_base_id: str,
        window: Window,
        *,
        name: str | None = None,
        prefix: str | None = None,
        parent_id: str | None = None,
    ) -> tuple[list[Document], bool]:
        """A part of the knowledge base's documents, and whether more follow: of this name, of names
        that begin so, in this folder."""
        where = _within(knowledge_base_id, name)
        if prefix is not None:
            where = and_(where, documents.c.name.startswith(prefix, autoescape=True))
        if parent_id is not None:
            where = and_(where, documents.c.parent_id == parent_id)
        owner = documents.c.knowledge_base_id == knowledge_base_id
        with self._database.read() as connection:
            found = window_of(connection, documents, owner, where, window)
        return [_document(row) for row in found.rows], found.has_more

    def count(self, knowledge_base_id: str, name: str | None = None) -> int:
        where = _within(knowledge_base_id, name)
        with self._database.read() as connection:
            return count_of(connection, documents, where)

    def take_up(self, knowledge_base_id: str, tenant: str, entities: Sequence[Entity]) -> None:
        """Have a document for each entity that a data source lists, as it is now."""
        ids = [entity.id for entity in entities]
        with self._database.write() as connection:
            now = connection.execute(select(epoch_now())).scalar_one()
            changed = {"updated_at": now}
            query = select(documents.c.id, documents.c.sha256).where(documents.c.id.in_(ids))
            known = {row.id: row.sha256 for row in connection.execute(query)}
            new = []
            for entity in entities:
                values = _of_entity(entity)
                if entity.id not in known:
                    own = {"id": entity.id, "knowledge_base_id": knowledge_base_id}
                    new.append({**values, **own, "tenant": tenant, "created_at": now} | changed)
                elif known[entity.id] != values["sha256"]:
                    mine = documents.c.id == entity.id
                    connection.execute(update(documents).where(mine).values({**values, **changed}))
            if new:
                connection.execute(self._database.insert_new(documents), new)

    def forget_unlisted(self, knowledge_base_id: str) -> None:
        """Delete documents of data sources that are in no index any more."""
        indexed = exists().where(entries.c.document_id == documents.c.id)
        statement = delete(documents).where(
            documents.c.knowledge_base_id == knowledge_base_id,
            documents.c.kind == DocumentKind.ENTITY,
            ~indexed,
        )
        with self._database.write() as connection:
            connection.execute(statement)

    def rename(self, document_id: str, name: str) -> None:
        """Give a document another name; its text, and so its points, stay as they are."""
        statement = (
            update(documents)
            .where(documents.c.id == document_id)
            .values(
                name=name,
                unique_name=_unless_null(documents.c.unique_name, name),
                updated_at=epoch_now(),
            )
        )
        with self._database.write() as connection:
            connection.execute(statement)

    def delete(self, document_id: str) -> None:
        """Delete a document, and what is below it where it is a folder.

        Its entries stay as `deleting` until a job took its points out of their indexes.
        """
        with self._database.write() as connection:
            for one in _with_children(connection, document_id):
                discard_entries(connection, one)
                connection.execute(
                    delete(document_contents).where(document_contents.c.document_id == one)
                )
                connection.execute(delete(documents).where(documents.c.id == one))

    def delete_all(self, knowledge_base_id: str) -> None:
        """Delete every document of a knowledge base, in steps."""
        while True:
            query = (
                select(documents.c.id)
                .where(documents.c.knowledge_base_id == knowledge_base_id)
                .limit(DOCUMENTS_A_STEP)
            )
            with self._database.read() as connection:
                ids = list(connection.execute(query).scalars())
            if not ids:
                return
            for document_id in ids:
                self.delete(document_id)

    def total_bytes(self, knowledge_base_id: str) -> int:
        query = select(func.coalesce(func.sum(documents.c.size_bytes), 0)).where(
            documents.c.knowledge_base_id == knowledge_base_id
        )
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())


def _within(knowledge_base_id: str, name: str | None) -> ColumnElement[bool]:
    within = documents.c.knowledge_base_id == knowledge_base_id
    return within if name is None else and_(within, documents.c.name == name)


def _with_children(connection: Connection, document_id: str) -> Iterator[str]:
    """The ids below a folder, deepest first, and then its own."""
    children = select(documents.c.id).where(documents.c.parent_id == document_id)
    for child in list(connection.execute(children).scalars()):
        yield from _with_children(connection, child)
    yield document_id


def _unless_null(column: ColumnElement[Any], value: str) -> ColumnElement[Any]:
    return case((column.is_(None), None), else_=literal(value))


def _of_entity(entity: Entity) -> dict[str, Any]:
    columns = ("name", "origin_ref", "data_source_id", "media_type", "size_bytes", "sha256")
    return {"kind": DocumentKind.ENTITY, **{name: entity.fields[name] for name in columns}}


def _document(row: RowMapping) -> Document:
    values = {field.name: row[field.name] for field in fields(Document)}
    values["kind"] = DocumentKind(row["kind"])
    return Document(**values)
