"""Claims of jobs have a fence and a lease, and the row lists what counts of the mask log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns; the whole log of an earlier job counts, whose file belongs to fence 0."""
    op.add_column("jobs", sa.Column("fence", sa.Integer, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("lease_until", sa.DateTime(timezone=True)))
    op.add_column("jobs", sa.Column("segments", sa.JSON, nullable=False, server_default="[]"))
    whole = sa.table("jobs", sa.column("segments", sa.JSON)).update().values(segments=[{"fence": 0, "bytes": None}])
    op.execute(whole)


def downgrade() -> None:
    """Drop the columns."""
    for name in ("segments", "lease_until", "fence"):
        op.drop_column("jobs", name)
