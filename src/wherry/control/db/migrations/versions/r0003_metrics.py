"""Metrics: totals of what was copied, and what runs did in each minute.

A database that `r0001` made with this program's tables has them already.
"""

from __future__ import annotations

import sqlalchemy as sql
from alembic import op

from wherry.control.db import metadata

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    known = sql.inspect(op.get_bind())
    tables = metadata.complete().tables
    for name in ("totals", "run_minutes"):
        if not known.has_table(name):
            tables[name].create(op.get_bind())
