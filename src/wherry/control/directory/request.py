"""What requests to the directory have in common: who may, what they say, how lists are answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wherry.control.access import Access, resource
from wherry.control.arm import paging
from wherry.control.arm.request import filter_of, origin, query_of
from wherry.control.directory import filters
from wherry.control.plane import plane
from wherry.control.services.resource_store import Json
from wherry.model.errors import ApiError

BASE = "/graph/v1.0"

_SIZE = 100


def may(action: str) -> Access:
    """Whoever has `action` on everything: the directory has no scopes of its own.

    Its actions lie below Microsoft.Authorization, which Contributors may not write to: who changes passwords and
    groups can become anybody.
    """
    return resource(f"Microsoft.Authorization/directory/{action}", lambda _: "", audience="graph")


async def listed(request: Request, find: Callable[[Connection], list[Json]]) -> Response:
    """A page of what `find` gives, as `$filter` narrows it; `find` answers in the order of ids."""
    service = plane(request)
    passes = filters.parse(filter_of(request))
    rows = [one for one in await service.database.read(find) if passes(one)]
    collection = f"{request.scope['path']}?{filter_of(request)}"
    told = query_of(request, "$skiptoken")
    after = "" if told is None else str(paging.place(service.master, collection, told))
    rows = [one for one in rows if str(one["id"]) > after]
    size = _size(query_of(request, "$top"))
    body: Json = {"value": rows[:size]}
    if len(rows) > size:
        token = paging.token(service.master, collection, rows[size - 1]["id"])
        query = {name: value for name, value in request.query_params.items() if name.lower() != "$skiptoken"}
        path = quote(str(request.scope["path"]))
        body["@odata.nextLink"] = f"{origin(request)}{path}?{urlencode({**query, '$skiptoken': token})}"
    return JSONResponse(body)


def text(body: Mapping[str, Any], name: str, *, required: bool = False, longest: int = 256) -> str | None:
    """A text in a body; 400 for anything else, and for none where there has to be one."""
    value = body.get(name)
    if value is None and not required:
        return None
    if not isinstance(value, str) or not value.strip() or len(value) > longest or not value.isprintable():
        raise bad(f"'{name}' must be a text of 1 to {longest} characters.", name)
    return value.strip()


def password(body: Mapping[str, Any], name: str) -> str:
    """A password in a body, as it stands; what is wrong with it is not told here."""
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise bad(f"'{name}' must be a text.", name)
    return value


def truth(body: Mapping[str, Any], name: str) -> bool | None:
    """True, false, or nothing."""
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise bad(f"'{name}' must be true or false.", name)
    return value


def moment(body: Mapping[str, Any], name: str) -> float | None:
    """A date and time (ISO 8601; UTC where no zone is told) as Unix seconds."""
    value = body.get(name)
    if value is None:
        return None
    try:
        read = datetime.fromisoformat(str(value)[:40])
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as broken:
        raise bad(f"'{name}' must be a date and time such as 2030-01-31T00:00:00Z.", name) from broken


def bad(message: str, target: str | None = None) -> ApiError:
    """400 in Graph's words."""
    return ApiError(400, "Request_BadRequest", message, target)


def _size(told: str | None) -> int:
    if told is None:
        return _SIZE
    if not told.isascii() or not told.isdigit() or not 1 <= int(told[:5]) <= 999:
        raise bad("$top must be a number from 1 to 999.", "$top")
    return int(told)
