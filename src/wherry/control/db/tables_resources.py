"""Tables of the resource API: resources of every type in one, and the long-running operations on them.

`resources.key` is the lower-cased id; `properties` holds what clients set, `state` what only the service
sets, so that a PUT replaces the one and cannot touch the other.  Written by `services.resource_store` only.
"""

from __future__ import annotations

from sqlalchemy import JSON, Column, Float, ForeignKey, Index, String, Table, UniqueConstraint

from wherry.control.db.metadata import metadata

resources = Table(
    "resources",
    metadata,
    Column("key", String, primary_key=True, comment="the id in lower case"),
    Column("id", String, nullable=False, comment="the id in the casing of its creation"),
    Column("type", String, nullable=False, comment="full type in lower case"),
    Column("parent_key", ForeignKey("resources.key"), comment="resource or resource group that it lies in"),
    Column("name", String, nullable=False),
    Column("location", String),
    Column("tags", JSON, nullable=False, default=dict),
    Column("properties", JSON, nullable=False, default=dict),
    Column("state", JSON, nullable=False, default=dict),
    Column("identity", JSON),
    Column("link_key", String, comment="an agent's machine: no two agents share one"),
    Column("etag", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("created_by", String, nullable=False),
    Column("created_by_type", String, nullable=False),
    Column("modified_at", Float, nullable=False),
    Column("modified_by", String, nullable=False),
    Column("modified_by_type", String, nullable=False),
    UniqueConstraint("type", "link_key", name="uq_resources_link"),
    Index("ix_resources_parent", "parent_key", "type", "key"),
    Index("ix_resources_type", "type", "key"),
)

operations = Table(
    "operations",
    metadata,
    Column("id", String, primary_key=True),
    Column("resource_id", String, nullable=False),
    Column("principal", String, nullable=False, comment="object id of who started it: nobody else sees it"),
    Column("status", String, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("ended_at", Float),
    Index("ix_operations_started_at", "started_at"),
)
