"""What the types of Microsoft.StorageMover demand of each other.

Jobs name endpoints and agents that are there and fit; what a run uses stays until the run ends; an agent stands for one
machine.  Called by `services.resources` inside the transaction of the request.
"""

from __future__ import annotations

import uuid

from sqlalchemy import Connection

from wherry.control.caller import Caller
from wherry.control.services import (
    agents,
    bandwidth,
    consents,
    identities,
    resource_store,
    run_sides,
    run_view,
    schedules,
)
from wherry.control.services.draft import Draft
from wherry.control.services.resource_store import Json, Resource
from wherry.control.services.types import mover_values as values
from wherry.control.services.types.schema import invalid
from wherry.model import ids
from wherry.model.drivers import DRIVERS
from wherry.model.errors import ApiError

_AGENT = agents.TYPE
_GROUP = "microsoft.storagemover/storagemovers/agentgroups"
_CONNECTION = "microsoft.storagemover/storagemovers/connections"
_JOB = "microsoft.storagemover/storagemovers/projects/jobdefinitions"

PAIRS = frozenset(
    {("LocalMount", "LocalMount"), ("LocalMount", "AzureStorageBlobContainer"), ("LocalMount", "S3WithHMAC")}
)
"""Endpoint types that a job can copy between, as (source, target)."""


def prepare_agent(conn: Connection, draft: Draft) -> None:
    """A user's PUT makes a placeholder, which never gets work; only a registration gives it an identity."""
    machine = draft.properties["arcResourceId"]
    other = resource_store.linked(conn, _AGENT, machine)
    if other is not None and (draft.old is None or other.key != draft.old.key):
        message = f"The machine '{machine}' belongs to the agent '{other.name}'. One machine is one agent."
        raise ApiError(409, "MachineInUse", message, "properties.arcResourceId")
    draft.link = machine
    if draft.old is None:
        draft.state = {"agentStatus": agents.PLACEHOLDER}


def release_agent(conn: Connection, agent: Resource, caller: Caller, _root: Resource) -> None:
    """Unregister: identity, assignments and grants go with the agent, and no group names it any more."""
    agents.unregister(conn, agent.key, caller.now)
    for group in resource_store.children(conn, str(agent.parent_key), _GROUP):
        left = [name for name in group.properties["agents"] if name.lower() != agent.name.lower()]
        if left != group.properties["agents"]:
            resource_store.rewrite(conn, caller, group.key, properties=group.properties | {"agents": left})


def prepare_group(conn: Connection, draft: Draft) -> None:
    """A group names agents of its mover, each once."""
    wanted: dict[str, str] = {}
    for at, name in enumerate(draft.properties["agents"]):
        agent = _of_mover(conn, draft.container.id, "agents", name)
        if agent is None:
            raise invalid(
                f"properties.agents[{at}]", f"There is no agent '{name}' in this mover.", "AgentNotFound"
            )
        wanted[agent.key] = agent.name
    draft.properties["agents"] = list(wanted.values())


def release_group(conn: Connection, group: Resource, _caller: Caller, root: Resource) -> None:
    """A group that a job names stays, unless the job goes too."""
    if root.key != group.key:
        return
    for job in resource_store.under(conn, str(group.parent_key), _JOB):
        named = job.properties.get("wherry", {}).get("agentGroup", "")
        if named.lower() == group.name.lower():
            raise ApiError(409, "AgentGroupInUse", f"The job definition '{job.id}' names this group.")


def prepare_connection(_conn: Connection, draft: Draft) -> None:
    """A connection waits for approval, which nobody here can give; a later PUT changes nothing, as in Azure."""
    if draft.old is not None:
        draft.properties = dict(draft.old.properties)
        return
    name = draft.id.rpartition("/")[2]
    draft.state = {"connectionStatus": "Pending", "privateEndpointName": f"{name}-{uuid.uuid4()}"}


