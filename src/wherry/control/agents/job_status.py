"""Routes by which an agent tells whoever looks after its machine how its jobs stand.

It is answered for its own runs only (`services.assigned`); reading changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import anyio.to_thread
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wherry.control import logs
from wherry.control.access import Routes, agent
from wherry.control.agents.messages import answers, holder_of
from wherry.control.dispatch import Dispatch
from wherry.control.logs import Named, Place, RowFilter
from wherry.control.plane import caller, plane
from wherry.control.services import assigned
from wherry.control.services.ledger import Holder
from wherry.model.errors import ApiError
from wherry.model.outcomes import Outcome

routes = Routes("/agent/v1")

P = ParamSpec("P")
T = TypeVar("T")

MOST = 200
_AFTER_ROW = re.compile(r"(\d{1,15})\.(\d{1,15})", re.ASCII)
_AFTER_RUN = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)/([0-9a-f-]{36})", re.ASCII)


@routes.get("/runs", agent(routine=True))
async def summary(request: Request) -> Response:
    """The agent's runs in a few words, the latest first; `after` is what the page before ended with."""
    told, limit = request.query_params.get("after", ""), _top(request)
    begin = _AFTER_RUN.fullmatch(told)
    if told and begin is None:
        raise _invalid("after", "what the page before ended with is expected")
    after = (float(begin[1]), begin[2]) if begin else None
    found = await _read(request, assigned.runs_of, after, limit)
    following = f"{found[-1][1][0]!r}/{found[-1][1][1]}" if len(found) == limit else None
    return JSONResponse({"runs": [one for one, _ in found], "after": following})


@routes.get("/runs/{run}", agent(routine=True))
async def details(request: Request, run: str) -> Response:
    """One of the agent's runs."""
    return JSONResponse(await _read(request, assigned.details, run, plane(request).clock()))


@routes.get("/runs/{run}/copyLogs", agent(routine=True))
async def copy_logs(request: Request, run: str) -> Response:
    """A page of the copy log of one of the agent's runs; `outcome` shows rows of that one only."""
    wanted, limit = RowFilter(_outcome(request)), _top(request)
    told = request.query_params.get("after", "0.0")
    begin = _AFTER_ROW.fullmatch(told)
    if begin is None:
        raise _invalid("after", "what the page before ended with is expected")
    place = Place(int(begin[1]), int(begin[2]))
    found = await _read(request, _named, run, place)
    store = plane(request).part(Dispatch).logs
    rows, after = await anyio.to_thread.run_sync(logs.page, store, found, place, wanted, limit)
    following = None if after is None else f"{after.segment}.{after.row}"
    return JSONResponse({"rows": [logs.document(run, row) for row in rows], "after": following})


@routes.get("/places", agent(routine=True))
async def places(request: Request) -> Response:
    """The sources and targets of the agent's jobs, so that it can test the way to them."""
    return JSONResponse({"places": await _read(request, assigned.places)})


async def _read(
    request: Request,
    function: Callable[Concatenate[Connection, Holder, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """The answer of `function(conn, holder, *args)` for the agent that calls; nothing is changed."""

    def ask(conn: Connection) -> T:
        return function(conn, holder_of(conn, caller(request)), *args, **kwargs)

    with answers():
        return await plane(request).database.read(ask)


def _named(conn: Connection, holder: Holder, run: str, after: Place) -> list[Named]:
    assigned.require(conn, holder, run)
    return logs.named(conn, run, after)


def _outcome(request: Request) -> Outcome | None:
    told = request.query_params.get("outcome", "")
    found = next((one for one in Outcome if one.value.lower() == told.lower()), None)
    if told and found is None:
        raise _invalid("outcome", f"one of {', '.join(Outcome)} is expected")
    return found


def _top(request: Request) -> int:
    told = request.query_params.get("top", "50")
    if not (told.isascii() and told.isdigit() and len(told) < 4 and 1 <= int(told) <= MOST):
        raise _invalid("top", f"a number from 1 to {MOST} is expected")
    return int(told)


def _invalid(parameter: str, why: str) -> ApiError:
    return ApiError(400, "InvalidQueryParameter", f"The query parameter '{parameter}': {why}.", parameter)
