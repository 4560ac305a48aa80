"""The trace of a job."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the column; earlier jobs belong to no trace."""
    op.add_column("jobs", sa.Column("traceparent", sa.String(64)))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("jobs", "traceparent")
