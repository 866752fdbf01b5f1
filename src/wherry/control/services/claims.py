"""Claims: no two runs write to places that contain one another.

A claim is a place (a container, or an agent whose folder is the target) and a path in it.  Two claims overlap when the
place is the same and one path is the other or lies above it.  Made at the start of a run, gone with its end.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, insert, select

from wherry.control.db.tables_ledger import claims
from wherry.control.db.tables_runs import runs
from wherry.model import names
from wherry.model.errors import RunError
from wherry.model.wire import Place

LOCAL = "LocalMount"


def path_of(place: Place) -> bytes:
    """Where a place lies in what holds it: in the file system for a folder, in the container for blobs."""
    if place.kind != LOCAL:
        return place.subpath
    return names.join(place.location.encode().strip(b"/"), place.subpath).strip(b"/")


def overlap(one: bytes, other: bytes) -> bool:
    """Whether one path is the other or contains it."""
    first, second = names.parts(one), names.parts(other)
    shorter = min(len(first), len(second))
    return first[:shorter] == second[:shorter]


def make(conn: Connection, run: str, target: Place, agents: Iterable[str]) -> None:
    """Claim the target of a run; AZSM1027 that names the run in the way when it overlaps with another's.

    `agents` are the keys of the agents that may write it when it is a folder on their machines.
    """
    prefix = path_of(target)
    places = (
        [f"agent:{agent}" for agent in agents]
        if target.kind == LOCAL
        else [f"container:{target.location.rstrip('/').lower()}"]
    )
    for place in places:
        _refuse_overlap(conn, run, place, prefix)
        conn.execute(insert(claims).values(run=run, place=place, prefix=prefix))


def cover(conn: Connection, run: str, target: Place, agent: str) -> None:
    """Claim a folder for an agent that joined the run's group after the start; AZSM1027 as `make`."""
    if target.kind != LOCAL:
        return
    known = select(claims.c.run).where(claims.c.run == run, claims.c.place == f"agent:{agent}")
    if conn.execute(known).first() is None:
        make(conn, run, target, [agent])


def _refuse_overlap(conn: Connection, run: str, place: str, prefix: bytes) -> None:
    rows = conn.execute(
        select(claims.c.prefix, runs.c.resource_id)
        .join(runs, runs.c.id == claims.c.run)
        .where(claims.c.place == place, claims.c.run != run)
    )
    for row in rows:
        if overlap(row.prefix, prefix):
            raise RunError("AZSM1027", f"The job run '{row.resource_id}' writes there.")
