"""Routes made from the description of a type: PUT, GET, PATCH, DELETE and lists.

A provider's module calls `declare` for each of its types; what a type does otherwise it declares itself.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wherry.control.access import Routes, resource
from wherry.control.arm import paging
from wherry.control.arm.request import (
    after_of,
    answer,
    body_of,
    caller_of,
    check_subscription,
    check_version,
    conditions_of,
    origin,
    page,
    target_of,
)
from wherry.control.plane import plane
from wherry.control.services import resources
from wherry.control.services.resources import Deleted
from wherry.control.services.types.schema import ResourceType

SUBSCRIPTION = "/subscriptions/{subscription}"
GROUP = f"{SUBSCRIPTION}/resourceGroups/{{group}}"


def collection(kind: ResourceType, root: str = GROUP) -> str:
    """The path of the collection of a type."""
    path = f"{root}/providers/{kind.provider}"
    for at, part in enumerate(kind.path):
        name, _, fixed = part.partition("=")
        path += f"/{name}" if at == len(kind.path) - 1 else f"/{name}/{fixed or f'{{n{at}}}'}"
    return path


def item(kind: ResourceType) -> str:
    """The path of a resource of a type."""
    return f"{collection(kind)}/{{name}}"


def declare(routes: Routes, kind: ResourceType, *without: str) -> None:
    """Declare the verbs that a type has, except those named."""
    verbs = kind.verbs - set(without)
    if "put" in verbs:
        _put(routes, kind)
    if "get" in verbs:
        _get(routes, kind)
    if "patch" in verbs:
        _patch(routes, kind)
    if "delete" in verbs:
        _delete(routes, kind)
    if "list" in verbs:
        _list(routes, kind)
    if "list" in verbs and kind.tracked:
        _list_of_subscription(routes, kind)


def deleted(request: Request, kind: ResourceType, found: Deleted | None) -> Response:
    """The answer to a delete: 204 for nothing, 200, or 202 with where to poll."""
    if found is None:
        return Response(status_code=204)
    if found.operation is None:
        return Response(status_code=200)
    subscription = plane(request).subscription
    version = check_version(request, kind.provider)
    url = (
        f"{origin(request)}/subscriptions/{subscription}/providers/{kind.provider}/locations/"
        f"{found.location.upper()}/operationStatuses/{found.operation}?api-version={version}"
    )
    headers = {"Location": url, "Azure-AsyncOperation": url, "Retry-After": "1", "ETag": found.resource.etag}
    return JSONResponse(None, 202, headers=headers)


def _put(routes: Routes, kind: ResourceType) -> None:
    @routes.put(item(kind), resource(kind.action("write")))
    async def put(request: Request) -> Response:
        target, body = target_of(request, kind), await body_of(request)
        return answer(
            await plane(request).database.write(
                resources.put, caller_of(request), target, body, conditions_of(request)
            )
        )


def _get(routes: Routes, kind: ResourceType) -> None:
    @routes.get(item(kind), resource(kind.action("read")))
    async def get(request: Request) -> Response:
        return answer(await plane(request).database.read(resources.get, target_of(request, kind)))


def _patch(routes: Routes, kind: ResourceType) -> None:
    @routes.patch(item(kind), resource(kind.action("write")))
    async def patch(request: Request) -> Response:
        target, body = target_of(request, kind), await body_of(request)
        return answer(
            await plane(request).database.write(
                resources.patch, caller_of(request), target, body, conditions_of(request)
            )
        )


def _delete(routes: Routes, kind: ResourceType) -> None:
    @routes.delete(item(kind), resource(kind.action("delete")))
    async def delete(request: Request) -> Response:
        target = target_of(request, kind)
        found = await plane(request).database.write(
            resources.delete, caller_of(request), target, conditions_of(request)
        )
        return deleted(request, kind, found)


def _list(routes: Routes, kind: ResourceType) -> None:
    @routes.get(collection(kind), resource(kind.action("read")))
    async def list_in(request: Request) -> Response:
        target = target_of(request, kind, parent=True)
        found = await plane(request).database.read(
            resources.list_in, target, kind, after_of(request) or "", paging.SIZE
        )
        return page(request, found.items, found.after)


def _list_of_subscription(routes: Routes, kind: ResourceType) -> None:
    @routes.get(collection(kind, SUBSCRIPTION), resource(kind.action("read")))
    async def list_under(request: Request) -> Response:
        version = check_version(request, kind.provider)
        subscription = str(request.path_params["subscription"])
        check_subscription(request, subscription)
        found = await plane(request).database.read(
            resources.list_under,
            f"/subscriptions/{subscription}",
            kind,
            after_of(request) or "",
            paging.SIZE,
            version,
        )
        return page(request, found.items, found.after)
