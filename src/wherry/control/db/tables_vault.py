"""Tables of vaults: secrets and their versions, sealed.

A vault itself is a resource (`tables_resources`).  A version's value is sealed with the master key and bound to its
vault, name and version, so that a row moved elsewhere does not open.  Written by `services.vault_secrets` only.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    LargeBinary,
    String,
    Table,
)

from wherry.control.db.metadata import metadata

vault_secrets = Table(
    "vault_secrets",
    metadata,
    Column("vault_key", ForeignKey("resources.key"), primary_key=True),
    Column("name_key", String, primary_key=True, comment="the name in lower case"),
    Column("name", String, nullable=False),
    Column("deleted_at", Float, comment="deleted and recoverable until `purge_at`"),
    Column("purge_at", Float, index=True),
)

vault_versions = Table(
    "vault_versions",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True, comment="the latest version is the highest"),
    Column("vault_key", String, nullable=False),
    Column("name_key", String, nullable=False),
    Column("version", String, nullable=False, unique=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("content_type", String),
    Column("tags", JSON, nullable=False, default=dict),
    Column("enabled", Boolean, nullable=False),
    Column("not_before_at", Float),
    Column("expires_at", Float),
    Column("created_at", Float, nullable=False),
    Column("created_by", String, nullable=False),
    Column("updated_at", Float, nullable=False),
    ForeignKeyConstraint(
        ["vault_key", "name_key"],
        ["vault_secrets.vault_key", "vault_secrets.name_key"],
        ondelete="CASCADE",
        name="fk_vault_versions_secret",
    ),
    sqlite_autoincrement=True,
)
