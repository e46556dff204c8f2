"""What a way back needs of a generation, and what a job's gate found."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("generations", schema=None) as batch_op:
        batch_op.add_column(sa.Column("retired_at", sa.Float(), nullable=True))
        batch_op.add_column(sa.Column("rejected_at", sa.Float(), nullable=True))
        batch_op.add_column(sa.Column("points", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("lease_until", sa.Float(), nullable=True))
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("gate", sa.JSON(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_column("gate")
    with op.batch_alter_table("generations", schema=None) as batch_op:
        for name in ("lease_until", "points", "rejected_at", "retired_at"):
            batch_op.drop_column(name)
