"""Knowledge bases and the indexes over them."""

from __future__ import annotations

import builtins
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Row, RowMapping, Select, Table, and_, select, update
from sqlalchemy.exc import IntegrityError

from celeriac.catalog.database import Database, epoch_now
from celeriac.catalog.entries import add_entries_of_index
from celeriac.catalog.indexes import index_id_of
from celeriac.catalog.lists import Window, count_of, window_of
from celeriac.catalog.tables import indexes, knowledge_bases, knowledge_indexes
from celeriac.model import Splitting, SplittingMethod

KEY_PREFIX = "kb:"
"""Begins the name under which an index of a knowledge base stands beside the entity types. No
declared entity type's name can have a colon."""


class KnowledgeKind(StrEnum):
    """Who a knowledge base is for."""

    MANAGED = "managed"
    """Made and filled by a tenant."""
    VOICE = "voice"
    """The hidden one, a tenant, that holds the documents of the batch contract."""


class DataOriginType(StrEnum):
    """Where a knowledge base's documents come from."""

    DATA_SOURCES = "DATA_SOURCES"
    LOCAL_FILES = "LOCAL_FILES"


@dataclass(frozen=True, slots=True)
class KnowledgeBase:
    """A tenant's set of documents."""

    id: str
    tenant: str
    kind: KnowledgeKind
    name: str
    description: str
    data_origin_type: DataOriginType
    refresh_policy: Mapping[str, Any]
    created_at: float
    updated_at: float


@dataclass(frozen=True, slots=True)
class KnowledgeIndex:
    """An index over a knowledge base. Immutable: for other settings another one is built."""

    id: str
    knowledge_base_id: str
    tenant: str
    data_origin_type: DataOriginType
    """Of its knowledge base."""
    key: str
    """Its name among the entity types."""
    name: str
    description: str
    model: str
    splitting: Splitting
    created_at: float
    last_indexed_at: float | None
    last_job_id: str | None


