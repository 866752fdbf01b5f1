"""Users: making, changing and ending them, and what everybody may do for themselves."""

from __future__ import annotations

import re
from functools import partial

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wherry.control.access import Routes, bearer
from wherry.control.arm.request import body_of, caller_of
from wherry.control.caller import Caller
from wherry.control.directory import shapes
from wherry.control.directory.request import BASE, bad, listed, may, password, text, truth
from wherry.control.plane import Plane, plane, source
from wherry.control.services import memberships, principals, users
from wherry.control.services.resource_store import Json
from wherry.control.services.users import User
from wherry.model import ids
from wherry.model.errors import ApiError
from wherry.trust import passwords

routes = Routes(BASE, case_insensitive=True)

_LOGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,112}")


@routes.get("/users", may("users/read"))
async def list_users(request: Request) -> Response:
    """All users, or those that `$filter` selects."""
    return await listed(request, lambda conn: [shapes.user(one) for one in users.everyone(conn)])


@routes.post("/users", may("users/write"))
async def create_user(request: Request) -> Response:
    """A new user with a first password, which has to be changed at the first sign-in unless that is told otherwise."""
    body = await body_of(request)
    login = text(body, "userPrincipalName", required=True, longest=113) or ""
    if not _LOGIN.fullmatch(login) or ids.GUID.match(login):
        raise bad("A user name has letters, digits and . _ @ + - only.", "userPrincipalName")
    told = await _password(plane(request), body, login)
    if told is None:
        raise bad("A first password is needed: passwordProfile.password.", "passwordProfile")
    name = text(body, "displayName") or login
    made = await plane(request).database.write(_create, caller_of(request), login, name, body, told)
    return JSONResponse(made, 201)


@routes.get("/users/{user}", may("users/read"))
async def get_user(request: Request, user: str) -> Response:
    """A user by object id or name."""
    return JSONResponse(shapes.user(await plane(request).database.read(_require, user)))


@routes.patch("/users/{user}", may("users/write"))
async def change_user(request: Request, user: str) -> Response:
    """Another name to show, another password, or whether the user may sign in; the last two end all sign-ins."""
    body = await body_of(request)
    found = await plane(request).database.read(_require, user)
    told = await _password(plane(request), body, found.login)
    await plane(request).database.write(_change, caller_of(request), found.oid, body, told)
    return Response(status_code=204)


@routes.delete("/users/{user}", may("users/delete"))
async def delete_user(request: Request, user: str) -> Response:
    """End a user with all tokens, sessions, memberships and role assignments, at once."""
    await plane(request).database.write(_delete, caller_of(request), user)
    return Response(status_code=204)


@routes.post("/users/{user}/revokeSignInSessions", may("users/write"))
async def revoke(request: Request, user: str) -> Response:
    """End all sign-ins of a user, who may sign in again."""
    await plane(request).database.write(_revoke, caller_of(request), user)
    return JSONResponse({"value": True})


@routes.post("/users/{user}/getMemberGroups", may("users/read"))
async def get_member_groups(request: Request, user: str) -> Response:
    """The groups that a user is in, directly or through others."""
    found = await plane(request).database.read(_require, user)
    within = await plane(request).database.read(memberships.groups_of, found.oid)
    return JSONResponse({"value": sorted(within)})


@routes.get("/me", bearer("graph"))
async def me(request: Request) -> Response:
    """Who asks; 404 for a program, which is no user."""
    return JSONResponse(
        shapes.user(await plane(request).database.read(_require, caller_of(request).principal.oid))
    )


@routes.post("/me/changePassword", bearer("graph"))
async def change_password(request: Request) -> Response:
    """Everybody may change the own password, by proving to know it; all other sign-ins end."""
    body, who = await body_of(request), caller_of(request)
    current, new = password(body, "currentPassword"), password(body, "newPassword")
    found = await plane(request).database.read(_require, who.principal.oid)
    await change_own(plane(request), found, current, new, source(request), who, keep=who.principal.session)
    return Response(status_code=204)


