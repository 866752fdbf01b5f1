"""What an ARM request says, and how its answers look.

Resource ids are read from the path that the guard decided on; a route serves one type, and an id of another
one is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wherry.control import plane
from wherry.control.arm import paging
from wherry.control.caller import Caller
from wherry.control.services.resource_store import Json
from wherry.control.services.resources import Answer, Conditions
from wherry.control.services.types import registry, storage_mover
from wherry.control.services.types.registry import Target
from wherry.control.services.types.schema import ResourceType
from wherry.model import ids
from wherry.model.errors import ApiError

_JSON = "application/json"
_LEVELS = 32
_VERSION = re.compile(r"\d{4}-\d\d-\d\d(-preview)?")


def path_of(request: Request) -> str:
    """The decoded path; unlike `request.url` it keeps what looks like a query and was encoded."""
    return ids.check(str(request.scope["path"]))


def caller_of(request: Request) -> Caller:
    """Who asks, as services take it."""
    return Caller(plane.caller(request), plane.request_id(request), plane.plane(request).clock())


def target_of(request: Request, kind: ResourceType, suffix: str = "", *, parent: bool = False) -> Target:
    """The resource of type `kind` that the path names, without a `suffix` such as `/startJob`.

    With `parent` the path is a collection of `kind`, and the target what the collection lies in.
    """
    version = check_version(request, kind.provider)
    path = path_of(request)
    path = path[: len(path) - len(suffix)]
    found = registry.target(path + "/x" if parent else path)
    if found.type is not kind:
        raise ApiError(
            404, "InvalidResourceType", f"The path does not name a resource of type '{kind.full}'."
        )
    check_subscription(request, found.id.subscription)
    return replace(registry.target(str(found.parent_id)) if parent else found, version=version)


def check_subscription(request: Request, subscription: str) -> None:
    """404 for a subscription that is not ours."""
    if subscription.lower() != plane.plane(request).subscription.lower():
        raise ApiError(404, "SubscriptionNotFound", f"The subscription '{subscription}' could not be found.")


def check_version(request: Request, provider: str) -> str:
    """The api-version of a request; 400 for none, a malformed one, or one that Microsoft.StorageMover never had."""
    told = query_of(request, "api-version")
    if told is None:
        raise ApiError(
            400, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required."
        )
    if not _VERSION.fullmatch(told):
        raise ApiError(400, "InvalidApiVersionParameter", f"The api-version '{told[:40]}' is invalid.")
    if provider == storage_mover.PROVIDER and told not in storage_mover.API_VERSIONS:
        known = ", ".join(storage_mover.API_VERSIONS)
        raise ApiError(
            400,
            "NoRegisteredProviderFound",
            f"No registered resource provider found for API version '{told}' of '{provider}'. "
            f"The supported api-versions are '{known}'.",
        )
    return told


async def body_of(request: Request) -> Json:
    """The JSON object that a request carries.

    400 `InvalidRequestContent` for anything else, 415 for what says itself that it is: a page of somebody else can make
    a browser send a form or plain text without a question, and never JSON.
    """
    kind = request.headers.get("content-type", _JSON).partition(";")[0].strip().lower()
    if kind != _JSON:
        message = f"The content media type '{kind[:60]}' is not supported. Only '{_JSON}' is supported."
        raise ApiError(415, "UnsupportedMediaType", message)
    raw = await request.body()
    try:
        body = json.loads(raw, parse_constant=_no_constant)
        json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as broken:
        raise ApiError(
            400, "InvalidRequestContent", "The request content was invalid: it is not JSON."
        ) from broken
    if not isinstance(body, dict) or _deeper(body, _LEVELS):
        raise ApiError(
            400,
            "InvalidRequestContent",
            f"The request content was invalid: an object is expected, of at most {_LEVELS} levels.",
        )
    return body


def conditions_of(request: Request) -> Conditions:
    """The conditions on the state of the resource."""
    return Conditions(request.headers.get("if-match"), request.headers.get("if-none-match"))


def after_of(request: Request) -> Any:
    """Where the page begins that is asked for; None for the first."""
    told = query_of(request, "$skiptoken")
    return None if told is None else paging.place(plane.plane(request).master, _collection(request), told)


def query_of(request: Request, name: str) -> str | None:
    """A query parameter, by its name in lower case: OData's names have none."""
    found = [value for key, value in request.query_params.multi_items() if key.lower() == name]
    return found[0] if found else None


def filter_of(request: Request) -> str:
    """The `$filter` of a list, empty for none."""
    return (query_of(request, "$filter") or "").strip()


def answer(found: Answer, status: int = 200) -> Response:
    """A resource with its etag."""
    return JSONResponse(found.body, status, headers={"ETag": found.etag})


def page(request: Request, items: Sequence[Json], after: Any) -> Response:
    """A page of a list; `after` is where the next begins, None at the end."""
    body: Json = {"value": list(items)}
    if after is not None:
        told = paging.token(plane.plane(request).master, _collection(request), after)
        query = {name: value for name, value in request.query_params.items() if name.lower() != "$skiptoken"}
        body["nextLink"] = (
            f"{origin(request)}{quote(path_of(request))}?{urlencode(query | {'$skiptoken': told})}"
        )
    return JSONResponse(body)


def origin(request: Request) -> str:
    """The address that the client knows this service by, as far as it is one of its own."""
    service = plane.plane(request)
    told = f"https://{request.headers.get('host', '')}"
    return told if told in service.origins else service.public_url


def _collection(request: Request) -> str:
    return f"{path_of(request)}?{filter_of(request)}"


def _deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, (dict, list)):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper(one, levels - 1) for one in inner)


def _no_constant(word: str) -> Callable[..., Any]:
    raise ValueError(word)
