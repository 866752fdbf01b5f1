"""Alembic's entry: runs the migrations on the connection that `control.db.schema` hands over."""

from __future__ import annotations

from alembic import context

from wherry.control.db import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata.complete(),
    render_as_batch=True,
)
context.run_migrations()
