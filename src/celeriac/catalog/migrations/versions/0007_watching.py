"""Who paused a job, and the class of what failed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("paused_by", sa.String(length=256), nullable=True))
        batch_op.add_column(sa.Column("error_class", sa.String(length=128), nullable=True))
    with op.batch_alter_table("pages", schema=None) as batch_op:
        batch_op.add_column(sa.Column("error_class", sa.String(length=128), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("pages", schema=None) as batch_op:
        batch_op.drop_column("error_class")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_column("error_class")
        batch_op.drop_column("paused_by")
