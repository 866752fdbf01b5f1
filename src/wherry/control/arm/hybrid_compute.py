"""Microsoft.HybridCompute: machines, to be read and deleted; agents make them when they register."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from wherry.control.access import Routes, resource
from wherry.control.arm import generic
from wherry.control.arm.request import target_of
from wherry.control.services.types.hybrid_compute import MACHINE
from wherry.model.errors import ApiError

routes = Routes(case_insensitive=True)

generic.declare(routes, MACHINE)


async def _refuse(request: Request) -> Response:
    target_of(request, MACHINE)
    raise ApiError(
        405,
        "MethodNotAllowed",
        "Machines are made and changed by their agents: run `wherry agent register` there.",
    )


for _method in ("PUT", "PATCH"):
    routes.route(_method, generic.item(MACHINE), resource(MACHINE.action("write")))(_refuse)
