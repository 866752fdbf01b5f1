"""Tables of metrics: what was copied since the database was made, and what each run did in each minute.

Both grow in the transaction of the commit that they count (`services.ledger`), so they can neither lose nor repeat one.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, String, Table

from wherry.control.db.metadata import metadata

totals = Table(
    "totals",
    metadata,
    Column("name", String, primary_key=True, comment="model.outcomes.COUNTERS"),
    Column("items", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
)

run_minutes = Table(
    "run_minutes",
    metadata,
    Column("run", ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("minute", Integer, primary_key=True, autoincrement=False, comment="Unix time / 60"),
    Column("scanned_items", BigInteger, nullable=False),
    Column("transferred_items", BigInteger, nullable=False),
    Column("transferred_bytes", BigInteger, nullable=False),
    Index("ix_run_minutes_minute", "minute"),
)
