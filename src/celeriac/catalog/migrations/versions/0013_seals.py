"""What a generation held when a job found it equal to its source."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("generations", schema=None) as batch_op:
        batch_op.add_column(sa.Column("seal", sa.JSON(none_as_null=True)))
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("source_version", sa.JSON(none_as_null=True)))
        batch_op.add_column(
            sa.Column("unlisted", sa.Boolean(), nullable=False, server_default=sa.false())
        )


def downgrade() -> None:
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_column("unlisted")
        batch_op.drop_column("source_version")
    with op.batch_alter_table("generations", schema=None) as batch_op:
        batch_op.drop_column("seal")
