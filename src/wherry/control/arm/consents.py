"""Consents to all runs of a job: given by who may let agents into its target, for those who may only start it.

`POST …/jobDefinitions/{job}/consents` gives one, `GET` lists those in force, `DELETE …/consents/{id}` ends one.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wherry.control.access import Routes, resource
from wherry.control.arm import generic
from wherry.control.arm.request import body_of, caller_of, page, target_of
from wherry.control.caller import Caller
from wherry.control.plane import plane
from wherry.control.services import resources, standing_consents
from wherry.control.services.resource_store import Json
from wherry.control.services.types.registry import Target
from wherry.control.services.types.storage_mover import JOB_DEFINITION
from wherry.model.errors import ApiError

routes = Routes(case_insensitive=True)

_PATH = f"{generic.item(JOB_DEFINITION)}/consents"


@routes.post(_PATH, resource(JOB_DEFINITION.action("consents/write")))
async def give(request: Request) -> Response:
    """201 with the consent; 403 for who may not assign roles at the job's target."""
    job, body = target_of(request, JOB_DEFINITION, "/consents"), await body_of(request)
    told = body.get("properties")
    until = _time(told.get("until") if isinstance(told, dict) else None)
    made = await plane(request).database.write(_give, caller_of(request), job, until)
    return JSONResponse(made, 201)


@routes.get(_PATH, resource(JOB_DEFINITION.action("consents/read")))
async def list_all(request: Request) -> Response:
    """The consents in force."""
    job = target_of(request, JOB_DEFINITION, "/consents")
    return page(request, await plane(request).database.read(_list, caller_of(request), job), None)


@routes.delete(f"{_PATH}/{{consent}}", resource(JOB_DEFINITION.action("consents/delete")))
async def withdraw(request: Request) -> Response:
    """200, or 204 when there is none of this name."""
    name = str(request.path_params["consent"])
    job = target_of(request, JOB_DEFINITION, f"/consents/{name}")
    gone = await plane(request).database.write(_withdraw, caller_of(request), job, name)
    return Response(status_code=200 if gone else 204)


def _give(conn: Connection, caller: Caller, job: Target, until: float) -> Json:
    return standing_consents.give(conn, caller, resources.require(conn, job), until)


def _list(conn: Connection, caller: Caller, job: Target) -> list[Json]:
    return standing_consents.list_of(conn, resources.require(conn, job), caller.now)


def _withdraw(conn: Connection, caller: Caller, job: Target, name: str) -> bool:
    return standing_consents.withdraw(conn, caller, resources.require(conn, job), name)


def _time(told: object) -> float:
    try:
        found = datetime.fromisoformat(str(told))
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise ApiError(
            400, "InvalidProperty", "'until' is a time such as 2027-01-31T00:00:00Z.", "properties.until"
        )
    return found.timestamp()
