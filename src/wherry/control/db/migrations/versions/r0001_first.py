"""The first schema.

While nothing is released this one revision creates whatever tables the code has, so that a new table needs no
migration; with the first release it is frozen to explicit statements and every later change gets a revision.
"""

from __future__ import annotations

from alembic import op

from wherry.control.db import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    metadata.complete().create_all(op.get_bind())
