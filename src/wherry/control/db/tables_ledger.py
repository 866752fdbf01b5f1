"""Tables of what goes on inside runs: partitions, items put off, logs, claims, consents and grants.

`partitions` is `model.ledger.Partition` as rows; `late_leases` keeps who held those that nobody has taken up since.
What belongs to a run alone goes with it; grants do not: a grant stands for a role assignment that has to be taken back,
as credentials do (`tables_credentials`).
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
)

from wherry.control.db.metadata import metadata


def _of_run(name: str = "run", *, primary: bool = False) -> Column[str]:
    return Column(name, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=primary, nullable=False)


run_work = Table(
    "run_work",
    metadata,
    _of_run(primary=True),
    Column("group_key", String, comment="agent group that may work on the run; else runs.agent_key"),
    Column("scope", String, nullable=False, comment="resource that grants for the target are made at"),
    Column("opening", JSON, comment="how the broker opens the target; none for a folder"),
    Column("served_at", Float, nullable=False, default=0.0, comment="last lease: runs take turns"),
    Column("progressed_at", Float, nullable=False, comment="last sign that something moved"),
    Column(
        "not_before_at", Float, nullable=False, default=0.0, comment="no lease before: waits for a policy"
    ),
    Column("since", BigInteger, comment="the run's start on the target's clock, ns"),
    Column("boot", String, comment="boot id of the machine that holds a local target"),
    Column("target_seen", String, comment="what the first lease found at the target"),
    Column("noted", String, comment="run code that the run will end with when its work is over"),
    Column("put_off", String, nullable=False, default="", comment="why the run waits, told once"),
    Index("ix_run_work_served", "served_at"),
)

partitions = Table(
    "partitions",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    _of_run(),
    Column("stage", Integer, nullable=False),
    Column("open", Boolean, nullable=False),
    Column("rest", JSON(none_as_null=True), comment="model.wire form of the work left; null = done"),
    Column("revisited", Boolean, nullable=False, default=False),
    Column("attempt", Integer, nullable=False, default=0),
    Column("lost", Integer, nullable=False, default=0),
    Column("epoch", Integer, nullable=False, default=0),
    Column("lease", String, nullable=False, default=""),
    Column("holder", String, nullable=False, default="", comment="object id of the agent's identity"),
    Column("expires_at", Float, nullable=False, default=0.0),
    Column("progressed_at", Float, nullable=False, default=0.0),
    Column("seq", Integer, nullable=False, default=0),
    Column("answer", JSON(none_as_null=True), comment="of the last commit, to be repeated"),
    Index("ix_partitions_open", "run", "open", "stage", "lease"),
    Index("ix_partitions_expires", "expires_at"),
    Index("ix_partitions_holder", "holder", "expires_at"),
    sqlite_autoincrement=True,
)

late_leases = Table(
    "late_leases",
    metadata,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    _of_run(),
    Column("epoch", Integer, nullable=False),
    Column("lease", String, nullable=False),
    Column("holder", String, nullable=False, comment="object id of the agent's identity"),
    Column("since_at", Float, nullable=False, comment="when its time was over"),
)

work_items = Table(
    "work_items",
    metadata,
    _of_run(primary=True),
    Column("phase", Integer, primary_key=True),
    Column("key", LargeBinary, primary_key=True),
    Column("path", LargeBinary, nullable=False),
    Column("counted", Boolean, nullable=False),
    Column("etag", String, nullable=False, default=""),
    Column("size", BigInteger, nullable=False, default=0),
    Column("kind", String, nullable=False, default="F"),
    sqlite_with_rowid=False,
)

segments = Table(
    "segments",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True, comment="order of commit"),
    _of_run(),
    Column("name", String, nullable=False, unique=True),
    Column("rows", Integer, nullable=False),
    Index("ix_segments_run", "run", "id"),
)

run_events = Table(
    "run_events",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    _of_run(),
    Column("at", Float, nullable=False),
    Column("level", String, nullable=False, comment="Informational, Warning, Error"),
    Column("code", String, nullable=False, default=""),
    Column("message", Text, nullable=False),
    Column("source", String, nullable=False, default="", comment="the agent that told it; '' = the service"),
    Index("ix_run_events_run", "run", "id"),
)

claims = Table(
    "claims",
    metadata,
    _of_run(primary=True),
    Column("place", String, primary_key=True, comment="a container, or the agent whose folder it is"),
    Column("prefix", LargeBinary, nullable=False, comment="path below the place"),
    Index("ix_claims_place", "place"),
)

source_identities = Table(
    "source_identities",
    metadata,
    Column("job_key", ForeignKey("resources.key", ondelete="CASCADE"), primary_key=True),
    Column("identity", String, nullable=False),
    Column("run", String, nullable=False, comment="the run that saw it first"),
    Column("seen_at", Float, nullable=False),
)

agent_presence = Table(
    "agent_presence",
    metadata,
    Column("oid", ForeignKey("principals.oid"), primary_key=True),
    Column("agent_key", String, nullable=False, unique=True),
    Column("facts", JSON, nullable=False, default=dict, comment="what heartbeats tell, in the API's words"),
    Column("seen_at", Float, nullable=False),
    Column("offline_at", Float, nullable=False, comment="Offline when nothing is heard until then"),
)

agent_spools = Table(
    "agent_spools",
    metadata,
    Column("oid", ForeignKey("principals.oid"), primary_key=True),
    Column("spool", String, nullable=False, comment="what the agent calls its spool; a new one counts anew"),
    Column("seq", BigInteger, nullable=False, comment="the last event of it that is in a run log"),
)

waiters = Table(
    "waiters",
    metadata,
    Column("id", String, primary_key=True),
    Column("agent_key", String, nullable=False, index=True, comment="who asks for work, once a request"),
    Column("until_at", Float, nullable=False),
)

consents = Table(
    "consents",
    metadata,
    Column("id", String, primary_key=True),
    Column("job_key", String, nullable=False),
    Column("run", String, nullable=False, comment="'' for one that stands for all runs of the job"),
    Column("scope", String, nullable=False),
    Column("role", String, nullable=False),
    Column("agents", String, nullable=False, comment="key of the agent or agent group"),
    Column("author", String, nullable=False, comment="object id of who allowed it"),
    Column("standing", String, comment="the consent for all runs that this one of a run rests on"),
    Column("created_at", Float, nullable=False),
    Column("until_at", Float, comment="end of a standing one"),
    Column("ended_at", Float),
    Index("ix_consents_run", "run"),
    Index("ix_consents_job", "job_key", "run"),
)

grants = Table(
    "grants",
    metadata,
    Column("assignment", String, primary_key=True, comment="name of the role assignment that we made"),
    Column("principal_id", String, nullable=False),
    Column("role", String, nullable=False),
    Column("scope_key", String, nullable=False),
    Column("consent", ForeignKey("consents.id"), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Index("ix_grants_what", "principal_id", "role", "scope_key"),
)

grant_uses = Table(
    "grant_uses",
    metadata,
    Column("assignment", ForeignKey("grants.assignment", ondelete="CASCADE"), primary_key=True),
    Column("run", String, primary_key=True),
    Column("consent", ForeignKey("consents.id"), nullable=False),
    Column("used_at", Float, nullable=False, comment="when an agent was last let in by it"),
    Index("ix_grant_uses_run", "run"),
)

past_grants = Table(
    "past_grants",
    metadata,
    Column("assignment", String, primary_key=True),
    Column("principal_id", String, nullable=False),
    Column("role", String, nullable=False),
    Column("scope", String, nullable=False),
    Column("scope_key", String, nullable=False),
    Column("consent", ForeignKey("consents.id"), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("ended_at", Float, nullable=False),
    Index("ix_past_grants_ended", "ended_at"),
)
