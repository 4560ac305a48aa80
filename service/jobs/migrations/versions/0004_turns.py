"""API keys take turns, workers give signs of life, and the time of a job is counted over all its attempts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the tables and the column."""
    op.create_table(
        "turns",
        sa.Column("api_key_id", sa.String(64), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("api_key_id", name="pk_turns"),
    )
    op.create_table(
        "speeds",
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("megapixels_per_second", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("model", name="pk_speeds"),
    )
    op.create_table(
        "workers",
        sa.Column("name", sa.String(16), nullable=False),
        sa.Column("sign", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_workers"),
    )
    op.add_column("jobs", sa.Column("seconds", sa.Float, nullable=False, server_default="0"))


def downgrade() -> None:
    """Drop them."""
    op.drop_column("jobs", "seconds")
    op.drop_table("workers")
    op.drop_table("speeds")
    op.drop_table("turns")
