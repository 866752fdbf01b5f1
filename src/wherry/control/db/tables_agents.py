"""Tables of what agents prove beyond their keys: how far their join states are, and whether they are locked."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, ForeignKey, Integer, String, Table

from wherry.control.db.metadata import metadata

agent_trust = Table(
    "agent_trust",
    metadata,
    Column("oid", ForeignKey("principals.oid"), primary_key=True),
    Column("state", String, nullable=False, comment="the newest join state"),
    Column("previous", String, comment="the one that it was given for"),
    Column("used", Boolean, nullable=False, default=False, comment="a token that came with it was used"),
    Column(
        "asserted_at", Integer, nullable=False, default=0, comment="latest `iat` of an accepted assertion"
    ),
    Column("locked_at", Float),
    Column("lock_reason", String),
    Column(
        "private_link_scope", String, comment="key of the scope by whose networks alone the agent may come"
    ),
)
