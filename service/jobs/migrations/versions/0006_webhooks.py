"""Webhooks of jobs, and the deliveries of their events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add column and table; earlier jobs have no webhook."""
    op.add_column("jobs", sa.Column("webhook", sa.JSON()))
    op.create_table(
        "deliveries",
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("event", sa.String(32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("send_at", sa.DateTime(timezone=True)),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("answer", sa.String(200)),
        sa.Column("delivered_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("job_id", "event", name="pk_deliveries"),
    )
    op.create_index("ix_deliveries_send_at", "deliveries", ["send_at"])


def downgrade() -> None:
    """Drop table and column; what was not delivered is lost."""
    op.drop_table("deliveries")
    op.drop_column("jobs", "webhook")