async def change_own(
    service: Plane, user: User, current: str, new: str, address: str, caller: Caller, *, keep: str = ""
) -> None:
    """Check the current password as a sign-in does, and set a new one; 400 says what is wrong with it."""
    if current == new:
        raise ApiError(400, "PasswordUnchanged", "Choose another password than the current one.")
    _refuse_weak(new, user.login)
    first = service.settings.first_password_seconds
    _, verifier = await service.database.read(users.verifier_of, user.login, caller.now, first)
    right = await service.hashing.run(user.oid, partial(passwords.matches, verifier, current))
    if not await service.database.write(_count, user.login, address, right, caller.now):
        raise ApiError(400, "InvalidPassword", "The current password is wrong, or there were too many tries.")
    made = await service.hashing.run(user.oid, partial(passwords.protect, new))
    await service.database.write(_set_own, caller, user.oid, made, keep)


def _count(conn: Connection, login: str, address: str, right: bool, now: float) -> bool:
    return users.record_attempt(conn, login, address, right=right, now=now)


def _set_own(conn: Connection, caller: Caller, oid: str, verifier: str, keep: str) -> None:
    users.set_password(conn, oid, verifier, caller.now, must_change=False)
    principals.end_other_sign_ins(conn, oid, keep)
    principals.account(conn, caller, "password", oid, by="the user")


async def _password(service: Plane, body: Json, login: str) -> tuple[str, bool] | None:
    """(verifier, must be changed) of a `passwordProfile`; nothing when it tells no password."""
    profile = body.get("passwordProfile")
    if profile is None:
        return None
    if not isinstance(profile, dict):
        raise bad("'passwordProfile' must be an object.", "passwordProfile")
    chosen = password(profile, "password")
    _refuse_weak(chosen, login)
    force = truth(profile, "forceChangePasswordNextSignIn")
    made = await service.hashing.run(login, partial(passwords.protect, chosen))
    return made, force is not False


def _refuse_weak(chosen: str, login: str) -> None:
    weak = passwords.weakness(chosen, login)
    if weak:
        raise ApiError(400, "PasswordTooWeak", weak, "password")


def _require(conn: Connection, name: str) -> User:
    found = users.find(conn, name)
    if found is None:
        raise principals.absent(name)
    return found


def _create(
    conn: Connection, caller: Caller, login: str, name: str, body: Json, told: tuple[str, bool]
) -> Json:
    oid = users.add(conn, login, name, told[0], caller.now, must_change=told[1])
    if truth(body, "accountEnabled") is False:
        principals.enable(conn, oid, False)
    principals.account(conn, caller, "user-created", oid, login=login.lower())
    return shapes.user(_require(conn, oid))


def _change(conn: Connection, caller: Caller, oid: str, body: Json, told: tuple[str, bool] | None) -> None:
    user = _require(conn, oid)
    name, enabled = text(body, "displayName"), truth(body, "accountEnabled")
    if text(body, "userPrincipalName") not in (None, user.login):
        raise bad("A user name is fixed. Make another user.", "userPrincipalName")
    if name:
        users.rename(conn, oid, name)
    if told is not None:
        users.set_password(conn, oid, told[0], caller.now, must_change=told[1])
        principals.end_sign_ins(conn, oid)
    if enabled is not None and enabled != user.enabled:
        principals.enable(conn, oid, enabled)
    changed = [word for word, value in (("name", name), ("password", told)) if value]
    principals.account(conn, caller, "user-changed", oid, changed=changed, enabled=enabled)


def _delete(conn: Connection, caller: Caller, name: str) -> None:
    user = _require(conn, name)
    users.delete(conn, user.oid, caller.now)
    principals.account(conn, caller, "user-deleted", user.oid, login=user.login)


def _revoke(conn: Connection, caller: Caller, name: str) -> None:
    user = _require(conn, name)
    principals.end_sign_ins(conn, user.oid)
    principals.account(conn, caller, "sign-ins-ended", user.oid)
