"""The page *Start job*: which grant a start makes, for whom, where and until when; then the start, or why not."""

from __future__ import annotations

from urllib.parse import quote

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from wherry.control.access import Routes
from wherry.control.caller import Caller
from wherry.control.pages.frame import asks, do, first_row, form, page, signed_in
from wherry.control.plane import plane
from wherry.control.services import consents, overviews, run_view, runs, start_plan
from wherry.control.services.resource_store import Json, Resource
from wherry.control.services.start_plan import Plan
from wherry.control.services.types.storage_mover import JOB_DEFINITION
from wherry.model.drivers import DRIVERS
from wherry.trust import explain, policy
from wherry.trust.roles import ROLES

routes = Routes()


@routes.get("/start", signed_in())
async def choose(request: Request) -> Response:
    """All jobs that the person may see; with `job` the plan of its start."""
    service = plane(request)
    told = request.query_params.get("job", "")
    if not told:
        found = await service.database.read(overviews.jobs, asks(request), first_row(request))
        return page(request, "jobs.html", jobs=found.rows, following=found.following)
    # Rehearsed, and therefore a write that is undone.
    plan, run = await service.database.write(_plan, asks(request), told, service.settings.grant_seconds)
    values: Json = {"plan": plan, "run": run, "condition": policy.expires(plan.until)}
    values["givers"] = [role.name for role in explain.roles_with(consents.ASSIGN, ROLES)]
    values["assign"] = consents.ASSIGN
    opening = plan.found.target.opening if plan.found else None
    values["warning"] = DRIVERS[opening.driver].warning if opening else ""
    return page(request, "start.html", **values)


@routes.post("/start", signed_in())
async def start(request: Request) -> Response:
    """Start the job, as the API does."""
    fields = await form(request)
    job = await plane(request).database.read(_job, asks(request), fields.get("job", ""))
    await do(request, runs.START, job.id, _start, job)
    return RedirectResponse(f"/start?job={quote(job.id)}", 303)


def _job(conn: Connection, caller: Caller, job_id: str) -> Resource:
    return overviews.read(conn, caller, JOB_DEFINITION, job_id)


def _plan(conn: Connection, caller: Caller, job_id: str, seconds: float) -> tuple[Plan, Json | None]:
    job = _job(conn, caller, job_id)
    latest = run_view.latest_run(conn, job.key)
    shown = run_view.shown(conn, latest) if latest is not None else None
    return start_plan.of(conn, caller, job, seconds), shown


def _start(conn: Connection, caller: Caller, job: Resource) -> str:
    return start_plan.start(conn, caller, job)
