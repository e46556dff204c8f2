"""The catalog's tables. Times are Unix seconds by the database's clock."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    false,
)

from celeriac.model import Priority

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

indexes = Table(
    "indexes",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("tenant", String(16), nullable=False),
    Column("entity_type", String(256), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("live_generation", Integer),
    Column("last_indexed_at", Float),
    Column("last_job_id", String(36)),
    UniqueConstraint("tenant", "entity_type"),
)

generations = Table(
    "generations",
    metadata,
    Column("index_id", ForeignKey("indexes.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("spec_digest", String(32), nullable=False),
    Column("spec", JSON, nullable=False),
    Column("collection", String(255), nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("live_at", Float),
    Column("retired_at", Float),
    Column("rejected_at", Float),
    Column("points", BigInteger),
    Column("seal", JSON(none_as_null=True)),
    Column("lease_until", Float),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("index_id", ForeignKey("indexes.id"), nullable=False),
    Column("tenant", String(16), nullable=False),
    Column("entity_type", String(256), nullable=False),
    Column("state", String(16), nullable=False),
    Column("mode", String(16), nullable=False, server_default="reindex"),
    Column("retries", JSON(none_as_null=True)),
    Column("epoch", Integer, nullable=False, default=0),
    Column("generation", Integer),
    Column("message", Text, nullable=False, default=""),
    Column("expected", BigInteger),
    Column("rounds", Integer, nullable=False, default=1),
    Column("mended", Integer, nullable=False, default=0, server_default="0"),
    Column("removal_limit", Float),
    Column("priority", SmallInteger, nullable=False, default=Priority.NORMAL),
    Column("throttle", Float),
    Column("next_at", Float),
    Column("paused_at", Float),
    Column("paused_by", String(256)),
    Column("paused_seconds", Float, nullable=False, default=0.0),
    Column("resumed_at", Float),
    Column("load_seconds", Float, nullable=False, default=0.0, server_default="0"),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("lease_token", String(36)),
    Column("lease_until", Float),
    Column("listed", BigInteger, nullable=False, default=0),
    Column("unchanged", BigInteger, nullable=False, default=0),
    Column("indexed", BigInteger, nullable=False, default=0),
    Column("failed", BigInteger, nullable=False, default=0),
    Column("removed", BigInteger, nullable=False, default=0),
    Column("chunks", BigInteger, nullable=False, default=0),
    Column("embedded", BigInteger, nullable=False, default=0),
    Column("tokens", BigInteger, nullable=False, default=0),
    Column("bytes", BigInteger, nullable=False, default=0),
    Column("split_for_model", BigInteger, nullable=False, default=0),
    Column("gate", JSON),
    Column("source_version", JSON(none_as_null=True)),
    Column("unlisted", Boolean, nullable=False, default=False, server_default=false()),
    Column("error_class", String(128)),
    Column("cleared_at", Float),
    Index("ix_jobs_state_created_at", "state", "created_at"),
    Index("ix_jobs_index_id_created_at", "index_id", "created_at"),
    Index("ix_jobs_finished_at", "finished_at"),
)
Index(
    "ix_jobs_uncleared",
    jobs.c.id,
    sqlite_where=jobs.c.cleared_at.is_(None),
    postgresql_where=jobs.c.cleared_at.is_(None),
)
# One job of an index runs and one waits: the database itself refuses a second.
for _state in ("running", "queued"):
    Index(
        f"uq_jobs_one_{_state}",
        jobs.c.index_id,
        unique=True,
        sqlite_where=jobs.c.state == _state,
        postgresql_where=jobs.c.state == _state,
    )

pages = Table(
    "pages",
    metadata,
    Column("job_id", ForeignKey("jobs.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("round", Integer, nullable=False, default=1),
    Column("cursor", Text),
    Column("state", String(16), nullable=False),
    Column("is_last", Boolean, nullable=False, default=False),
    Column("claims", Integer, nullable=False, default=0),
    Column("postponed", Integer, nullable=False, default=0),
    Column("sent_at", Float),
    Column("lease_token", String(36)),
    Column("lease_until", Float),
    Column("not_before", Float),
    Column("failing_since", Float),
    Column("last_error", Text),
    Column("error_class", String(128)),
    Column("committed_at", Float),
    Column("counters", JSON),
    Column("carried", JSON(none_as_null=True)),
    Index("ix_pages_state_lease_until", "state", "lease_until"),
    Index("ix_pages_job_id_state", "job_id", "state"),
)

listings = Table(
    "listings",
    metadata,
    Column("entity_key", Uuid, primary_key=True),
    Column("job_id", String(36), primary_key=True),
    Column("page", Integer, primary_key=True, autoincrement=False),
    Column("outcome", SmallInteger),
    Column("fingerprint", String(32)),
    Index("ix_listings_job_id_page", "job_id", "page"),
)

job_errors = Table(
    "job_errors",
    metadata,
    Column("id", Integer, primary_key=True),
    # No foreign key: a job that is removed goes at once, its errors in steps.
    Column("job_id", String(36), nullable=False),
    Column("page", Integer),
    Column("entity_id", Text),
    Column("error_class", String(128), nullable=False),
    Column("message", Text, nullable=False),
    Column("retryable", Boolean, nullable=False),
    Index("ix_job_errors_job_id_page", "job_id", "page"),
    Index("ix_job_errors_job_id_entity_id", "job_id", "entity_id"),
)

expired_jobs = Table(
    "expired_jobs",
    metadata,
    Column("job_id", String(36), primary_key=True),
)

knowledge_bases = Table(
    "knowledge_bases",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("tenant", String(16), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("name", String(256), nullable=False),
    Column("description", Text, nullable=False, default=""),
    Column("data_origin_type", String(32), nullable=False),
    Column("refresh_policy", JSON, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("deleted_at", Float),
    Index("ix_knowledge_bases_tenant_created_at", "tenant", "created_at"),
)
# A tenant has one knowledge base for the documents of the batch contract.
Index(
    "uq_knowledge_bases_one_voice",
    knowledge_bases.c.tenant,
    unique=True,
    sqlite_where=knowledge_bases.c.kind == "voice",
    postgresql_where=knowledge_bases.c.kind == "voice",
)

knowledge_indexes = Table(
    "knowledge_indexes",
    metadata,
    Column("id", ForeignKey("indexes.id"), primary_key=True),
    Column("knowledge_base_id", ForeignKey("knowledge_bases.id"), nullable=False),
    Column("name", String(256), nullable=False),
    Column("description", Text, nullable=False, default=""),
    Column("model", String(256), nullable=False),
    Column("text_splitting", String(16), nullable=False),
    Column("chunk_size", Integer, nullable=False),
    Column("chunk_overlap", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("deleted_at", Float),
    Index("ix_knowledge_indexes_knowledge_base_id_created_at", "knowledge_base_id", "created_at"),
)

documents = Table(
    "documents",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("knowledge_base_id", ForeignKey("knowledge_bases.id"), nullable=False),
    Column("tenant", String(16), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("name", String(512), nullable=False),
    Column("unique_name", String(512)),
    Column("origin_ref", Text, nullable=False, default=""),
    Column("media_type", String(256), nullable=False, default=""),
    Column("size_bytes", BigInteger, nullable=False, default=0),
    Column("sha256", String(64), nullable=False, default=""),
    Column("parent_id", ForeignKey("documents.id")),
    Column("data_source_id", String(36)),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    UniqueConstraint("knowledge_base_id", "unique_name"),
    Index("ix_documents_knowledge_base_id_id", "knowledge_base_id", "id"),
    Index("ix_documents_parent_id", "parent_id"),
)

document_contents = Table(
    "document_contents",
    metadata,
    Column("document_id", ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True),
    Column("content", LargeBinary, nullable=False),
)

entries = Table(
    "entries",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("index_id", ForeignKey("indexes.id"), nullable=False),
    Column("document_id", String(36), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("used_bytes", BigInteger, nullable=False, default=0),
    Column("job_id", String(36)),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("embedded_at", Float),
    UniqueConstraint("index_id", "document_id"),
    Index("ix_entries_document_id", "document_id"),
    Index("ix_entries_state_index_id", "state", "index_id"),
)

data_sources = Table(
    "data_sources",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("tenant", String(16), nullable=False),
    Column("name", String(256), nullable=False),
    Column("description", Text, nullable=False, default=""),
    Column("type", String(32), nullable=False),
    Column("origin_url", Text, nullable=False),
    Column("options", JSON, nullable=False),
    Column("credentials", JSON, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Index("ix_data_sources_tenant_created_at", "tenant", "created_at"),
)

data_source_links = Table(
    "data_source_links",
    metadata,
    Column("knowledge_base_id", ForeignKey("knowledge_bases.id"), primary_key=True),
    Column("data_source_id", ForeignKey("data_sources.id"), primary_key=True),
    Column("created_at", Float, nullable=False),
    Index("ix_data_source_links_data_source_id", "data_source_id"),
)

schedules = Table(
    "schedules",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("tenant", String(16), nullable=False),
    Column("target", String(256), nullable=False),
    Column("origin", String(16), nullable=False),
    Column("cron", Text, nullable=False),
    Column("timezone", String(64), nullable=False),
    Column("declared", JSON(none_as_null=True)),
    Column("withdrawn_at", Float),
    Column("paused_at", Float),
    Column("next_at", Float, nullable=False),
    Column("lease_until", Float),
    Column("last_due_at", Float),
    Column("last_run_at", Float),
    Column("last_job_id", String(36)),
    Column("message", Text, nullable=False, default=""),
    Column("created_at", Float, nullable=False),
    Index("ix_schedules_tenant_created_at", "tenant", "created_at"),
    Index("ix_schedules_next_at", "next_at"),
)

loadings = Table(
    "loadings",
    metadata,
    Column("collection", String(255), primary_key=True),
    Column("threshold", BigInteger, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("name", String(256), nullable=False, default=""),
    Column("digest", String(64), nullable=False),
    Column("previous_digest", String(64)),
    Column("previous_until", Float),
    Column("tenants", JSON, nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
    Column("last_used_at", Float),
    Column("revoked_at", Float),
)

access_tokens = Table(
    "access_tokens",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("key_id", ForeignKey("api_keys.id"), nullable=False, index=True),
    Column("digest", String(64), nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("expires_at", Float, nullable=False, index=True),
)
