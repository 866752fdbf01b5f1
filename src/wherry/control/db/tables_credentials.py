"""Tables of credentials: what was made at back ends for runs, and has to be taken back.

A row stands for something outside (a policy on a container, a user of S3 or Samba): it is written before the back end
is touched and outlives its run.  `sealed` is what the agent is given, sealed with the master key and bound to the
row; it goes when the credential does.
"""

from __future__ import annotations

from sqlalchemy import JSON, Column, Float, Index, Integer, LargeBinary, String, Table

from wherry.control.db.metadata import metadata

run_credentials = Table(
    "run_credentials",
    metadata,
    Column("id", String, primary_key=True, comment="name at the back end, never used again"),
    Column("run", String, nullable=False, comment="has one that stands, and those that were withdrawn"),
    Column("driver", String, nullable=False, comment="model.drivers"),
    Column("place", String, nullable=False, comment="URL of what it opens; changes of one place take turns"),
    Column("scope", String, nullable=False, comment="resource that grants for the target are made at"),
    Column("access", String, nullable=False, comment="write or mirror"),
    Column("prefix", LargeBinary, nullable=False, comment="path below the place"),
    Column("told", JSON, nullable=False, comment="what the driver has to know, without secrets"),
    Column("sealed", LargeBinary),
    Column("state", String, nullable=False, comment="opening, live, withdrawing, withdrawn"),
    Column("expires_at", Float, nullable=False),
    Column("tried_at", Float, nullable=False, default=0.0),
    Column("failures", Integer, nullable=False, default=0),
    Column("ended_at", Float),
    Index("ix_run_credentials_state", "state"),
    Index("ix_run_credentials_run", "run"),
)

place_locks = Table(
    "place_locks",
    metadata,
    Column("place", String, primary_key=True, comment="in lower case"),
    Column("owner", String, nullable=False),
    Column("expires_at", Float, nullable=False),
)