def release_connection(conn: Connection, connection: Resource, caller: Caller, root: Resource) -> None:
    """A connection that a running job names stays; job definitions forget one that goes."""
    if root.key != connection.key:
        return
    for job in resource_store.under(conn, str(connection.parent_key), _JOB):
        named = job.properties.get("connections", [])
        left = [one for one in named if ids.key(one) != connection.key]
        if left == named:
            continue
        run = run_view.active_run(conn, job_key=job.key)
        if run is not None:
            raise ApiError(
                409, "ConnectionInUse", f"The job run '{run}' is of a job that names this connection."
            )
        properties = {name: value for name, value in job.properties.items() if name != "connections"}
        if left:
            properties["connections"] = left
        resource_store.rewrite(conn, caller, job.key, properties=properties)


def release_endpoint(conn: Connection, endpoint: Resource, caller: Caller, _root: Resource) -> None:
    """An endpoint that a run uses stays until the run ends; its identity goes with it."""
    run = run_view.active_run(conn, endpoint=endpoint.id)
    if run is not None:
        raise ApiError(
            409, "EndpointInUse", f"The job run '{run}' uses this endpoint. Stop it, or wait for its end."
        )
    oid = (endpoint.identity or {}).get("principalId")
    if oid:
        identities.delete_agent(conn, oid, caller.now)


def view_endpoint(conn: Connection, endpoint: Resource, properties: Json) -> None:
    """Tells before any start what the credential of a run can be used for there, and what it cannot be limited to."""
    opening = run_sides.opening_of(conn, endpoint)
    if opening is not None:
        told = DRIVERS[opening.driver]
        access = {
            "driver": told.name, "limitedTo": list(told.limits), "notLimitedTo": list(told.cannot),
            "ends": told.ends, "proven": told.proven, "warning": told.warning,
        }  # fmt: skip
        properties["wherry"] = properties.get("wherry", {}) | {"access": access}


def prepare_job(conn: Connection, draft: Draft) -> None:
    """Endpoints and agents by name, as ids; the kinds of endpoints must fit.

    What was named before and is gone since does not keep a job from being changed otherwise: its next start says so.
    """
    if "jobType" in draft.properties:
        raise invalid("properties.jobType", "Only OnPremToCloud is served yet.", "NotServedYet")
    mover = draft.container.id.rpartition("/projects/")[0]
    _prepare_places(conn, draft, mover)
    _prepare_workers(conn, draft, mover)
    _prepare_connections(conn, draft, mover)
    _prepare_schedule(draft)


def _prepare_places(conn: Connection, draft: Draft, mover: str) -> None:
    found: list[Resource] = []
    for which in ("source", "target"):
        name = draft.properties[f"{which}Name"]
        one = _of_mover(conn, mover, "endpoints", name)
        if one is None and draft.old is None:
            message = f"There is no endpoint '{name}' in this mover."
            raise invalid(f"properties.{which}Name", message, "EndpointNotFound")
        if one is not None:
            draft.state[f"{which}ResourceId"] = one.id
            found.append(one)
    if len(found) == len(("source", "target")):
        _fit(*found)


def _prepare_workers(conn: Connection, draft: Draft, mover: str) -> None:
    properties, before = draft.properties, {} if draft.old is None else draft.old.properties
    group, name = properties.get("wherry", {}).get("agentGroup"), properties.get("agentName")
    kept = draft.state.pop("agentResourceId", None)
    if name is not None and group is not None:
        raise invalid("properties.wherry.agentGroup", "Name an agent or a group of agents, not both.")
    if name is not None:
        agent = _of_mover(conn, mover, "agents", name)
        if agent is None and name != before.get("agentName"):
            raise invalid(
                "properties.agentName", f"There is no agent '{name}' in this mover.", "AgentNotFound"
            )
        draft.state["agentResourceId"] = kept if agent is None else agent.id
    changed = group is not None and group != before.get("wherry", {}).get("agentGroup")
    if changed and _of_mover(conn, mover, "agentGroups", group) is None:
        message = f"There is no agent group '{group}' in this mover."
        raise invalid("properties.wherry.agentGroup", message, "AgentGroupNotFound")


