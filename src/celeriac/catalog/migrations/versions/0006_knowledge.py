"""Knowledge bases, their documents and data sources, and what each index has of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "data_sources",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("tenant", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("type", sa.String(length=32), nullable=False),
        sa.Column("origin_url", sa.Text(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("credentials", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_data_sources")),
    )
    op.create_index(
        "ix_data_sources_tenant_created_at", "data_sources", ["tenant", "created_at"], unique=False
    )
    op.create_table(
        "knowledge_bases",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("tenant", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("data_origin_type", sa.String(length=32), nullable=False),
        sa.Column("refresh_policy", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.Column("refreshed_at", sa.Float(), nullable=True),
        sa.Column("deleted_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_knowledge_bases")),
    )
    op.create_index(
        "ix_knowledge_bases_tenant_created_at",
        "knowledge_bases",
        ["tenant", "created_at"],
        unique=False,
    )
    op.create_index(
        "uq_knowledge_bases_one_voice",
        "knowledge_bases",
        ["tenant"],
        unique=True,
        sqlite_where=sa.text("kind = 'voice'"),
        postgresql_where=sa.text("kind = 'voice'"),
    )
    op.create_table(
        "data_source_links",
        sa.Column("knowledge_base_id", sa.String(length=36), nullable=False),
        sa.Column("data_source_id", sa.String(length=36), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["data_source_id"],
            ["data_sources.id"],
            name=op.f("fk_data_source_links_data_source_id"),
        ),
        sa.ForeignKeyConstraint(
            ["knowledge_base_id"],
            ["knowledge_bases.id"],
            name=op.f("fk_data_source_links_knowledge_base_id"),
        ),
        sa.PrimaryKeyConstraint(
            "knowledge_base_id", "data_source_id", name=op.f("pk_data_source_links")
        ),
    )
    op.create_index(
        "ix_data_source_links_data_source_id", "data_source_links", ["data_source_id"], unique=False
    )
    op.create_table(
        "documents",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("knowledge_base_id", sa.String(length=36), nullable=False),
        sa.Column("tenant", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=512), nullable=False),
        sa.Column("unique_name", sa.String(length=512), nullable=True),
        sa.Column("origin_ref", sa.Text(), nullable=False),
        sa.Column("media_type", sa.String(length=256), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("parent_id", sa.String(length=36), nullable=True),
        sa.Column("data_source_id", sa.String(length=36), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["knowledge_base_id"],
            ["knowledge_bases.id"],
            name=op.f("fk_documents_knowledge_base_id"),
        ),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["documents.id"], name=op.f("fk_documents_parent_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_documents")),
        sa.UniqueConstraint(
            "knowledge_base_id",
            "unique_name",
            name=op.f("uq_documents_knowledge_base_id_unique_name"),
        ),
    )
    op.create_index(
        "ix_documents_knowledge_base_id_id", "documents", ["knowledge_base_id", "id"], unique=False
    )
    op.create_index("ix_documents_parent_id", "documents", ["parent_id"], unique=False)
    op.create_table(
        "entries",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("index_id", sa.String(length=36), nullable=False),
        sa.Column("document_id", sa.String(length=36), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("used_bytes", sa.BigInteger(), nullable=False),
        sa.Column("job_id", sa.String(length=36), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.Column("embedded_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["index_id"], ["indexes.id"], name=op.f("fk_entries_index_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_entries")),
        sa.UniqueConstraint(
            "index_id", "document_id", name=op.f("uq_entries_index_id_document_id")
        ),
    )
    op.create_index("ix_entries_document_id", "entries", ["document_id"], unique=False)
    op.create_index("ix_entries_state_index_id", "entries", ["state", "index_id"], unique=False)
    op.create_table(
        "knowledge_indexes",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("knowledge_base_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("model", sa.String(length=256), nullable=False),
        sa.Column("text_splitting", sa.String(length=16), nullable=False),
        sa.Column("chunk_size", sa.Integer(), nullable=False),
        sa.Column("chunk_overlap", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("deleted_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["id"], ["indexes.id"], name=op.f("fk_knowledge_indexes_id")),
        sa.ForeignKeyConstraint(
            ["knowledge_base_id"],
            ["knowledge_bases.id"],
            name=op.f("fk_knowledge_indexes_knowledge_base_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_knowledge_indexes")),
    )
    op.create_index(
        "ix_knowledge_indexes_knowledge_base_id_created_at",
        "knowledge_indexes",
        ["knowledge_base_id", "created_at"],
        unique=False,
    )
    op.create_table(
        "document_contents",
        sa.Column("document_id", sa.String(length=36), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["document_id"],
            ["documents.id"],
            name=op.f("fk_document_contents_document_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("document_id", name=op.f("pk_document_contents")),
    )


def downgrade() -> None:
    op.drop_table("document_contents")
    op.drop_index(
        "ix_knowledge_indexes_knowledge_base_id_created_at", table_name="knowledge_indexes"
    )
    op.drop_table("knowledge_indexes")
    op.drop_index("ix_entries_state_index_id", table_name="entries")
    op.drop_index("ix_entries_document_id", table_name="entries")
    op.drop_table("entries")
    op.drop_index("ix_documents_parent_id", table_name="documents")
    op.drop_index("ix_documents_knowledge_base_id_id", table_name="documents")
    op.drop_table("documents")
    op.drop_index("ix_data_source_links_data_source_id", table_name="data_source_links")
    op.drop_table("data_source_links")
    op.drop_index(
        "uq_knowledge_bases_one_voice",
        table_name="knowledge_bases",
        sqlite_where=sa.text("kind = 'voice'"),
        postgresql_where=sa.text("kind = 'voice'"),
    )
    op.drop_index("ix_knowledge_bases_tenant_created_at", table_name="knowledge_bases")
    op.drop_table("knowledge_bases")
    op.drop_index("ix_data_sources_tenant_created_at", table_name="data_sources")
    op.drop_table("data_sources")
