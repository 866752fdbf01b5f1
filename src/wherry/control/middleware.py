"""What every request passes before any route: an id, a path that means one thing, a body of bearable size.

And every answer after it: the headers that clients of ARM expect and browsers need.  Plain ASGI, so that long polls and
streams pass through untouched.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wherry.control.pulse import Pulse, area_of
from wherry.model import ids

MAX_BODY = 4 * 1024 * 1024
MAX_AGENT_BODY = 32 * 1024 * 1024
"""What agents may send: a commit names every folder of its budget, a segment holds a row for every item."""

LEAST_PACE = 8 * 1024
"""Bytes a second that a body has to come at in the long run."""

_AMBIGUOUS = re.compile(rb"%2f|%5c|%00|//|/\.{1,2}(/|$)|%2e", re.IGNORECASE)

_ALWAYS = {
    "cache-control": "no-cache, no-store",
    "pragma": "no-cache",
    "expires": "-1",
    "strict-transport-security": "max-age=31536000",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not no-referrer: browsers then send forms with "Origin: null", which no form of ours may have.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
}


class Door:
    """The one middleware of the control plane."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        state["request_id"] = str(uuid.uuid4())
        state["correlation_id"] = _guid_or(headers.get("x-ms-correlation-request-id"), state["request_id"])

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                stamp(MutableHeaders(scope=message), headers, state)
                pulse: Pulse = scope["app"].state.plane.pulse
                pulse.answered(area_of(scope.get("route")), message["status"])
            await send(message)

        refusal = _refusal(scope, headers)
        if refusal is not None:
            await refusal(scope, receive, stamped)
        else:
            await self.app(scope, _bounded(receive, _limit(scope), _patience(scope)), stamped)


def stamp(answer: MutableHeaders, request: Headers, state: MutableMapping[str, Any]) -> None:
    """Put the headers on an answer that every answer has; those that a route set stay."""
    for name, value in _ALWAYS.items():
        answer.setdefault(name, value)
    answer["x-ms-request-id"] = state.get("request_id", "")
    answer["x-ms-correlation-request-id"] = state.get("correlation_id", "")
    wanted = request.get("x-ms-return-client-request-id", "").lower() == "true"
    client = request.get("x-ms-client-request-id", "")
    if wanted and ids.GUID.match(client):
        answer["x-ms-client-request-id"] = client


def error_body(code: str, message: str, target: str | None = None) -> dict[str, Any]:
    """The body of an error as ARM's clients read it."""
    error = {"code": code, "message": message} | ({"target": target} if target else {})
    return {"error": error}


def _refusal(scope: Scope, headers: Headers) -> JSONResponse | None:
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    if _AMBIGUOUS.search(raw.partition(b"?")[0]):
        body = error_body("InvalidResourceId", "The path has empty, relative or encoded separators.")
        return JSONResponse(body, 400)
    length = headers.get("content-length", "0")
    if not length.isdigit() or int(length) > _limit(scope):
        return JSONResponse(
            error_body("RequestContentTooLarge", _too_large(_limit(scope))),
            413,
            headers={"connection": "close"},
        )
    return None


def _limit(scope: Scope) -> int:
    return MAX_AGENT_BODY if scope["path"].startswith("/agent/v1/") else MAX_BODY


def _patience(scope: Scope) -> float:
    found: float = scope["app"].state.plane.settings.body_seconds
    return found


def _bounded(receive: Receive, limit: int, patience: float) -> Receive:
    """What a route reads of a body: no more than `limit`, no slower than `LEAST_PACE` for longer than `patience`."""
    seen, more, begun = 0, True, 0.0

    async def counted() -> Message:
        nonlocal seen, more, begun
        if not more:
            return await receive()
        now = asyncio.get_running_loop().time()
        begun = begun or now
        try:
            async with asyncio.timeout_at(begun + patience + seen / LEAST_PACE):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, "The request body came too slowly.", {"connection": "close"}) from None
        more = bool(message.get("more_body"))
        seen += len(message.get("body", b""))
        if seen > limit:
            raise HTTPException(413, _too_large(limit), {"connection": "close"})
        return message

    return counted


def _too_large(limit: int) -> str:
    return f"The request body is larger than {limit} bytes."


def _guid_or(value: str | None, otherwise: str) -> str:
    return value.lower() if value and ids.GUID.match(value) else otherwise
