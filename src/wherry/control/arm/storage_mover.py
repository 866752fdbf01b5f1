"""Microsoft.StorageMover: movers, projects, endpoints, agents, agent groups, job definitions and job runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Row
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wherry.control.access import Routes, bearer, resource
from wherry.control.arm import agent_bundles, generic, paging
from wherry.control.arm.request import after_of, caller_of, check_subscription, check_version, page, target_of
from wherry.control.caller import Caller
from wherry.control.plane import plane
from wherry.control.services import operations, resources, run_view, runs
from wherry.control.services.resource_store import Json
from wherry.control.services.types import versions
from wherry.control.services.types.registry import Target
from wherry.control.services.types.storage_mover import (
    AGENT,
    ENDPOINT,
    JOB_DEFINITION,
    JOB_RUN,
    PROVIDER,
    TYPES,
)

routes = Routes(case_insensitive=True)

for _kind in TYPES:
    # Endpoints have routes of their own: `arm.endpoints`.
    if _kind is not ENDPOINT:
        generic.declare(routes, _kind)

_VERBS = {"read": "Gets or lists", "write": "Creates or updates", "delete": "Deletes"}


@routes.get(generic.item(JOB_RUN), resource(JOB_RUN.action("read")))
async def get_run(request: Request) -> Response:
    """A run; its counters are those committed."""
    return JSONResponse(await plane(request).database.read(_run, target_of(request, JOB_RUN)))


@routes.get(generic.collection(JOB_RUN), resource(JOB_RUN.action("read")))
async def list_runs(request: Request) -> Response:
    """The runs of a job, the latest first."""
    job = target_of(request, JOB_RUN, parent=True)
    items, after = await plane(request).database.read(_runs, job, after_of(request))
    return page(request, items, after)


@routes.post(f"{generic.item(JOB_DEFINITION)}/startJob", resource(JOB_DEFINITION.action("startJob/action")))
async def start_job(request: Request) -> Response:
    """Start a run, as the caller: what the caller may not allow the agent is not allowed."""
    return await _order(request, "/startJob", runs.start)


@routes.post(f"{generic.item(JOB_DEFINITION)}/stopJob", resource(JOB_DEFINITION.action("stopJob/action")))
async def stop_job(request: Request) -> Response:
    """Ask the run of the job to stop."""
    return await _order(request, "/stopJob", runs.stop)


@routes.post(
    f"{generic.item(JOB_DEFINITION)}/reconcileJob", resource(JOB_DEFINITION.action("reconcileJob/action"))
)
async def reconcile_job(request: Request) -> Response:
    """Have the run of the job looked at anew: what is overdue is taken back, what waits is tried at once."""
    return await _order(request, "/reconcileJob", runs.reconcile)


@routes.get(f"/providers/{PROVIDER}/operations", bearer())
async def list_operations(request: Request) -> Response:
    """The actions that roles can allow."""
    check_version(request, PROVIDER)
    return JSONResponse({"value": _operations()})


@routes.get(
    f"{generic.SUBSCRIPTION}/providers/{{provider}}/locations/{{location}}/operationStatuses/{{id}}", bearer()
)
async def operation_status(request: Request) -> Response:
    """How a long-running operation stands, for who started it."""
    check_version(request, "")
    check_subscription(request, str(request.path_params["subscription"]))
    wanted = str(request.path_params["id"])
    return JSONResponse(
        await plane(request).database.read(
            operations.get, caller_of(request), wanted, str(request.scope["path"])
        )
    )


async def _order(request: Request, suffix: str, order: Callable[[Connection, Caller, str], str]) -> Response:
    job = target_of(request, JOB_DEFINITION, suffix)
    run = await plane(request).database.write(_ordered, caller_of(request), job, order)
    return JSONResponse({"jobRunResourceId": run})


def _ordered(
    conn: Connection, caller: Caller, job: Target, order: Callable[[Connection, Caller, str], str]
) -> str:
    return order(conn, caller, resources.require(conn, job).key)


def _run(conn: Connection, target: Target) -> Json:
    row = run_view.get_run(conn, str(target.id))
    if row is None:
        raise resources.absent(target)
    return _shown(conn, row, target.version)


def _runs(conn: Connection, job: Target, after: list[str] | None) -> tuple[list[Json], list[str] | None]:
    key = resources.require(conn, job).key
    place = (float(after[0]), after[1]) if after else None
    rows = run_view.list_runs(conn, key, after=place, limit=paging.SIZE + 1)
    shown = rows[: paging.SIZE]
    following = [repr(shown[-1].created_at), shown[-1].id] if len(rows) > paging.SIZE else None
    return [_shown(conn, row, job.version) for row in shown], following


def _shown(conn: Connection, row: Row[Any], version: str) -> Json:
    told = run_view.shown(conn, row)
    unknown = versions.hidden(JOB_RUN, version)
    return told | {"properties": versions.without(told["properties"], unknown)}


def _operations() -> list[Json]:
    told = [(kind.action(verb), kind, words) for kind in TYPES for verb, words in _VERBS.items()]
    orders = (
        ("startJob", "Starts a run of"),
        ("stopJob", "Stops the run of"),
        ("reconcileJob", "Looks at runs of"),
    )
    for word, verb in orders:
        told.append((f"{JOB_DEFINITION.full}/{word}/action", JOB_DEFINITION, verb))
    for name, verb in (
        (agent_bundles.REQUEST, "Asks for a support bundle of"),
        (agent_bundles.DOWNLOAD, "Downloads a support bundle of"),
        (agent_bundles.DELETE, "Deletes a support bundle of"),
    ):
        told.append((name, AGENT, verb))
    return [
        {
            "name": name,
            "isDataAction": False,
            "display": {
                "provider": PROVIDER,
                "resource": kind.kinds[-1],
                "operation": name.rpartition("/")[2],
                "description": f"{words} resources of type {kind.full}.",
            },
            "origin": "user,system",
        }
        for name, kind, words in told
        if kind.verbs or name.endswith("/read")
    ]
