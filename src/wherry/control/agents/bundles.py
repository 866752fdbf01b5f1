"""Routes by which an agent brings a support bundle that it was asked for, piece by piece."""

from __future__ import annotations

import re

import anyio.to_thread
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wherry.control import bundles
from wherry.control.access import Routes, agent
from wherry.control.agents.messages import answers, body_of, holder_of, holding, text
from wherry.control.plane import caller, plane
from wherry.control.services import agent_bundles
from wherry.model.errors import ApiError

routes = Routes("/agent/v1")

_DAY = 86400.0
_OFFSET = re.compile(r"\d{1,12}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")


@routes.put("/bundles/{bundle}/{offset}", agent(routine=True))
async def piece(request: Request, bundle: str, offset: str) -> Response:
    """A piece of it; the answer says how much there is, which is where the next one begins."""
    await _require(request, bundle)
    if not _OFFSET.fullmatch(offset):
        raise ApiError(400, "InvalidRequestContent", "The offset of a piece is a number.")
    body = await request.body()
    service = plane(request)
    limit = service.settings.bundle_limit_mib * 2**20
    with answers():
        there = await anyio.to_thread.run_sync(
            bundles.store_of(service).append, bundle, int(offset), body, limit
        )
    return JSONResponse({"received": there})


@routes.post("/bundles/{bundle}", agent())
async def end(request: Request, bundle: str) -> Response:
    """It is whole, and this is its SHA-256; or it cannot be had, and why."""
    await _require(request, bundle)
    service, body = plane(request), await body_of(request)
    why, sha256 = text(body, "trouble", 500, ""), text(body, "sha256", 64, "")
    if why:
        await holding(request, agent_bundles.fail, bundle, service.clock(), why)
        await anyio.to_thread.run_sync(bundles.store_of(service).drop, bundle)
        return Response(status_code=204)
    if not _SHA256.fullmatch(sha256):
        raise ApiError(400, "InvalidRequestContent", "'sha256' is the SHA-256 of the whole bundle.")
    with answers():
        size = await anyio.to_thread.run_sync(bundles.store_of(service).finish, bundle, sha256)
    if size is None:
        raise ApiError(409, "BundleDamaged", "What has come does not have this SHA-256. Bring it again.")
    keep = service.settings.bundle_keep_days * _DAY
    await holding(request, agent_bundles.brought, bundle, service.clock(), keep, size, sha256)
    return Response(status_code=204)


async def _require(request: Request, bundle: str) -> None:
    def ask(conn: Connection) -> None:
        agent_bundles.require_wanted(conn, holder_of(conn, caller(request)), bundle)

    await plane(request).database.read(ask)
