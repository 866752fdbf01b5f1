"""Second factors as those see and reset them who look after the directory.  Adding one is the person's own matter."""

from __future__ import annotations

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wherry.control.access import Routes
from wherry.control.arm.request import caller_of
from wherry.control.caller import Caller
from wherry.control.directory.request import BASE, may
from wherry.control.plane import plane
from wherry.control.services import factors, principals, users
from wherry.control.services.factors import Factor
from wherry.control.services.resource_store import Json
from wherry.control.services.users import User
from wherry.model.outcomes import iso_time

routes = Routes(BASE, case_insensitive=True)

_TYPES = {"totp": "softwareOath", "passkey": "fido2"}


@routes.get("/users/{user}/authentication/methods", may("users/read"))
async def list_methods(request: Request, user: str) -> Response:
    """What a user proves more than the password with; never what proves it."""
    return JSONResponse({"value": await plane(request).database.read(_methods, user)})


@routes.post("/users/{user}/authentication/reset", may("users/write"))
async def reset(request: Request, user: str) -> Response:
    """Forget all second factors and recovery codes of a user and end all sign-ins: the next one sets up another."""
    await plane(request).database.write(_reset, caller_of(request), user)
    return Response(status_code=204)


def _methods(conn: Connection, name: str) -> list[Json]:
    user = _require(conn, name)
    left = factors.codes_left(conn, user.oid)
    told = [_shape(one) for one in factors.of(conn, user.oid)]
    if left:
        told.append({"@odata.type": "#wherry.recoveryCodes", "id": "recovery", "displayName": "Recovery codes",
                     "left": left})  # fmt: skip
    return told


def _reset(conn: Connection, caller: Caller, name: str) -> None:
    user = _require(conn, name)
    count = factors.reset(conn, user.oid)
    principals.end_sign_ins(conn, user.oid)
    principals.account(conn, caller, "factors-reset", user.oid, login=user.login, factors=count)


def _require(conn: Connection, name: str) -> User:
    found = users.find(conn, name)
    if found is None:
        raise principals.absent(name)
    return found


def _shape(one: Factor) -> Json:
    return {
        "@odata.type": f"#microsoft.graph.{_TYPES[one.kind]}AuthenticationMethod",
        "id": one.id,
        "displayName": one.name,
        "createdDateTime": iso_time(one.created_at),
        "lastUsedDateTime": None if one.used_at is None else iso_time(one.used_at),
    }
