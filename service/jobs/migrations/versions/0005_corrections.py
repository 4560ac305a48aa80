"""Jobs that correct the masks of other jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the columns; earlier jobs correct none."""
    op.add_column("jobs", sa.Column("corrects", sa.String(32)))
    op.add_column("jobs", sa.Column("origin", sa.String(32)))
    op.create_index("ix_jobs_origin", "jobs", ["origin"])


def downgrade() -> None:
    """Drop the columns."""
    op.drop_index("ix_jobs_origin", "jobs")
    op.drop_column("jobs", "origin")
    op.drop_column("jobs", "corrects")
