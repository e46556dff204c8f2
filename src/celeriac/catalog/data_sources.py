"""Data sources and the knowledge bases they are linked to."""

from __future__ import annotations

import builtins
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, and_, delete, exists, select, update

from celeriac.catalog.database import Database, epoch_now
from celeriac.catalog.lists import Window, count_of, window_of
from celeriac.catalog.tables import data_source_links, data_sources


class DataSourceType(StrEnum):
    """What a data source is."""

    REST = "REST"
    """A paged JSON listing at a public URL."""
    ENTITY_TYPE = "ENTITY_TYPE"
    """The source of an entity type that the configuration file declares."""


@dataclass(frozen=True, slots=True)
class DataSource:
    """A row of the table `data_sources`."""

    id: str
    tenant: str
    name: str
    description: str
    type: DataSourceType
    origin_url: str
    """The listing's URL, or the entity type's name."""
    options: Mapping[str, Any]
    credentials: Mapping[str, Any] = field(repr=False)
    """Given once, never shown again."""
    created_at: float
    updated_at: float


class DataSources:
    """Rows of the tables `data_sources` and `data_source_links`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        tenant: str,
        name: str,
        description: str,
        kind: DataSourceType,
        origin_url: str,
        *,
        options: Mapping[str, Any],
        credentials: Mapping[str, Any],
    ) -> DataSource:
        statement = (
            data_sources.insert()
            .values(
                id=str(uuid.uuid4()),
                tenant=tenant,
                name=name,
                description=description,
                type=kind,
                origin_url=origin_url,
                options=dict(options),
                credentials=dict(credentials),
                created_at=epoch_now(),
                updated_at=epoch_now(),
            )
            .returning(data_sources)
        )
        with self._database.write() as connection:
            return _data_source(connection.execute(statement).one()._mapping)

    def find(self, tenant: str, data_source_id: str) -> DataSource | None:
        query = select(data_sources).where(
            data_sources.c.tenant == tenant, data_sources.c.id == data_source_id
        )
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return _data_source(row._mapping) if row else None

    def list(
        self, tenant: str, window: Window, name: str | None = None
    ) -> tuple[builtins.list[DataSource], bool]:
        """A part of the tenant's data sources, and whether more follow."""
        where = _of(tenant, name)
        owner = data_sources.c.tenant == tenant
        with self._database.read() as connection:
            found = window_of(connection, data_sources, owner, where, window)
        return [_data_source(row) for row in found.rows], found.has_more

    def count(self, tenant: str, name: str | None = None) -> int:
        with self._database.read() as connection:
            return count_of(connection, data_sources, _of(tenant, name))

    def update(self, data_source_id: str, values: Mapping[str, Any]) -> None:
        """Set columns of a data source: name, description, options, credentials."""
        statement = (
            update(data_sources)
            .where(data_sources.c.id == data_source_id)
            .values(**values, updated_at=epoch_now())
        )
        with self._database.write() as connection:
            connection.execute(statement)

    def delete(self, data_source_id: str) -> bool:
        """Delete a data source; False where a knowledge base is still linked to it."""
        linked = exists().where(data_source_links.c.data_source_id == data_source_id)
        statement = delete(data_sources).where(data_sources.c.id == data_source_id, ~linked)
        with self._database.write() as connection:
            return bool(connection.execute(statement).rowcount)

    def link(self, knowledge_base_id: str, data_source_id: str) -> bool:
        """Link a data source to a knowledge base; False where it was linked."""
        statement = self._database.insert_new(data_source_links).values(
            knowledge_base_id=knowledge_base_id,
            data_source_id=data_source_id,
            created_at=epoch_now(),
        )
        with self._database.write() as connection:
            return bool(connection.execute(statement).rowcount)

    def unlink(self, knowledge_base_id: str, data_source_id: str) -> bool:
        """Take a link away; False where there was none."""
        statement = delete(data_source_links).where(
            data_source_links.c.knowledge_base_id == knowledge_base_id,
            data_source_links.c.data_source_id == data_source_id,
        )
        with self._database.write() as connection:
            return bool(connection.execute(statement).rowcount)

    def unlink_all(self, knowledge_base_id: str) -> None:
        statement = delete(data_source_links).where(
            data_source_links.c.knowledge_base_id == knowledge_base_id
        )
        with self._database.write() as connection:
            connection.execute(statement)

    def linked(self, knowledge_base_id: str) -> builtins.list[DataSource]:
        """The data sources of a knowledge base, in the order of their ids."""
        query = (
            select(data_sources)
            .join(data_source_links, data_source_links.c.data_source_id == data_sources.c.id)
            .where(data_source_links.c.knowledge_base_id == knowledge_base_id)
            .order_by(data_sources.c.id)
        )
        with self._database.read() as connection:
            return [_data_source(row._mapping) for row in connection.execute(query)]


def _of(tenant: str, name: str | None) -> ColumnElement[bool]:
    mine = data_sources.c.tenant == tenant
    return mine if name is None else and_(mine, data_sources.c.name == name)


def _data_source(row: RowMapping) -> DataSource:
    values = {one.name: row[one.name] for one in fields(DataSource)}
    values["type"] = DataSourceType(row["type"])
    return DataSource(**values)
