"""Routes of an agent at work: leases, and what the holder of one may do with it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import anyio.to_thread
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wherry.control import refusals
from wherry.control.access import Routes, agent
from wherry.control.agents.messages import (
    answers,
    body_of,
    documents,
    holder_of,
    holding,
    lease_of,
    number,
    text,
    token_of,
)
from wherry.control.dispatch import Dispatch
from wherry.control.plane import caller, plane, source
from wherry.control.services import (
    agent_trust,
    agent_versions,
    ledger,
    presence,
    run_log,
    run_state,
    sightings,
)
from wherry.control.services.ledger import Holder, Terms
from wherry.model.errors import ApiError
from wherry.model.outcomes import iso_time
from wherry.model.wire import Progress, Sighting, item_to_json, unpack
from wherry.trust.principals import Principal

routes = Routes("/agent/v1")

_FILE = re.compile(r"\d{1,18}-[0-9a-f]{64}")
_EVENTS = 1000


@routes.post("/leases", agent(routine=True))
async def lease(request: Request) -> Response:
    """The next lease, waiting for one at most as long as the agent says; 204 when there is none."""
    service = plane(request)
    body = await body_of(request)
    wait = min(number(body, "wait"), service.settings.long_poll_seconds)
    holder, version = await service.database.read(_asker, caller(request))
    agent_versions.refuse_unsupported(
        agent_versions.notice_for(service.state, text(body, "version", 64, version))
    )

    async def gone() -> bool:
        """An agent that is locked or unregistered while it waits is told at once."""
        trouble, _ = await service.database.read(
            agent_trust.trouble, caller(request), source(request), service.clock()
        )
        if trouble:
            raise refusals.bad_proof(trouble, "The agent's identity is not accepted any more.", None)
        return await request.is_disconnected()

    with answers():
        grant = await service.part(Dispatch).take(holder, wait, gone)
    return Response(status_code=204) if grant is None else JSONResponse(grant.to_json())


@routes.post("/runs/{run}/renew", agent(routine=True))
async def renew(request: Request, run: str) -> Response:
    """More time for a lease."""
    body = await body_of(request)
    answer = await holding(
        request, ledger.renew, run, token_of(body), bool(body.get("progress")), _terms(request)
    )
    return JSONResponse(answer.to_json())


@routes.post("/runs/{run}/commit", agent(routine=True))
async def commit(request: Request, run: str) -> Response:
    """Make finished work count; the same commit again gets the same answer.

    `late`: finished while the lease was good, told by who may not have it any more; 204 then.
    """
    body = await body_of(request)
    told = body.get("progress")
    with answers():
        # Tens of thousands of items: not on the thread that serves everybody.
        progress = await anyio.to_thread.run_sync(Progress.from_json, told if isinstance(told, dict) else {})
    logs = plane(request).part(Dispatch).logs
    for segment in progress.segments:
        if not await anyio.to_thread.run_sync(logs.has, segment.name):
            raise ApiError(
                400, "SegmentMissing", f"The segment '{segment.name}' was not put: put it, then commit."
            )
    if body.get("late") is True:
        await holding(request, ledger.commit_late, run, token_of(body), progress, _terms(request))
        return Response(status_code=204)
    answer = await holding(request, ledger.commit, run, token_of(body), progress, _terms(request))
    return JSONResponse(answer.to_json())


@routes.post("/runs/{run}/items", agent(routine=True))
async def items(request: Request, run: str) -> Response:
    """Work items of a leased slice."""
    body = await body_of(request)
    with answers():
        after = unpack(text(body, "after", 16384, "")) or b""
    limit = int(number(body, "limit", ledger.MAX_ITEMS))
    found = await holding(request, ledger.items, run, token_of(body), after, limit, plane(request).clock())
    return JSONResponse({"items": [item_to_json(one) for one in found]})


@routes.post("/runs/{run}/release", agent())
async def release(request: Request, run: str) -> Response:
    """Give a lease back."""
    body = await body_of(request)
    code, detail = text(body, "code", 16, ""), text(body, "detail", 4000, "")
    now, patience = plane(request).clock(), plane(request).settings.agent_lost_seconds
    await holding(request, ledger.release, run, token_of(body), code, detail, now, patience)
    return Response(status_code=204)


@routes.post("/runs/{run}/sighting", agent(routine=True))
async def sighting(request: Request, run: str) -> Response:
    """What the agent found at both places; a code when the run cannot go on with it."""
    body = await body_of(request)
    told = body.get("sighting")
    with answers():
        seen = Sighting.from_json(told if isinstance(told, dict) else {})
    since, restarted, trouble = await holding(
        request, sightings.sight, run, token_of(body), seen, plane(request).clock()
    )
    if trouble is not None:
        raise ApiError(409, trouble.code, str(trouble))
    return JSONResponse({"since": since, "restarted": restarted})


@routes.post("/runs/{run}/credential", agent())
async def credential(request: Request, run: str) -> Response:
    """What opens the target, for the holder of a lease with a live grant."""
    body = await body_of(request)
    if body.get("side") != "target":
        raise ApiError(400, "InvalidRequestContent", "Only the side 'target' has credentials.")
    await holding(request, ledger.held, run, token_of(body), plane(request).clock())
    with answers():
        material, until = await plane(request).part(Dispatch).broker.credential(run, caller(request).oid)
    return JSONResponse(material.to_json() | {"expiresAt": iso_time(until) if material.secret else ""})


@routes.put("/segments/{run}/{partition}/{epoch}/{file}", agent(routine=True))
async def segment(request: Request, run: str, partition: str, epoch: str, file: str) -> Response:
    """Put a segment of the copy log; it exists for readers once a commit names it."""
    token = lease_of(request)
    if (partition, epoch) != (str(token.partition), str(token.epoch)) or not _FILE.fullmatch(file):
        raise ApiError(
            400, "InvalidSegment", "The name of a segment is that of its lease, a number and a SHA-256."
        )
    await holding(request, ledger.late_or_held, run, token, plane(request).clock())
    body = await request.body()
    if len(body) > plane(request).settings.segment_limit_mib * 2**20:
        raise ApiError(413, "RequestContentTooLarge", "The segment is too large: commit more often.")
    with answers():
        logs = plane(request).part(Dispatch).logs
        await anyio.to_thread.run_sync(logs.put, f"{run}/{partition}/{epoch}/{file}", body)
    return Response(status_code=204)


@routes.post("/runs/{run}/events", agent(routine=True))
async def events(request: Request, run: str) -> Response:
    """Rows for the run log, told by an agent of the run.

    With `spool` and `seq`, the number of the first one: those that came before are left out.
    """
    body = await body_of(request)
    rows = [_event(one) for one in documents(body, "events", _EVENTS)]
    place = (text(body, "spool", 64, ""), int(number(body, "seq")))
    await holding(request, _tell, run, rows, place, plane(request).clock())
    return Response(status_code=204)


def _asker(conn: Connection, principal: Principal) -> tuple[Holder, str]:
    """Who asks for work, and which version it told last."""
    return holder_of(conn, principal), presence.version_of(conn, principal.oid)


def _terms(request: Request) -> Terms:
    service = plane(request)
    return Terms(service.clock(), service.settings.lease_seconds)


def _tell(
    conn: Connection,
    holder: Holder,
    run_id: str,
    rows: list[tuple[Any, ...]],
    place: tuple[str, int],
    now: float,
) -> None:
    run = run_state.load(conn, run_id)
    if run is None or not presence.may_work(conn, run, holder.key):
        raise ledger.absent(run_id)
    spool, first = place
    told = run_log.told_already(conn, holder.oid, spool, first, len(rows)) if spool else 0
    for at, level, code, message in rows[told:]:
        run_log.tell(
            conn, run.id, message, now if at is None else at, level=level, code=code, source=holder.name
        )


def _event(told: dict[str, Any]) -> tuple[float | None, run_log.Level, str, str]:
    level = run_log.level_of(text(told, "level", 32, "Informational"))
    if level is None:
        raise ApiError(400, "InvalidRequestContent", f"'level' must be one of {', '.join(run_log.LEVELS)}.")
    message = text(told, "message", run_log.MESSAGE_LIMIT)
    return _time(told.get("time")), level, text(told, "code", 16, ""), message


def _time(told: Any) -> float | None:
    """When it was, as an agent says; None for what is no time that could be shown."""
    try:
        if isinstance(told, str):
            found = datetime.fromisoformat(told)
            told = (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
        if isinstance(told, bool) or not isinstance(told, int | float):
            return None
        iso_time(told)
    except (ValueError, OverflowError, OSError):
        return None
    return float(told)
