"""A mover with registered agents, jobs and runs on a database: what tests of the services of runs play on.

Nothing is replaced: rows are made by the services that make them in earnest, only the network is left out.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, select

from wherry.control.caller import Caller
from wherry.control.db.tables_identity import meta
from wherry.control.db.tables_runs import runs as runs_table
from wherry.control.services import (
    grants,
    identities,
    ledger,
    presence,
    resource_store,
    resources,
    role_assignments,
    run_state,
    runs,
    users,
)
from wherry.control.services.ledger import Holder, Terms
from wherry.control.services.run_state import RunState
from wherry.control.services.types.registry import target
from wherry.model import ids
from wherry.model.entry import Kind
from wherry.model.ledger import Commit, Work, WorkItem
from wherry.model.outcomes import Counters, Outcome, Row
from wherry.model.wire import Grant, Progress, Renewal
from wherry.trust.keys import PrivateKey
from wherry.trust.principals import FULL_SCOPE, Principal

SUBSCRIPTION = "11111111-1111-1111-1111-111111111111"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/g"
MOVER = f"{GROUP}/providers/Microsoft.StorageMover/storageMovers/m"
ACCOUNT = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/archive"
CONTAINER = f"{ACCOUNT}/blobServices/default/containers/photos"
ENDPOINT = "https://blob.example"
KEY = "c2VjcmV0IGtleSBvZiB0aGUgYWNjb3VudA=="
TTL = 60.0


@dataclass
class Stage:
    """Everything in one transaction; `now` passes when a test says so."""

    conn: Connection
    now: float
    agents: dict[str, Holder] = field(default_factory=dict)

    def __post_init__(self) -> None:
        query = select(meta.c.value).where(meta.c.key == "first_administrator")
        self.admin = self.conn.execute(query).scalar_one()
        self.put(GROUP, location="local")
        self.put(MOVER, location="local")
        self.put(f"{MOVER}/projects/p")

    @property
    def caller(self) -> Caller:
        return self.as_user(self.admin)

    @property
    def terms(self) -> Terms:
        return Terms(self.now, TTL)

    def as_user(self, oid: str) -> Caller:
        principal = Principal("user", oid, "tenant", "someone", frozenset({FULL_SCOPE}))
        return Caller(principal, "request", self.now)

    def user(self, role: str | None = None, scope: str = GROUP) -> str:
        """Somebody with a role, or with none."""
        oid = users.create(self.conn, f"u{uuid.uuid4().hex[:8]}", "User", "long enough password", self.now)
        if role is not None:
            self.assign(role, oid, scope, "User")
        return oid

    def assign(self, role: str, oid: str, scope: str, kind: str = "ServicePrincipal", **more: Any) -> str:
        return role_assignments.create(
            self.conn, role=role, principal_id=oid, principal_type=kind, scope=scope, by=self.admin, now=self.now,
            **more,
        )  # fmt: skip

    def put(self, path: str, properties: Any = None, **more: Any) -> None:
        resources.put(self.conn, self.caller, target(path), {"properties": properties or {}, **more})

    def agent(self, name: str) -> Holder:
        """A registered agent."""
        if name not in self.agents:
            machine = f"{GROUP}/providers/Microsoft.HybridCompute/machines/{name}"
            identity = identities.create_agent(
                self.conn,
                name=name,
                machine_id=machine,
                jwk=PrivateKey.for_agent().public.jwk(),
                now=self.now,
            )
            made = resource_store.insert(
                self.conn, self.caller, f"{MOVER}/agents/{name}", "microsoft.storagemover/storagemovers/agents",
                ids.key(MOVER), properties={"arcResourceId": machine}, state={"agentStatus": "Online"}, link=machine,
            )  # fmt: skip
            presence.begin(self.conn, identity.oid, made.key, {}, self.now, self.now + 90)
            self.agents[name] = Holder(identity.oid, made.key, name)
        return self.agents[name]

    def group(self, *names: str) -> str:
        name = f"group-{uuid.uuid4().hex[:8]}"
        self.put(f"{MOVER}/agentGroups/{name}", {"agents": [self.agent(one).name for one in names]})
        return name

    def job(self, *, source: str = "", into: str = "", container: str = "", **properties: Any) -> str:
        """A job between two folders of its own, or into the one container; answers its id."""
        name = f"j{uuid.uuid4().hex[:8]}"
        self.put(
            f"{MOVER}/endpoints/{name}-s",
            {"endpointType": "LocalMount", "path": source or f"/data/{name}/s"},
        )
        if container:
            if resource_store.find(self.conn, ACCOUNT) is None:
                self.put(ACCOUNT, {"wherry": {"blobEndpoint": ENDPOINT, "accountKey": KEY}}, location="x")
            told = {
                "endpointType": "AzureStorageBlobContainer",
                "storageAccountResourceId": ACCOUNT,
                "blobContainerName": container,
            }
        else:
            told = {"endpointType": "LocalMount", "path": into or f"/data/{name}/t"}
        self.put(f"{MOVER}/endpoints/{name}-t", told)
        path = f"{MOVER}/projects/p/jobDefinitions/{name}"
        names = {"sourceName": f"{name}-s", "targetName": f"{name}-t"}
        self.put(path, {"copyMode": "Additive", **names, **properties})
        return path

    def start(self, job: str, caller: Caller | None = None) -> str:
        """Start a job; answers the GUID of the run."""
        return runs.start(self.conn, caller or self.caller, job).rpartition("/")[2]

    def stop(self, job: str) -> None:
        runs.stop(self.conn, self.caller, job)

    def run(self, run: str) -> RunState:
        found = run_state.load(self.conn, run)
        assert found is not None
        return found

    def row(self, run: str) -> Any:
        return self.conn.execute(select(runs_table).where(runs_table.c.id == run)).one()

    def admit(self, run: str, agent: str) -> None:
        """Make the grant of an agent, as dispatch does before a lease."""
        grants.ensure(self.conn, self.run(run), self.agent(agent).oid, self.now, 3600)

    def lease(self, run: str, agent: str) -> Grant:
        grant = ledger.lease(self.conn, self.agent(agent), run, self.terms)
        assert grant is not None
        return grant

    def commit(
        self, grant: Grant, agent: str, seq: int, rest: Work | None = None, *, log: list[Row] | None = None,
        parts: tuple[Work, ...] = (), deferred: tuple[WorkItem, ...] = (),
    ) -> Renewal:  # fmt: skip
        counters = Counters()
        for row in log or []:
            counters.scanned(row.size)
            counters.row(row)
        progress = Progress(Commit(seq, rest, parts), counters, (), deferred)
        return ledger.commit(self.conn, self.agent(agent), grant.order.run, grant.token, progress, self.terms)


def done(*paths: bytes) -> list[Row]:
    """Rows for files that were transferred."""
    return [Row(0.0, Kind.FILE, Outcome.TRANSFERRED, "AZSM0000", 1, path) for path in paths]
