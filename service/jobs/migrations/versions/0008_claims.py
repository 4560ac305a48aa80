"""Claims look at the oldest job of each API key, however long the queue is."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create the index."""
    op.create_index("ix_jobs_status_api_key_id_id", "jobs", ["status", "api_key_id", "id"])


def downgrade() -> None:
    """Drop it."""
    op.drop_index("ix_jobs_status_api_key_id_id", "jobs")
