"""Tables of the audit trail: the chain of records, and the signed statements about where it stood."""

from __future__ import annotations

from sqlalchemy import Column, Float, Integer, String, Table, Text

from wherry.control.db.metadata import metadata

audit = Table(
    "audit",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False, index=True),
    Column("record", Text, nullable=False, comment="canonical JSON"),
    Column("hash", String, nullable=False, comment="trust.chain.link of seq, the hash before and the record"),
)

audit_checkpoints = Table(
    "audit_checkpoints",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False, comment="the record that it vouches for"),
    Column("at", Float, nullable=False),
    Column("hash", String, nullable=False, comment="of that record, for when it is gone itself"),
    Column("signed", Text, nullable=False, comment="trust.chain.Checkpoint"),
)
