"""Tables of job runs.

A run keeps copies of all that it was started with (`job_properties`, `source_properties`, `target_properties`,
`options`): the job and its endpoints may change or vanish while it goes on.  Times are Unix seconds, UTC.
"""

from __future__ import annotations

from sqlalchemy import JSON, Column, Float, ForeignKey, Index, String, Table

from wherry.control.db.metadata import metadata

runs = Table(
    "runs",
    metadata,
    Column("id", String, primary_key=True, comment="the run's GUID"),
    Column("key", String, nullable=False, unique=True, comment="lower-cased resource id"),
    Column("resource_id", String, nullable=False),
    Column("job_key", ForeignKey("resources.key", ondelete="CASCADE"), nullable=False),
    Column("mover_key", String, nullable=False),
    Column("name", String, nullable=False),
    Column("agent_name", String),
    Column("agent_key", String),
    Column("status", String, nullable=False, comment="model.run.RunStatus"),
    Column("scan_status", String, nullable=False, comment="model.run.ScanStatus"),
    Column("trigger", String, nullable=False, default="Manual"),
    Column("scheduled_at", Float, comment="when its schedule was due"),
    Column("options", JSON, nullable=False, comment="model.options.JobOptions, frozen"),
    Column("source", JSON, nullable=False, comment="model.wire.Place"),
    Column("target", JSON, nullable=False, comment="model.wire.Place"),
    Column("source_name", String, nullable=False),
    Column("target_name", String, nullable=False),
    Column("source_id", String, nullable=False),
    Column("target_id", String, nullable=False),
    Column("job_properties", JSON, nullable=False),
    Column("source_properties", JSON, nullable=False),
    Column("target_properties", JSON, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("created_by", String, nullable=False),
    Column("created_by_type", String, nullable=False, default="User"),
    Column("started_at", Float),
    Column("ended_at", Float),
    Column("updated_at", Float, nullable=False),
    Column("counters", JSON, nullable=False, default=dict, comment="model.outcomes.Counters"),
    Column("error_code", String),
    Column("error_message", String),
    Column("warnings", JSON, nullable=False, default=list, comment="list of {code, message}"),
    Index("ix_runs_job", "job_key", "created_at"),
    Index("ix_runs_mover_status", "mover_key", "status"),
)
