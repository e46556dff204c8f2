"""What is left of jobs that have ended, and when it goes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

CLEARED = sa.text("cleared_at IS NULL")


def upgrade() -> None:
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("cleared_at", sa.Float(), nullable=True))
    op.create_index("ix_jobs_index_id_created_at", "jobs", ["index_id", "created_at"])
    op.create_index("ix_jobs_finished_at", "jobs", ["finished_at"])
    op.create_index(
        "ix_jobs_uncleared", "jobs", ["id"], sqlite_where=CLEARED, postgresql_where=CLEARED
    )
    with op.batch_alter_table("job_errors", schema=None) as batch_op:
        batch_op.drop_constraint("fk_job_errors_job_id", type_="foreignkey")
    op.create_table(
        "expired_jobs",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_expired_jobs")),
    )


def downgrade() -> None:
    op.execute("DELETE FROM job_errors WHERE job_id NOT IN (SELECT id FROM jobs)")
    op.drop_table("expired_jobs")
    with op.batch_alter_table("job_errors", schema=None) as batch_op:
        batch_op.create_foreign_key("fk_job_errors_job_id", "jobs", ["job_id"], ["id"])
    for name in ("ix_jobs_uncleared", "ix_jobs_finished_at", "ix_jobs_index_id_created_at"):
        op.drop_index(name, "jobs")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_column("cleared_at")
