"""Knowledge bases: their indexes, their documents, and what asks for indexing. The rules of the
control and the batch contract, which differ in how they say them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from sqlalchemy.exc import IntegrityError

from celeriac.catalog.data_sources import DataSource, DataSourceType
from celeriac.catalog.documents import Document, DocumentKind, NewDocument
from celeriac.catalog.jobs import Job, JobState
from celeriac.catalog.knowledge_bases import DataOriginType, KnowledgeBase, KnowledgeIndex
from celeriac.catalog.requests import Request
from celeriac.data_sources import check_data_source
from celeriac.definitions import EVERYTHING
from celeriac.dispatch import Dispatcher
from celeriac.documents import media_type_of
from celeriac.errors import (
    BrokerUnavailable,
    CeleriacError,
    ConfigurationError,
    Conflict,
    EmptyDocument,
    NotFound,
    TooLarge,
)
from celeriac.jobs import request_job
from celeriac.model import Splitting
from celeriac.runtime import Runtime

MAX_DOCUMENT = 10 * 1024 * 1024
"""Bytes of a document at most."""


class Knowledge:
    """What tenants do with knowledge bases. Every method raises NotFound for what is not there,
    or is another tenant's."""

    def __init__(self, runtime: Runtime, dispatcher: Dispatcher) -> None:
        self._runtime = runtime
        self._catalog = runtime.catalog
        self._dispatcher = dispatcher

    def knowledge_base(self, tenant: str, knowledge_base_id: str) -> KnowledgeBase:
        found = self._catalog.knowledge_bases.find(tenant, knowledge_base_id)
        if found is None:
            raise NotFound(f"There is no knowledge base {knowledge_base_id!r}.")
        return found

    def delete_knowledge_base(self, tenant: str, knowledge_base_id: str) -> None:
        """Delete a knowledge base with its documents; jobs take its points out of the indexes."""
        base = self.knowledge_base(tenant, knowledge_base_id)
        indexes = self._catalog.knowledge_bases.all_indexes(base.id)
        self._catalog.documents.delete_all(base.id)
        self._catalog.data_sources.unlink_all(base.id)
        self._catalog.knowledge_bases.delete(base.id)
        # What no job takes out `recover` does.
        with suppress(ConfigurationError):
            self._request_each(indexes, EVERYTHING)

    def index(self, tenant: str, knowledge_base_id: str, index_id: str) -> KnowledgeIndex:
        self.knowledge_base(tenant, knowledge_base_id)
        found = self._catalog.knowledge_bases.find_index(knowledge_base_id, index_id)
        if found is None:
            raise NotFound(f"There is no index {index_id!r} of this knowledge base.")
        return found

    def create_index(
        self,
        tenant: str,
        knowledge_base_id: str,
        *,
        name: str,
        description: str,
        model: str,
        splitting: Splitting,
    ) -> KnowledgeIndex:
        """Build an index over the knowledge base; what documents there are is indexed at once.

        Raises:
            ConfigurationError: there is no such embedding model.
        """
        base = self.knowledge_base(tenant, knowledge_base_id)
        self.require_model(model)
        index = self._catalog.knowledge_bases.create_index(
            base, name, description, model, splitting
        )
        if (
            base.data_origin_type == DataOriginType.DATA_SOURCES
            or self._catalog.entries.count_listed(index.id)
        ):
            self.request(index)
        return index

    def start_indexing(self, index: KnowledgeIndex) -> Job:
        """Queue a job over the index.

        Raises:
            Conflict: one waits already.
        """
        request = self.request(index)
        if request.joined:
            raise Conflict(
                f"The job {request.job.id} of this index waits already; it will index everything.",
                code="PENDING_INDEXING_ALREADY_EXISTS_FOR_KB",
            )
        return request.job

    def active_indexing(self, index: KnowledgeIndex) -> Job:
        """The running job, else the one that completed last, else the oldest that waits."""
        order = (JobState.RUNNING, JobState.SUCCEEDED, JobState.QUEUED)
        found = self._catalog.jobs.first_of(index.id, order)
        if found is None:
            raise NotFound("Nothing was ever indexed here.")
        return found

    def data_source(self, tenant: str, data_source_id: str) -> DataSource:
        found = self._catalog.data_sources.find(tenant, data_source_id)
        if found is None:
            raise NotFound(f"There is no data source {data_source_id!r}.")
        return found

    def create_data_source(
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
        """Add a data source; nothing is connected yet.

        Raises:
            marshmallow.ValidationError: it could not be opened.
        """
        declared = self._runtime.settings.configuration.tenants.get(tenant)
        entity_types = declared.entity_types if declared else {}
        check_data_source(kind, origin_url, options, credentials, entity_types)
        return self._catalog.data_sources.create(
            tenant, name, description, kind, origin_url, options=options, credentials=credentials
        )

    def delete_data_source(self, tenant: str, data_source_id: str) -> None:
        """Delete a data source.

        Raises:
            Conflict: a knowledge base is linked to it.
        """
        data_source = self.data_source(tenant, data_source_id)
        if not self._catalog.data_sources.delete(data_source.id):
            raise Conflict(
                "A knowledge base is linked to the data source; unlink it first.",
                code="DATA_SOURCE_STILL_LINKED_TO_KNOWLEDGE_BASE",
            )

    def link(self, base: KnowledgeBase, data_source_id: str) -> DataSource:
        """Have a knowledge base hold what a data source lists, and index it.

        Raises:
            Conflict: it is linked already, or the knowledge base holds uploaded files.
        """
        data_source = self.data_source(base.tenant, data_source_id)
        if base.data_origin_type != DataOriginType.DATA_SOURCES:
            raise Conflict(
                "The documents of this knowledge base are uploaded.",
                code="KNOWLEDGE_BASE_LINK_DATA_SOURCE_NOT_SUPPORTED",
            )
        if not self._catalog.data_sources.link(base.id, data_source.id):
            raise Conflict(
                "The data source is linked already.",
                code="KNOWLEDGE_BASE_DATA_SOURCE_ALREADY_EXISTS",
            )
        self._request_all(base)
        return data_source

    def unlink(self, base: KnowledgeBase, data_source_id: str) -> None:
        """Take a data source, and the documents it listed, out of a knowledge base."""
        if not self._catalog.data_sources.unlink(base.id, data_source_id):
            raise NotFound(f"The data source {data_source_id!r} is not linked.")
        # Whoever unlinks means its documents to go, however large a share they are.
        self._request_all(base, removal_limit=EVERYTHING)

    def upload(self, base: KnowledgeBase, name: str, content: bytes, media_type: str) -> Document:
        """Add a file to a knowledge base and index it. What kind it is its name says, or else
        `media_type`; one that cannot be read is kept, and not indexed.

        Raises:
            EmptyDocument: it has no content.
            TooLarge: it has more than MAX_DOCUMENT bytes.
            Conflict: there is one of this name, or the documents come from data sources.
        """
        if base.data_origin_type != DataOriginType.LOCAL_FILES:
            raise Conflict(
                "The documents of this knowledge base come from its data sources.",
                code="KNOWLEDGE_BASE_UPLOAD_NOT_SUPPORTED_FOR_DATA_SOURCE",
            )
        require_size(content)
        new = NewDocument(
            DocumentKind.FILE,
            name,
            origin_ref=name,
            media_type=media_type_of(name) or media_type,
            content=content,
            sha256=hashlib.sha256(content).hexdigest(),
        )
        try:
            document = self._catalog.documents.add(
                base.id, base.tenant, new, unique=True, entries=True
            )
        except IntegrityError:
            raise Conflict(
                f"There is a document {name!r} already; delete it first.",
                code="DOCUMENT_ALREADY_EXISTS",
            ) from None
        self._request_all(base)
        return document

    def document(self, base: KnowledgeBase, document_id: str) -> Document:
        found = self._catalog.documents.find(base.id, document_id)
        if found is None:
            raise NotFound(f"There is no document {document_id!r}.")
        return found

    def delete_document(self, base: KnowledgeBase, document_id: str) -> None:
        """Delete a document; jobs take its points out of the indexes."""
        document = self.document(base, document_id)
        if document.kind == DocumentKind.ENTITY:
            raise Conflict(
                "The document comes from a data source; delete it there.",
                code="KNOWLEDGE_BASE_DELETE_NOT_SUPPORTED_FOR_DATA_SOURCE",
            )
        self._catalog.documents.delete(document.id)
        self._request_all(base)

    def require_model(self, model: str) -> None:
        """Raise ConfigurationError where there is no such embedding model."""
        models = self._runtime.settings.configuration.models
        if model not in models:
            raise ConfigurationError(
                f"There is no embedding model {model!r}; there are {', '.join(sorted(models))}."
            )

    def _request_all(self, base: KnowledgeBase, removal_limit: float | None = None) -> None:
        self._request_each(self._catalog.knowledge_bases.all_indexes(base.id), removal_limit)

    def _request_each(self, indexes: Iterable[KnowledgeIndex], removal_limit: float | None) -> None:
        """Request a job over each, also where that of another is refused or cannot be announced:
        what the job is for was done, and nobody will ask for the others' again."""
        problems: list[CeleriacError] = []
        for index in indexes:
            try:
                self.request(index, removal_limit)
            except (BrokerUnavailable, ConfigurationError) as error:
                problems.append(error)
        if problems:
            raise problems[0]

    def request(self, index: KnowledgeIndex, removal_limit: float | None = None) -> Request:
        """Queue a job over an index, or join the one that waits."""
        return request_job(
            self._runtime,
            self._dispatcher,
            index.tenant,
            index.key,
            removal_limit=removal_limit,
        )


def require_size(content: bytes) -> None:
    """Refuse what is empty or too large.

    Raises:
        EmptyDocument, TooLarge
    """
    if not content.strip():
        raise EmptyDocument
    if len(content) > MAX_DOCUMENT:
        raise TooLarge(f"The document has {len(content)} bytes; {MAX_DOCUMENT} is the most.")
