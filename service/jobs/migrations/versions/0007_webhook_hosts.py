"""The receiving host of each delivery."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the column; earlier deliveries have no host and are sent whatever else is being sent."""
    op.add_column("deliveries", sa.Column("host", sa.String(255)))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("deliveries", "host")
