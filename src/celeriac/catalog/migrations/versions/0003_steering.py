"""Priorities, throttles and pauses of jobs; what unfinished runs of a page have done."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ADDED = ("priority", "throttle", "next_at", "paused_at", "paused_seconds", "resumed_at")


def upgrade() -> None:
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("priority", sa.SmallInteger(), nullable=False, server_default="1")
        )
        batch_op.add_column(sa.Column("throttle", sa.Float(), nullable=True))
        batch_op.add_column(sa.Column("next_at", sa.Float(), nullable=True))
        batch_op.add_column(sa.Column("paused_at", sa.Float(), nullable=True))
        batch_op.add_column(
            sa.Column("paused_seconds", sa.Float(), nullable=False, server_default="0")
        )
        batch_op.add_column(sa.Column("resumed_at", sa.Float(), nullable=True))
    with op.batch_alter_table("pages", schema=None) as batch_op:
        batch_op.add_column(sa.Column("carried", sa.JSON(), nullable=True))
        batch_op.create_index("ix_pages_job_id_state", ["job_id", "state"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("pages", schema=None) as batch_op:
        batch_op.drop_index("ix_pages_job_id_state")
        batch_op.drop_column("carried")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        for name in reversed(ADDED):
            batch_op.drop_column(name)
