"""Tables of schedules: which are enabled and when they are due next, and what became of each firing.

What a schedule says is in its job definition.  A firing's row is the claim to it: there is one for each job and moment,
whoever looks and whatever clocks do.  Written by `services.schedules` and `services.firings`.
"""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, Index, String, Table, Text

from wherry.control.db.metadata import metadata

schedules = Table(
    "schedules",
    metadata,
    Column("job_key", ForeignKey("resources.key", ondelete="CASCADE"), primary_key=True),
    Column(
        "author",
        String,
        nullable=False,
        comment="object id of who enabled it: its runs are started as theirs",
    ),
    Column("next_at", Float, comment="when it is due next; none when it never is again"),
    Column("waiting_for", Float, comment="when it was due that now waits for the end of the run before"),
    Column("reckoned_at", Float, nullable=False, comment="the clock when `next_at` was worked out"),
    Index("ix_schedules_next", "next_at"),
)

firings = Table(
    "firings",
    metadata,
    Column("job_key", ForeignKey("resources.key", ondelete="CASCADE"), primary_key=True),
    Column("due_at", Float, primary_key=True),
    Column("at", Float, nullable=False, comment="when that was seen"),
    Column("outcome", String, nullable=False, comment="services.firings.Outcome"),
    Column("run", String, comment="resource id"),
    Column("code", String, nullable=False, default=""),
    Column("message", Text, nullable=False, default=""),
    Index("ix_firings_at", "job_key", "at"),
)
