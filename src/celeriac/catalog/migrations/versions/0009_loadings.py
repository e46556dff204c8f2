"""Collections of which the indexing is put off while new generations are loaded into them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "loadings",
        sa.Column("collection", sa.String(length=255), nullable=False),
        sa.Column("threshold", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("collection", name=op.f("pk_loadings")),
    )


def downgrade() -> None:
    op.drop_table("loadings")
