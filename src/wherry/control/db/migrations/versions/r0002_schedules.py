"""Schedules, when a run's schedule was due, what agents tell late, and support bundles that they are asked for.

A database that `r0001` made with this program's tables has all of it already.
"""

from __future__ import annotations

import sqlalchemy as sql
from alembic import op

from wherry.control.db import metadata

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    known = sql.inspect(op.get_bind())
    tables = metadata.complete().tables
    for name in ("schedules", "firings", "late_leases", "agent_spools", "agent_bundles"):
        if not known.has_table(name):
            tables[name].create(op.get_bind())
    if "scheduled_at" not in {column["name"] for column in known.get_columns("runs")}:
        op.add_column("runs", sql.Column("scheduled_at", sql.Float))
