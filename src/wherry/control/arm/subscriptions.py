"""Microsoft.Resources: tenants, subscriptions, their locations and providers, and resource groups."""

from __future__ import annotations

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wherry.control.access import Routes, bearer, resource
from wherry.control.arm import generic, paging
from wherry.control.arm.request import (
    after_of,
    answer,
    body_of,
    caller_of,
    check_subscription,
    check_version,
    conditions_of,
    filter_of,
    page,
    target_of,
)
from wherry.control.plane import Plane, caller, plane
from wherry.control.services import resources, role_assignments
from wherry.control.services.resource_store import Json
from wherry.control.services.types.registry import PROVIDERS, TYPES
from wherry.control.services.types.resource_groups import GROUP, PROVIDER
from wherry.control.services.types.schema import invalid
from wherry.model import ids
from wherry.model.errors import ApiError

NAME = "Wherry"
LOCATION = {"name": "local", "displayName": "Local"}

_GROUPS = f"{generic.SUBSCRIPTION}/resourceGroups"
_READ = "Microsoft.Resources/subscriptions/read"

routes = Routes(case_insensitive=True)


@routes.get("/tenants", bearer())
async def list_tenants(request: Request) -> Response:
    """The one tenant of this deployment."""
    check_version(request, PROVIDER)
    tenant = plane(request).tenant
    body = {"id": f"/tenants/{tenant}", "tenantId": tenant, "displayName": NAME, "tenantCategory": "Home"}
    return page(request, [body], None)


@routes.get("/subscriptions", bearer())
async def list_subscriptions(request: Request) -> Response:
    """The subscription, for whoever has any role in it."""
    check_version(request, PROVIDER)
    service = plane(request)
    seen = await service.database.read(_sees, caller(request).oid, service.subscription)
    return page(request, [_subscription(service)] if seen else [], None)


@routes.get(generic.SUBSCRIPTION, resource(_READ))
async def get_subscription(request: Request) -> Response:
    """The subscription."""
    _check(request)
    return JSONResponse(_subscription(plane(request)))


@routes.get(f"{generic.SUBSCRIPTION}/locations", resource("Microsoft.Resources/subscriptions/locations/read"))
async def list_locations(request: Request) -> Response:
    """The one place of a deployment; resources may name any other."""
    _check(request)
    where = f"/subscriptions/{plane(request).subscription}/locations/{LOCATION['name']}"
    body = {"id": where, **LOCATION, "regionalDisplayName": LOCATION["displayName"], "type": "Region"}
    return page(request, [body], None)


@routes.get(f"{generic.SUBSCRIPTION}/providers", resource("Microsoft.Resources/subscriptions/providers/read"))
async def list_providers(request: Request) -> Response:
    """The providers that are served."""
    _check(request)
    return page(request, [_provider(plane(request), name) for name in PROVIDERS], None)


@routes.get(
    f"{generic.SUBSCRIPTION}/providers/{{provider}}",
    resource("Microsoft.Resources/subscriptions/providers/read"),
)
async def get_provider(request: Request) -> Response:
    """A provider with its types."""
    _check(request)
    return JSONResponse(_provider(plane(request), str(request.path_params["provider"])))


async def _register(request: Request) -> Response:
    # Providers are always registered; clients ask nevertheless.
    _check(request)
    return JSONResponse(_provider(plane(request), str(request.scope["path"]).split("/")[4]))


for _name in PROVIDERS:
    routes.post(f"{generic.SUBSCRIPTION}/providers/{_name}/register", resource(f"{_name}/register/action"))(
        _register
    )


@routes.put(f"{_GROUPS}/{{group}}", resource(GROUP.action("write")))
async def put_group(request: Request) -> Response:
    """201 for a new group, 200 for one that is there."""
    target, body = target_of(request, GROUP), await body_of(request)
    written = await plane(request).database.write(
        resources.put, caller_of(request), target, body, conditions_of(request)
    )
    return answer(written, 201 if written.created else 200)


@routes.get(f"{_GROUPS}/{{group}}", resource(GROUP.action("read")))
async def get_group(request: Request) -> Response:
    """A group."""
    return answer(await plane(request).database.read(resources.get, target_of(request, GROUP)))


@routes.head(f"{_GROUPS}/{{group}}", resource(GROUP.action("read")))
async def has_group(request: Request) -> Response:
    """204 when the group is there, else 404."""
    await plane(request).database.read(resources.require, target_of(request, GROUP))
    return Response(status_code=204)


@routes.patch(f"{_GROUPS}/{{group}}", resource(GROUP.action("write")))
async def patch_group(request: Request) -> Response:
    """Change tags."""
    target, body = target_of(request, GROUP), await body_of(request)
    return answer(
        await plane(request).database.write(
            resources.patch, caller_of(request), target, body, conditions_of(request)
        )
    )


@routes.delete(f"{_GROUPS}/{{group}}", resource(GROUP.action("delete")))
async def delete_group(request: Request) -> Response:
    """Delete a group with all that lies in it."""
    target = target_of(request, GROUP)
    found = await plane(request).database.write(
        resources.delete, caller_of(request), target, conditions_of(request)
    )
    if found is None:
        raise resources.absent(target)
    return Response(status_code=200)


@routes.get(_GROUPS, resource(GROUP.action("read")))
async def list_groups(request: Request) -> Response:
    """The groups of the subscription."""
    _check(request)
    if filter_of(request):
        raise invalid("$filter", "Groups cannot be filtered here.", "InvalidFilter")
    scope = f"/subscriptions/{plane(request).subscription}"
    found = await plane(request).database.read(
        resources.list_under, scope, GROUP, after_of(request) or "", paging.SIZE
    )
    return page(request, found.items, found.after)


def _check(request: Request) -> None:
    check_version(request, PROVIDER)
    check_subscription(request, str(request.path_params["subscription"]))


def _sees(conn: Connection, oid: str, subscription: str) -> bool:
    ours = f"/subscriptions/{subscription}"
    given = role_assignments.facts_of(conn, oid, 0.0).assignments
    return any(ids.contains(one.scope, ours) or ids.contains(ours, one.scope) for one in given)


def _subscription(service: Plane) -> Json:
    return {
        "id": f"/subscriptions/{service.subscription}",
        "subscriptionId": service.subscription,
        "tenantId": service.tenant,
        "displayName": NAME,
        "state": "Enabled",
        "authorizationSource": "RoleBased",
        "subscriptionPolicies": {
            "locationPlacementId": "Public_2014-09-01",
            "quotaId": NAME,
            "spendingLimit": "Off",
        },
    }


def _provider(service: Plane, told: str) -> Json:
    for name, versions in PROVIDERS.items():
        if name.lower() == told.lower():
            kinds = [kind for kind in TYPES.values() if kind.provider == name]
            return {
                "id": f"/subscriptions/{service.subscription}/providers/{name}",
                "namespace": name,
                "registrationPolicy": "RegistrationFree",
                "registrationState": "Registered",
                "resourceTypes": [
                    {
                        "resourceType": "/".join(kind.kinds),
                        "locations": [LOCATION["displayName"]],
                        "apiVersions": list(versions),
                    }
                    for kind in kinds
                ],
            }
    raise ApiError(404, "InvalidResourceNamespace", f"The resource namespace '{told}' is invalid.")
