"""The table of jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the table."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("api_key_id", sa.String(64), nullable=False),
        sa.Column("idempotency_key", sa.String(255)),
        sa.Column("payload_sha256", sa.String(64), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("started_at", moment),
        sa.Column("finished_at", moment),
        sa.Column("expires_at", moment),
        sa.Column("options", sa.JSON, nullable=False),
        sa.Column("video", sa.JSON, nullable=False),
        sa.Column("report", sa.JSON),
        sa.Column("error", sa.JSON),
        sa.Column("done", sa.Integer, nullable=False),
        sa.Column("total", sa.Integer),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("fps", sa.Float),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("delete_requested", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("worker", sa.String(64)),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("deaths", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.UniqueConstraint("api_key_id", "idempotency_key", name="uq_jobs_api_key_id_idempotency_key"),
    )
    op.create_index("ix_jobs_status_id", "jobs", ["status", "id"])
    op.create_index("ix_jobs_worker", "jobs", ["worker"])


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("jobs")
