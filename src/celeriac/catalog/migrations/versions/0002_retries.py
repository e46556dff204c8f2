"""Jobs that retry what failed in others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "jobs", sa.Column("mode", sa.String(length=16), server_default="reindex", nullable=False)
    )
    op.add_column("jobs", sa.Column("retries", sa.JSON(), nullable=True))
    op.create_index("ix_job_errors_job_id_entity_id", "job_errors", ["job_id", "entity_id"])


def downgrade() -> None:
    op.drop_index("ix_job_errors_job_id_entity_id", "job_errors")
    op.drop_column("jobs", "retries")
    op.drop_column("jobs", "mode")