class KnowledgeBases:
    """Rows of the tables `knowledge_bases` and `knowledge_indexes`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        tenant: str,
        name: str,
        description: str,
        data_origin_type: DataOriginType,
        refresh_policy: Mapping[str, Any],
    ) -> KnowledgeBase:
        statement = (
            knowledge_bases.insert()
            .values(
                id=str(uuid.uuid4()),
                tenant=tenant,
                kind=KnowledgeKind.MANAGED,
                name=name,
                description=description,
                data_origin_type=data_origin_type,
                refresh_policy=dict(refresh_policy),
                created_at=epoch_now(),
                updated_at=epoch_now(),
            )
            .returning(knowledge_bases)
        )
        with self._database.write() as connection:
            return _knowledge_base(connection.execute(statement).one()._mapping)

    def ensure_voice(self, tenant: str) -> KnowledgeBase:
        """The tenant's hidden knowledge base, made when there is none."""
        mine = and_(
            knowledge_bases.c.tenant == tenant, knowledge_bases.c.kind == KnowledgeKind.VOICE
        )
        query = select(knowledge_bases).where(mine)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            statement = self._database.insert_new(knowledge_bases).values(
                id=str(uuid.uuid4()),
                tenant=tenant,
                kind=KnowledgeKind.VOICE,
                name="voice",
                data_origin_type=DataOriginType.LOCAL_FILES,
                refresh_policy={"policy_type": "MANUAL"},
                created_at=epoch_now(),
                updated_at=epoch_now(),
            )
            with self._database.write() as connection:
                connection.execute(statement)
                row = connection.execute(query).one()
        return _knowledge_base(row._mapping)

    def find(self, tenant: str, knowledge_base_id: str) -> KnowledgeBase | None:
        """A managed knowledge base of the tenant."""
        query = select(knowledge_bases).where(
            _managed_of(tenant), knowledge_bases.c.id == knowledge_base_id
        )
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return _knowledge_base(row._mapping) if row else None

    def list(
        self, tenant: str, window: Window, name: str | None = None
    ) -> tuple[list[KnowledgeBase], bool]:
        """A part of the tenant's managed knowledge bases, and whether more follow."""
        where = _named(knowledge_bases, _managed_of(tenant), name)
        owner = knowledge_bases.c.tenant == tenant
        with self._database.read() as connection:
            found = window_of(connection, knowledge_bases, owner, where, window)
        return [_knowledge_base(row) for row in found.rows], found.has_more

    def count(self, tenant: str, name: str | None = None) -> int:
        where = _named(knowledge_bases, _managed_of(tenant), name)
        with self._database.read() as connection:
            return count_of(connection, knowledge_bases, where)

    def update(self, knowledge_base_id: str, values: Mapping[str, Any]) -> None:
        """Set columns of a knowledge base: name, description, refresh_policy."""
        statement = (
            update(knowledge_bases)
            .where(knowledge_bases.c.id == knowledge_base_id)
            .values({**values, "updated_at": epoch_now()})
        )
        with self._database.write() as connection:
            connection.execute(statement)

    def managed(self) -> builtins.list[KnowledgeBase]:
        """Every tenant's managed knowledge bases."""
        query = select(knowledge_bases).where(
            knowledge_bases.c.kind == KnowledgeKind.MANAGED, knowledge_bases.c.deleted_at.is_(None)
        )
        with self._database.read() as connection:
            return [_knowledge_base(row) for row in connection.execute(query).mappings()]

    def delete(self, knowledge_base_id: str) -> None:
        """Hide a knowledge base and its indexes; their points and rows are removed later."""
        mine = knowledge_indexes.c.knowledge_base_id == knowledge_base_id
        with self._database.write() as connection:
            connection.execute(
                update(knowledge_bases)
                .where(knowledge_bases.c.id == knowledge_base_id)
                .values(deleted_at=epoch_now())
            )
            connection.execute(update(knowledge_indexes).where(mine).values(deleted_at=epoch_now()))

    def create_index(
        self,
        knowledge_base: KnowledgeBase,
        name: str,
        description: str,
        model: str,
        splitting: Splitting,
    ) -> KnowledgeIndex:
        """Add an index, with an entry for every document that a managed knowledge base has.

        Raises:
            sqlalchemy.exc.IntegrityError: a voice knowledge base has one of this name.
        """
        key = f"{KEY_PREFIX}{_index_uuid(knowledge_base, name)}"
        index_id = index_id_of(knowledge_base.tenant, key)
        with self._database.write() as connection:
            connection.execute(
                indexes.insert().values(
                    id=index_id,
                    tenant=knowledge_base.tenant,
                    entity_type=key,
                    created_at=epoch_now(),
                )
            )
            connection.execute(
                knowledge_indexes.insert().values(
                    id=index_id,
                    knowledge_base_id=knowledge_base.id,
                    name=name,
                    description=description,
                    model=model,
                    text_splitting=splitting.method,
                    chunk_size=splitting.chunk_size,
                    chunk_overlap=splitting.chunk_overlap,
                    created_at=epoch_now(),
                )
            )
            if knowledge_base.kind == KnowledgeKind.MANAGED:
                add_entries_of_index(connection, index_id, knowledge_base.id)
            return _index(connection.execute(_indexes().where(indexes.c.id == index_id)).one())

    def ensure_index(
        self, knowledge_base: KnowledgeBase, name: str, model: str, splitting: Splitting
    ) -> KnowledgeIndex:
        """The knowledge base's index under that name, made when there is none."""
        found = self.index_named(knowledge_base.id, name)
        if found is None:
            with suppress(IntegrityError):  # another request was faster
                return self.create_index(knowledge_base, name, "", model, splitting)
            found = self.index_named(knowledge_base.id, name)
        assert found is not None
        return found

    def index_named(self, knowledge_base_id: str, name: str) -> KnowledgeIndex | None:
        """The knowledge base's first index under that name."""
        query = _indexes().where(
            knowledge_indexes.c.knowledge_base_id == knowledge_base_id,
            knowledge_indexes.c.name == name,
            knowledge_indexes.c.deleted_at.is_(None),
        )
        with self._database.read() as connection:
            row = connection.execute(query.order_by(indexes.c.created_at)).first()
        return _index(row) if row else None

    def all_indexes(self, knowledge_base_id: str) -> builtins.list[KnowledgeIndex]:
        """Every index of the knowledge base, oldest first."""
        query = _indexes().where(_indexes_of(knowledge_base_id)).order_by(indexes.c.created_at)
        with self._database.read() as connection:
            return [_index(row) for row in connection.execute(query)]

    def find_index(self, knowledge_base_id: str, index_id: str) -> KnowledgeIndex | None:
        """An index of the knowledge base."""
        query = _indexes().where(
            knowledge_indexes.c.knowledge_base_id == knowledge_base_id,
            knowledge_indexes.c.id == index_id,
            knowledge_indexes.c.deleted_at.is_(None),
        )
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return _index(row) if row else None

    def index_by_key(self, tenant: str, key: str) -> KnowledgeIndex | None:
        """The index that stands under this name among the tenant's entity types."""
        query = _indexes().where(indexes.c.tenant == tenant, indexes.c.entity_type == key)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return _index(row) if row else None

    def list_indexes(
        self, knowledge_base_id: str, window: Window, name: str | None = None
    ) -> tuple[builtins.list[KnowledgeIndex], bool]:
        """A part of the knowledge base's indexes, and whether more follow."""
        where = _named(knowledge_indexes, _indexes_of(knowledge_base_id), name)
        owner = knowledge_indexes.c.knowledge_base_id == knowledge_base_id
        with self._database.read() as connection:
            found = window_of(connection, knowledge_indexes, owner, where, window)
            ids = [row["id"] for row in found.rows]
            rows = connection.execute(_indexes().where(indexes.c.id.in_(ids)))
            by_id = {row.id: _index(row) for row in rows}
        return [by_id[index_id] for index_id in ids], found.has_more

    def count_indexes(self, knowledge_base_id: str, name: str | None = None) -> int:
        where = _named(knowledge_indexes, _indexes_of(knowledge_base_id), name)
        with self._database.read() as connection:
            return count_of(connection, knowledge_indexes, where)


