"""The application on a real catalog and Redis, without a server in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from harness import Messages
from werkzeug.test import TestResponse

from celeriac.catalog.data_sources import DataSourceType
from celeriac.catalog.documents import DocumentKind
from celeriac.catalog.indexes import index_id_of
from celeriac.catalog.knowledge_bases import DataOriginType
from celeriac.configuration.schedule import Schedule
from celeriac.knowledge import Knowledge
from celeriac.model import Splitting
from celeriac.runtime import Runtime
from celeriac.security.principal import Scope
from celeriac.security.secrets import Secret
from celeriac.voice import VoiceLibrary, new_document
from workers import checking
from workers.checking import CheckKind

BOOTSTRAP_KEY = "bootstrap-key-of-the-tests"
MISSING = "00000000-0000-0000-0000-000000000000"
MODEL = "multilingual_e5_large_instruct"


@dataclass
class Site:
    """The application and what it works on."""

    app: Flask
    runtime: Runtime

    @property
    def client(self) -> FlaskClient:
        return self.app.test_client()

    def key(self, *scopes: Scope, tenant: str = "acme") -> Secret:
        _, secret = self.runtime.catalog.api_keys.create(
            tenants=[tenant], scopes=scopes or list(Scope)
        )
        return secret

    def job(self, tenant: str) -> str:
        """A queued job of the tenant."""
        index_id = index_id_of(tenant, "article")
        return self.runtime.catalog.requests.queue(index_id, tenant, "article").job.id

    def schedule(self, tenant: str) -> str:
        """A schedule of the tenant's."""
        schedules = self.runtime.catalog.schedules
        return schedules.add(tenant, "article", Schedule("0 3 * * *")).id

    def check(self, tenant: str) -> str:
        """A plan of the tenant's that waits."""
        self.runtime.redis.delete(checking.QUEUE)
        redis = self.runtime.redis
        return checking.ask(redis, tenant, "article", CheckKind.PLAN, repair=False).id

    def knowledge(self, tenant: str) -> dict[str, str]:
        """Ids of what a tenant has under the control contract."""
        catalog, messages = self.runtime.catalog, Messages()
        knowledge = Knowledge(self.runtime, messages)
        base = catalog.knowledge_bases.create(
            tenant, "kb", "", DataOriginType.LOCAL_FILES, {"policy_type": "MANUAL"}
        )
        index = knowledge.create_index(
            tenant, base.id, name="i", description="", model="stub", splitting=Splitting()
        )
        document = knowledge.upload(base, "a.txt", b"text", "text/plain")
        source = catalog.data_sources.create(
            tenant, "s", "", DataSourceType.REST, "https://x.org", options={}, credentials={}
        )
        catalog.data_sources.link(base.id, source.id)
        waiting = catalog.jobs.waiting(index.id)
        assert waiting is not None
        return {
            "knowledge_base_id": base.id,
            "index_id": index.id,
            "document_id": document.id,
            "indexing_id": waiting.id,
            "data_source_id": source.id,
        }

    def voice(self, tenant: str) -> dict[str, str]:
        """Ids of what a tenant has under the batch contract."""
        library = VoiceLibrary(self.runtime, Messages(), tenant)
        new = new_document(DocumentKind.TEXT, "a", b"text " * 200, media_type="text/plain")
        document = library.add(new)
        found = library.rag_index(document.id, MODEL, create=True)
        return {"document_id": document.id, "rag_index_id": found.entry.id}

    def ask(
        self,
        method: str,
        path: str,
        credential: str | Secret | None = None,
        body: dict[str, Any] | None = None,
        **parts: Any,
    ) -> TestResponse:
        return self.client.open(path, method=method, headers=bearer(credential), json=body, **parts)


def bearer(credential: str | Secret | None) -> dict[str, str]:
    if credential is None:
        return {}
    text = credential.reveal() if isinstance(credential, Secret) else credential
    return {"Authorization": f"Bearer {text}"}


Open = Callable[..., Site]
