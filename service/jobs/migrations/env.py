"""Runs the migrations on the connection that `service.jobs.database.migrate` opened."""

from __future__ import annotations

from alembic import context

from service.jobs.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
