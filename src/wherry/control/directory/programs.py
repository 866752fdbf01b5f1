"""Applications and service principals: two views of a program, with one set of credentials.

A program may be named by its client id, or by the object id of either view.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wherry.control.access import Routes
from wherry.control.arm.request import body_of, caller_of
from wherry.control.caller import Caller
from wherry.control.directory import shapes
from wherry.control.directory.request import BASE, bad, listed, may, moment, text, truth
from wherry.control.plane import plane
from wherry.control.services import principals, programs
from wherry.control.services.programs import Program
from wherry.control.services.resource_store import Json

routes = Routes(BASE, case_insensitive=True)

_READ, _WRITE, _DELETE = may("applications/read"), may("applications/write"), may("applications/delete")


@routes.get("/applications", _READ)
async def list_applications(request: Request) -> Response:
    """All applications, or those that `$filter` selects."""
    return await listed(request, lambda conn: _sorted(conn, shapes.application, programs.everything(conn)))


@routes.get("/servicePrincipals", _READ)
async def list_service_principals(request: Request) -> Response:
    """All service principals, or those that `$filter` selects."""
    return await listed(
        request,
        lambda conn: _sorted(
            conn, shapes.service_principal, [one for one in programs.everything(conn) if one.oid]
        ),
    )


@routes.post("/applications", _WRITE)
async def create_application(request: Request) -> Response:
    """A new application, without a service principal and credentials."""
    body = await body_of(request)
    return JSONResponse(await plane(request).database.write(_create, caller_of(request), body), 201)


@routes.post("/servicePrincipals", _WRITE)
async def create_service_principal(request: Request) -> Response:
    """The service principal of the application with `appId`."""
    body = await body_of(request)
    return JSONResponse(await plane(request).database.write(_appear, caller_of(request), body), 201)


async def get_program(request: Request, program: str) -> Response:
    """A program, as the path wants to see it."""
    return JSONResponse(await plane(request).database.read(_seen, request, program))


async def change_program(request: Request, program: str) -> Response:
    """Another name, whether it may sign in, or the certificates that it has from now on."""
    body = await body_of(request)
    await plane(request).database.write(_change, caller_of(request), program, body)
    return Response(status_code=204)


async def delete_program(request: Request, program: str) -> Response:
    """End a service principal, or an application with it; tokens and role assignments go at once."""
    whole = not _is_principal(request)
    await plane(request).database.write(_delete, caller_of(request), program, whole)
    return Response(status_code=204)


async def add_password(request: Request, program: str) -> Response:
    """A new secret, shown in this answer only."""
    body = await body_of(request)
    return JSONResponse(await plane(request).database.write(_add_secret, caller_of(request), program, body))


async def remove_password(request: Request, program: str) -> Response:
    """Take a secret away, with all tokens that came by it."""
    body = await body_of(request)
    key_id = text(body, "keyId", required=True) or ""
    await plane(request).database.write(_remove_credential, caller_of(request), program, key_id, "secret")
    return Response(status_code=204)


async def owners(request: Request, program: str) -> Response:
    """Nobody: programs are owned by nobody here, roles on everything decide who changes them."""
    await plane(request).database.read(programs.require, program)
    return JSONResponse({"value": []})


for _view in ("applications", "servicePrincipals"):
    _path = f"/{_view}/{{program}}"
    routes.get(_path, _READ)(get_program)
    routes.patch(_path, _WRITE)(change_program)
    routes.delete(_path, _DELETE)(delete_program)
    routes.get(f"{_path}/owners", _READ)(owners)
    routes.post(f"{_path}/addPassword", _WRITE)(add_password)
    routes.post(f"{_path}/removePassword", _WRITE)(remove_password)


def _is_principal(request: Request) -> bool:
    return "/serviceprincipals/" in str(request.scope["path"]).lower()


def _sorted(
    conn: Connection, shape: Callable[[Connection, Program], Json], found: list[Program]
) -> list[Json]:
    return sorted((shape(conn, one) for one in found), key=lambda one: str(one["id"]))


def _seen(conn: Connection, request: Request, told: str) -> Json:
    found = programs.require(conn, told)
    if not _is_principal(request):
        return shapes.application(conn, found)
    if found.oid is None:
        raise principals.absent(told)
    return shapes.service_principal(conn, found)


def _create(conn: Connection, caller: Caller, body: Json) -> Json:
    made = programs.create(conn, text(body, "displayName", required=True) or "", caller.now)
    principals.account(conn, caller, "application-created", made.object_id, appId=made.app_id, name=made.name)
    _set_certificates(conn, caller, made, body)
    return shapes.application(conn, made)


def _appear(conn: Connection, caller: Caller, body: Json) -> Json:
    made = programs.appear(conn, programs.require(conn, text(body, "appId", required=True) or ""), caller.now)
    if truth(body, "accountEnabled") is False:
        principals.enable(conn, str(made.oid), False)
    principals.account(conn, caller, "service-principal-created", str(made.oid), appId=made.app_id)
    return shapes.service_principal(conn, programs.require(conn, made.app_id))


def _change(conn: Connection, caller: Caller, told: str, body: Json) -> None:
    found = programs.require(conn, told)
    name, enabled = text(body, "displayName"), truth(body, "accountEnabled")
    if name:
        programs.rename(conn, found, name)
    if enabled is not None and found.oid is not None and enabled != found.enabled:
        principals.enable(conn, found.oid, enabled)
    _set_certificates(conn, caller, found, body)
    principals.account(conn, caller, "program-changed", found.oid or found.object_id, enabled=enabled)


def _delete(conn: Connection, caller: Caller, told: str, whole: bool) -> None:
    found = programs.require(conn, told)
    if whole:
        programs.remove(conn, found, caller.now)
    else:
        programs.remove_principal(conn, found, caller.now)
    principals.account(conn, caller, "program-deleted", found.oid or found.object_id, appId=found.app_id)


def _add_secret(conn: Connection, caller: Caller, told: str, body: Json) -> Json:
    found = programs.require(conn, told)
    asked = body.get("passwordCredential") or {}
    if not isinstance(asked, dict):
        raise bad("'passwordCredential' must be an object.", "passwordCredential")
    starts = moment(asked, "startDateTime")
    # Clients name the second at which they ask; a program need not wait for its end.
    starts = caller.now if starts is None else starts
    made, secret = programs.add_secret(
        conn, found.app_id, text(asked, "displayName"), starts, moment(asked, "endDateTime")
    )
    _tell(conn, caller, "credential-added", found, made.key_id, "secret")
    return shapes.secret(made, secret)


def _remove_credential(conn: Connection, caller: Caller, told: str, key_id: str, kind: str) -> None:
    found = programs.require(conn, told)
    programs.remove_credential(conn, found.app_id, key_id, kind)
    _tell(conn, caller, "credential-removed", found, key_id, kind)


def _set_certificates(conn: Connection, caller: Caller, found: Program, body: Json) -> None:
    """`keyCredentials` as a client leaves them: those with a `key` are new, those that are not named any more go."""
    if body.get("keyCredentials") is None:
        return
    told = body["keyCredentials"]
    if not isinstance(told, list) or not all(isinstance(one, dict) for one in told):
        raise bad("'keyCredentials' must be a list of objects.", "keyCredentials")
    kept = {str(one.get("keyId")).lower() for one in told if not one.get("key")}
    for one in programs.credentials(conn, found.app_id):
        if one.kind == "certificate" and one.key_id not in kept:
            _remove_credential(conn, caller, found.app_id, one.key_id, "certificate")
    for one in told:
        if one.get("key"):
            made = programs.add_certificate(
                conn, found.app_id, text(one, "displayName"), _content(one["key"]), moment(one, "endDateTime"),
                caller.now,
            )  # fmt: skip
            _tell(conn, caller, "credential-added", found, made.key_id, "certificate")


def _content(told: Any) -> bytes:
    try:
        return base64.b64decode("".join(str(told).split()), validate=True)
    except (binascii.Error, ValueError) as broken:
        raise bad("'key' must be a certificate, base64 of its DER form.", "keyCredentials") from broken


def _tell(conn: Connection, caller: Caller, event: str, found: Program, key_id: str, kind: str) -> None:
    oid = found.oid or found.object_id
    principals.account(conn, caller, event, oid, appId=found.app_id, keyId=key_id, kind=kind)
