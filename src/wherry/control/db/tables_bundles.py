"""Table of support bundles that people asked agents for.  The files lie beside the database: `control.bundles`."""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, Index, Integer, String, Table

from wherry.control.db.metadata import metadata

agent_bundles = Table(
    "agent_bundles",
    metadata,
    Column("id", String, primary_key=True, comment="GUID, and the name of the file"),
    Column("agent_key", ForeignKey("resources.key", ondelete="CASCADE"), nullable=False),
    Column("state", String, nullable=False, comment="Requested, Ready, Failed"),
    Column("requested_at", Float, nullable=False),
    Column("requested_by", String, nullable=False),
    Column("ended_at", Float, comment="when it was there, or had failed"),
    Column("until_at", Float, nullable=False, comment="forgotten then, whatever became of it"),
    Column("size", Integer),
    Column("sha256", String),
    Column("trouble", String, nullable=False, default=""),
    Index("ix_agent_bundles_agent", "agent_key", "requested_at"),
)
