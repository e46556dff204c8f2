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
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)

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
    Column("epoch", Integer, nullable=False, default=0),
    Column("generation", Integer),
    Column("message", Text, nullable=False, default=""),
    Column("expected", BigInteger),
    Column("rounds", Integer, nullable=False, default=1),
    Column("removal_limit", Float),
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
    Index("ix_jobs_state_created_at", "state", "created_at"),
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
    Column("committed_at", Float),
    Column("counters", JSON),
    Index("ix_pages_state_lease_until", "state", "lease_until"),
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
    Column("job_id", ForeignKey("jobs.id"), nullable=False),
    Column("page", Integer),
    Column("entity_id", Text),
    Column("error_class", String(128), nullable=False),
    Column("message", Text, nullable=False),
    Column("retryable", Boolean, nullable=False),
    Index("ix_job_errors_job_id_page", "job_id", "page"),
)
