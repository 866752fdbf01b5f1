"""Microsoft.KeyVault/vaults: made, shown and deleted as any resource; an answer tells where the vault is reached."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from wherry.control.access import Routes, resource
from wherry.control.arm import generic, paging
from wherry.control.arm.request import (
    after_of,
    answer,
    body_of,
    caller_of,
    check_subscription,
    check_version,
    conditions_of,
    page,
    target_of,
)
from wherry.control.plane import Plane, plane
from wherry.control.services import resources
from wherry.control.services.resource_store import Json
from wherry.control.services.resources import Answer
from wherry.control.services.types.key_vault import PROVIDER, VAULT
from wherry.control.services.types.schema import invalid
from wherry.control.vault import host

routes = Routes(case_insensitive=True)

generic.declare(routes, VAULT, "put", "patch", "get", "list")


@routes.put(generic.item(VAULT), resource(VAULT.action("write")))
async def put_vault(request: Request) -> Response:
    """Make a vault, or change it."""
    service, target, body = plane(request), target_of(request, VAULT), await body_of(request)
    if target.id.name.lower() != host.DEFAULT and not host.is_named(service):
        message = f"Only a vault named '{host.DEFAULT}' can be reached at an address: serve with --public-url first."
        raise invalid("name", message)
    written = await service.database.write(
        resources.put, caller_of(request), target, body, conditions_of(request)
    )
    return _answer(service, written)


@routes.patch(generic.item(VAULT), resource(VAULT.action("write")))
async def patch_vault(request: Request) -> Response:
    """Change a vault."""
    service, target, body = plane(request), target_of(request, VAULT), await body_of(request)
    written = await service.database.write(
        resources.patch, caller_of(request), target, body, conditions_of(request)
    )
    return _answer(service, written)


@routes.get(generic.item(VAULT), resource(VAULT.action("read")))
async def get_vault(request: Request) -> Response:
    """One vault."""
    service = plane(request)
    return _answer(service, await service.database.read(resources.get, target_of(request, VAULT)))


@routes.get(generic.collection(VAULT), resource(VAULT.action("read")))
async def list_in_group(request: Request) -> Response:
    """The vaults of a group."""
    service, target = plane(request), target_of(request, VAULT, parent=True)
    after = after_of(request) or ""
    found = await service.database.read(resources.list_in, target, VAULT, after, paging.SIZE)
    return page(request, [_shown(service, one) for one in found.items], found.after)


@routes.get(generic.collection(VAULT, generic.SUBSCRIPTION), resource(VAULT.action("read")))
async def list_in_subscription(request: Request) -> Response:
    """The vaults of all groups."""
    check_version(request, PROVIDER)
    service, subscription = plane(request), str(request.path_params["subscription"])
    check_subscription(request, subscription)
    found = await service.database.read(
        resources.list_under, f"/subscriptions/{subscription}", VAULT, after_of(request) or "", paging.SIZE
    )
    return page(request, [_shown(service, one) for one in found.items], found.after)


def _answer(service: Plane, found: Answer) -> Response:
    _shown(service, found.body)
    return answer(found)


def _shown(service: Plane, body: Json) -> Json:
    body["properties"]["vaultUri"] = host.uri_of(service, body["name"]) + "/"
    return body
