"""What an agent may know beyond its leases: the runs that are its own, and the places of its jobs.

A run is an agent's own when it is for that agent, or for a group that it is in, or when it holds a lease on it; and
only when the run had not ended before this very identity was registered, so that a new machine of an old name does not
read what the old one did.  All else is answered as not there.  Called by the agent protocol.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, Select, func, or_, select

from wherry.control.db.tables_identity import principals
from wherry.control.db.tables_ledger import partitions, run_work
from wherry.control.db.tables_runs import runs
from wherry.control.services import ledger, presence, resource_store, run_sides, run_view
from wherry.control.services.ledger import Holder
from wherry.control.services.resource_store import Json, Resource
from wherry.model.outcomes import iso_time
from wherry.model.wire import Place

JOB = "microsoft.storagemover/storagemovers/projects/jobdefinitions"
MOST_PLACES = 100

_SUMMARY = (
    "status", "executionStartTime", "executionEndTime", "itemsTransferred", "bytesTransferred", "itemsFailed",
)  # fmt: skip
_DETAILS = (
    "status", "scanStatus", "agentName", "executionStartTime", "executionEndTime", "lastStatusUpdate",
    "sourceName", "targetName", "error", "warnings",
)  # fmt: skip


def runs_of(
    conn: Connection, holder: Holder, after: tuple[float, str] | None, limit: int
) -> list[tuple[Json, tuple[float, str]]]:
    """The agent's runs in a few words, the latest first, each with the place to go on from."""
    query = _own(conn, holder)
    if after is not None:
        created, run = after
        query = query.where(
            or_(runs.c.created_at < created, (runs.c.created_at == created) & (runs.c.id < run))
        )
    rows = conn.execute(query.order_by(runs.c.created_at.desc(), runs.c.id.desc()).limit(limit))
    return [(_named(row) | _told(row, _SUMMARY), (row.created_at, row.id)) for row in rows]


def details(conn: Connection, holder: Holder, run: str, now: float) -> Json:
    """One of the agent's runs: how it stands, its places, and what of it is left to do; 404 for any other."""
    row = require(conn, holder, run)
    counted = [name for name in run_view.render_run(row)["properties"] if name.startswith(("items", "bytes"))]
    return {
        **_named(row),
        **_told(row, (*_DETAILS, *counted)),
        "createdAt": iso_time(row.created_at),
        "copyMode": row.job_properties.get("copyMode", ""),
        "source": _place(Place.from_json(row.source)),
        "target": _place(Place.from_json(row.target)),
        "partsLeft": _count(conn, row.id, partitions.c.open),
        "partsHeld": _count(conn, row.id, partitions.c.expires_at >= now),
        "partsHeldHere": _count(
            conn, row.id, (partitions.c.holder == holder.oid) & (partitions.c.expires_at >= now)
        ),
    }


def require(conn: Connection, holder: Holder, run: str) -> Row[Any]:
    """The row of one of the agent's runs; 404 for any other, whether it is there or not."""
    row = conn.execute(_own(conn, holder).where(runs.c.id == run)).first()
    if row is None:
        raise ledger.absent(run)
    return row


def places(conn: Connection, holder: Holder) -> list[Json]:
    """The sources and targets of the agent's job definitions, each once."""
    mover, groups = _mover(holder), _groups(conn, holder)
    found: dict[tuple[str, str], Json] = {}
    for job in resource_store.under(conn, mover, JOB):
        named = f"{mover}/agents/{str(job.properties.get('agentName') or '').lower()}"
        group = str((job.properties.get("wherry") or {}).get("agentGroup", ""))
        if named != holder.key and f"{mover}/agentgroups/{group.lower()}" not in groups:
            continue
        for side in ("source", "target"):
            name = str(job.properties[f"{side}Name"])
            endpoint = resource_store.find(conn, f"{mover}/endpoints/{name}", run_sides.ENDPOINT)
            if endpoint is not None and len(found) < MOST_PLACES:
                found.setdefault((side, endpoint.key), _endpoint(conn, side, endpoint))
    return list(found.values())


def _own(conn: Connection, holder: Holder) -> Select[Any]:
    """Selects the rows of `runs` that are the agent's."""
    registered = conn.execute(select(principals.c.created_at).where(principals.c.oid == holder.oid)).scalar()
    held = select(partitions.c.run).where(partitions.c.holder == holder.oid)
    own = or_(
        run_work.c.group_key.is_(None) & (runs.c.agent_key == holder.key),
        run_work.c.group_key.in_(_groups(conn, holder)),
        runs.c.id.in_(held),
    )
    since = or_(runs.c.ended_at.is_(None), runs.c.ended_at >= (registered or 0.0))
    query = select(runs).join(run_work, run_work.c.run == runs.c.id)
    return query.where(runs.c.mover_key == _mover(holder), own, since)


def _groups(conn: Connection, holder: Holder) -> list[str]:
    """The keys of the agent groups that an agent is in at this moment."""
    name = holder.key.rpartition("/")[2]
    found = resource_store.children(conn, _mover(holder), presence.GROUP)
    return [one.key for one in found if name in {member.lower() for member in one.properties["agents"]}]


def _mover(holder: Holder) -> str:
    return holder.key.rpartition("/agents/")[0]


def _count(conn: Connection, run: str, which: Any) -> int:
    query = select(func.count()).select_from(partitions)
    return conn.execute(query.where(partitions.c.run == run, which)).scalar_one()


def _named(row: Row[Any]) -> Json:
    job = row.resource_id.rpartition("/jobRuns/")[0].rpartition("/")[2]
    project = row.resource_id.partition("/projects/")[2].partition("/")[0]
    return {"jobDefinition": job, "project": project, "jobRun": row.id}


def _told(row: Row[Any], names: tuple[str, ...]) -> Json:
    shown = run_view.render_run(row)["properties"]
    return {name: shown[name] for name in names if name in shown}


def _place(place: Place) -> Json:
    return {"kind": place.kind, "location": place.location, "subpath": place.subpath.decode(errors="replace")}


def _endpoint(conn: Connection, side: str, endpoint: Resource) -> Json:
    kind = endpoint.properties["endpointType"]
    told = {"side": side, "name": endpoint.name, "kind": kind}
    opening = run_sides.opening_of(conn, endpoint)
    if opening is None:
        return told | {"location": endpoint.properties.get("path", "")}
    return told | {"location": opening.place, "certificates": opening.told.get("ca", "")}
