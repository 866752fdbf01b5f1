"""Microsoft.Storage: accounts (registrations of real back ends) and their Blob containers.

A container that is registered is made on the back end when it is missing.  Deleting a registration, of a
container or of an account, never deletes anything there; the answer says so.
"""

from __future__ import annotations

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response

from wherry.control.access import Routes, resource
from wherry.control.arm import generic
from wherry.control.arm.request import answer, body_of, caller_of, conditions_of, target_of
from wherry.control.plane import plane
from wherry.control.services import accounts, resources
from wherry.control.services.types.registry import Target
from wherry.control.services.types.schema import ResourceType
from wherry.control.services.types.storage import ACCOUNT, CONTAINER

NOTE = "x-wherry-note"

routes = Routes(case_insensitive=True)

generic.declare(routes, ACCOUNT, "put", "patch", "delete")
generic.declare(routes, CONTAINER, "put", "get", "delete")


@routes.put(generic.item(ACCOUNT), resource(ACCOUNT.action("write")))
async def put_account(request: Request) -> Response:
    """Register a back end, or change where it is."""
    service, target, body = plane(request), target_of(request, ACCOUNT), await body_of(request)
    return answer(
        await service.database.write(
            accounts.put, caller_of(request), target, body, conditions_of(request), service.master
        )
    )


@routes.patch(generic.item(ACCOUNT), resource(ACCOUNT.action("write")))
async def patch_account(request: Request) -> Response:
    """Change a registration; a new key alone is a change too."""
    service, target, body = plane(request), target_of(request, ACCOUNT), await body_of(request)
    return answer(
        await service.database.write(
            accounts.patch, caller_of(request), target, body, conditions_of(request), service.master
        )
    )


@routes.put(generic.item(CONTAINER), resource(CONTAINER.action("write")))
async def put_container(request: Request) -> Response:
    """Register a container; makes it on the back end when it is missing there."""
    from wherry.control.broker.accounts import ensure_container

    service, target, body = plane(request), target_of(request, CONTAINER), await body_of(request)
    resources.check_name(target)
    account = await service.database.read(accounts.load, service.master, str(target.parent_id))
    made = await anyio.to_thread.run_sync(ensure_container, account, target.id.name)
    written = await service.database.write(
        resources.put, caller_of(request), target, body, conditions_of(request)
    )
    written.body["properties"]["wherry"] = {"state": "Available", "created": made}
    return answer(written)


@routes.get(generic.item(CONTAINER), resource(CONTAINER.action("read")))
async def get_container(request: Request) -> Response:
    """A registered container, and whether the back end has it at this moment."""
    from wherry.control.broker.accounts import container_state

    service, target = plane(request), target_of(request, CONTAINER)
    found = await service.database.read(resources.get, target)
    account = await service.database.read(accounts.load, service.master, str(target.parent_id))
    found.body["properties"]["wherry"] = {
        "state": await anyio.to_thread.run_sync(container_state, account, found.body["name"])
    }
    return answer(found)


@routes.delete(generic.item(CONTAINER), resource(CONTAINER.action("delete")))
async def delete_container(request: Request) -> Response:
    """Forget a container; the container itself stays."""
    return await _forget(request, CONTAINER, target_of(request, CONTAINER))


@routes.delete(generic.item(ACCOUNT), resource(ACCOUNT.action("delete")))
async def delete_account(request: Request) -> Response:
    """Forget a back end, its key and its containers; the back end itself stays as it is."""
    return await _forget(request, ACCOUNT, target_of(request, ACCOUNT))


async def _forget(request: Request, kind: ResourceType, target: Target) -> Response:
    found = await plane(request).database.write(
        resources.delete, caller_of(request), target, conditions_of(request)
    )
    response = generic.deleted(request, kind, found)
    response.headers[NOTE] = "The registration is deleted; the storage and its data are untouched."
    return response