def _prepare_connections(conn: Connection, draft: Draft, mover: str) -> None:
    """Connections are those of the mover, each once; none is as if nothing was said."""
    found: dict[str, str] = {}
    for at, told in enumerate(draft.properties.pop("connections", [])):
        one = resource_store.find(conn, told, _CONNECTION) if told.startswith("/") else None
        if one is None or ids.key(one.id).rpartition("/connections/")[0] != ids.key(mover):
            target = f"properties.connections[{at}]"
            raise invalid(target, "The id of a connection of this mover is expected.", "ConnectionNotFound")
        found[one.key] = one.id
    if found:
        draft.properties["connections"] = list(found.values())


def _prepare_schedule(draft: Draft) -> None:
    """A schedule that can come, within the original's bounds; one that asks for nothing is none."""
    told = draft.properties.get("schedule")
    found = values.schedule(draft.properties)
    if found is None:
        draft.properties.pop("schedule", None)
        return
    if draft.old is not None and draft.old.properties.get("schedule") == told:
        return
    for name, at, days in (
        ("startDate", found.start, schedules.LONGEST_AHEAD_DAYS),
        ("endDate", found.end or 0.0, schedules.LONGEST_DAYS),
    ):
        if at > draft.caller.now + days * schedules.DAY:
            raise invalid(f"properties.schedule.{name}", f"It lies at most {days} days ahead.")


def settle_job(conn: Connection, draft: Draft, job: Resource) -> None:
    """Enable, change or disable the schedule of a job that was written."""
    before = {} if draft.old is None else draft.old.properties
    schedules.settle(conn, draft.caller, job, values.schedule(job.properties), before)


def release_job(conn: Connection, job: Resource, caller: Caller, _root: Resource) -> None:
    """A job definition with a run that has not ended stays."""
    run = run_view.active_run(conn, job_key=job.key)
    if run is not None:
        raise ApiError(
            409, "JobRunActive", f"The job run '{run}' has not ended. Stop it, or wait for its end."
        )
    consents.end_standing(conn, caller.now, job_key=job.key)


def view_job(conn: Connection, job: Resource, properties: Json) -> None:
    """A job definition tells its latest run."""
    latest = run_view.latest_run(conn, job.key)
    if latest is not None:
        properties["latestJobRunName"] = latest.name
        properties["latestJobRunResourceId"] = latest.resource_id
        properties["latestJobRunStatus"] = bandwidth.status_of(conn, latest)
    if "schedule" in job.properties:
        told = schedules.view(conn, job, values.schedule(job.properties))
        properties["wherry"] = properties.get("wherry", {}) | told


def _of_mover(conn: Connection, mover: str, kind: str, name: str) -> Resource | None:
    if "/" in name:
        return None
    return resource_store.find(conn, f"{mover}/{kind}/{name}", f"microsoft.storagemover/storagemovers/{kind}")


def _fit(source: Resource, target: Resource) -> None:
    if source.properties.get("endpointKind") == "Target":
        raise invalid(
            "properties.sourceName", f"The endpoint '{source.name}' is a target.", "EndpointKindMismatch"
        )
    if target.properties.get("endpointKind") == "Source":
        raise invalid(
            "properties.targetName", f"The endpoint '{target.name}' is a source.", "EndpointKindMismatch"
        )
    pair = (source.properties["endpointType"], target.properties["endpointType"])
    if pair not in PAIRS:
        message = f"Copying from {pair[0]} to {pair[1]} is not served yet."
        raise invalid("properties.sourceName", message, "NotServedYet")
    if ids.key(source.id) == ids.key(target.id):
        raise invalid("properties.targetName", "Source and target are the same endpoint.")
