"""What was read from the mask of a job."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns; earlier jobs have none."""
    op.add_column("jobs", sa.Column("prompt", sa.JSON))
    op.add_column("jobs", sa.Column("notes", sa.JSON))


def downgrade() -> None:
    """Drop the columns."""
    op.drop_column("jobs", "notes")
    op.drop_column("jobs", "prompt")