def _index_uuid(knowledge_base: KnowledgeBase, name: str) -> uuid.UUID:
    """Derived for a voice knowledge base, whose index of a name must be one."""
    if knowledge_base.kind == KnowledgeKind.VOICE:
        return uuid.uuid5(uuid.UUID(knowledge_base.id), name)
    return uuid.uuid4()


def _managed_of(tenant: str) -> ColumnElement[bool]:
    return and_(
        knowledge_bases.c.tenant == tenant,
        knowledge_bases.c.kind == KnowledgeKind.MANAGED,
        knowledge_bases.c.deleted_at.is_(None),
    )


def _indexes_of(knowledge_base_id: str) -> ColumnElement[bool]:
    return and_(
        knowledge_indexes.c.knowledge_base_id == knowledge_base_id,
        knowledge_indexes.c.deleted_at.is_(None),
    )


def _named(table: Table, where: ColumnElement[bool], name: str | None) -> ColumnElement[bool]:
    return where if name is None else and_(where, table.c.name == name)


def _indexes() -> Select[Any]:
    columns = [column for column in knowledge_indexes.c if column.name != "created_at"]
    return select(
        *columns,
        indexes.c.tenant,
        indexes.c.entity_type,
        indexes.c.created_at,
        indexes.c.last_indexed_at,
        indexes.c.last_job_id,
        knowledge_bases.c.data_origin_type,
    ).select_from(
        knowledge_indexes.join(indexes, indexes.c.id == knowledge_indexes.c.id).join(
            knowledge_bases, knowledge_bases.c.id == knowledge_indexes.c.knowledge_base_id
        )
    )


def _knowledge_base(row: RowMapping) -> KnowledgeBase:
    values = {field.name: row[field.name] for field in fields(KnowledgeBase)}
    values["kind"] = KnowledgeKind(row["kind"])
    values["data_origin_type"] = DataOriginType(row["data_origin_type"])
    return KnowledgeBase(**values)


def _index(row: Row[Any]) -> KnowledgeIndex:
    return KnowledgeIndex(
        id=row.id,
        knowledge_base_id=row.knowledge_base_id,
        tenant=row.tenant,
        data_origin_type=DataOriginType(row.data_origin_type),
        key=row.entity_type,
        name=row.name,
        description=row.description,
        model=row.model,
        splitting=Splitting(SplittingMethod(row.text_splitting), row.chunk_size, row.chunk_overlap),
        created_at=row.created_at,
        last_indexed_at=row.last_indexed_at,
        last_job_id=row.last_job_id,
    )
