"""Routes of vaults: secrets as Azure's clients set, get, list, delete and recover them.

Each reading of a value is a record of its own in the audit trail, in the transaction that unseals it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wherry.control import audit
from wherry.control.access import Access, Routes, resource
from wherry.control.arm import paging
from wherry.control.arm.request import body_of, path_of, query_of
from wherry.control.caller import Caller
from wherry.control.plane import caller, plane, request_id, source
from wherry.control.services import vault_backup, vault_secrets
from wherry.control.services.vault_secrets import LONGEST_VALUE, NAME, Vault, Wanted
from wherry.control.vault import host
from wherry.model.errors import ApiError
from wherry.trust.keys import MasterKey
from wherry.trust.principals import Principal

P = ParamSpec("P")
T = TypeVar("T")
Json = dict[str, Any]

routes = Routes()

_ACTIONS = "Microsoft.KeyVault/vaults/secrets"
_SECRET = "/secrets/{secret}"  # noqa: S105 - a path
_GONE = "/deletedsecrets/{secret}"
_VERSION = re.compile(r"(7\.\d|\d{4}-\d\d-\d\d)(-preview(\.\d)?)?")
_LATEST = 253402300799
_PAGE = 25
_TAGS = 15


def _may(verb: str) -> Access:
    return resource(f"{_ACTIONS}/{verb}", host.scope, data=True, audience="vault")


GET, META, SET = _may("getSecret/action"), _may("readMetadata/action"), _may("setSecret/action")


@routes.put(_SECRET, SET)
async def put_secret(request: Request, secret: str) -> Response:
    """A new version."""
    _check(request, secret)
    body = await body_of(request)
    value = body.get("value")
    if not isinstance(value, str) or len(value.encode(errors="replace")) > LONGEST_VALUE:
        raise _bad(f"Property value must be a text of at most {LONGEST_VALUE} bytes.")
    wanted, service = _wanted(body, value), plane(request)
    return await _write(request, _put, service.master, secret, wanted, caller(request).oid, service.clock())


@routes.get(f"{_SECRET}/versions", META)
async def list_versions(request: Request, secret: str) -> Response:
    """All versions, without values."""
    _check(request, secret)
    found, after = await plane(request).database.read(
        _in_vault,
        host.decided(request),
        vault_secrets.versions,
        secret,
        int(_after(request) or 0),
        _top(request),
    )
    return _page(request, found, after)


@routes.get(_SECRET, GET)
@routes.get(f"{_SECRET}/", GET)
@routes.get(f"{_SECRET}/{{version}}", GET)
async def get_secret(request: Request, secret: str, version: str = "") -> Response:
    """A version with its value, the latest without one named."""
    _check(request, secret)
    return await _write(request, _get, plane(request).master, secret, version, _noted(request))


@routes.patch(_SECRET, SET)
@routes.patch(f"{_SECRET}/", SET)
@routes.patch(f"{_SECRET}/{{version}}", SET)
async def patch_secret(request: Request, secret: str, version: str = "") -> Response:
    """Change what is said of a version."""
    _check(request, secret)
    wanted = _wanted(await body_of(request))
    return await _write(request, vault_secrets.change, secret, version, wanted, plane(request).clock())


@routes.delete(_SECRET, _may("delete"))
async def delete_secret(request: Request, secret: str) -> Response:
    """Delete a secret; it can be recovered."""
    _check(request, secret)
    return await _write(request, vault_secrets.remove, secret, plane(request).clock())


@routes.get("/secrets", META)
async def list_secrets(request: Request) -> Response:
    """The secrets of the vault, without values."""
    return await _list(request, deleted=False)


@routes.get("/deletedsecrets", META)
async def list_deleted(request: Request) -> Response:
    """The deleted secrets of the vault."""
    return await _list(request, deleted=True)


@routes.get(_GONE, META)
async def get_deleted(request: Request, secret: str) -> Response:
    """A deleted secret, without its value."""
    _check(request, secret)
    found = await plane(request).database.read(
        _in_vault, host.decided(request), vault_secrets.deleted, secret
    )
    return JSONResponse(found)


@routes.post(f"{_GONE}/recover", _may("recover/action"))
async def recover_secret(request: Request, secret: str) -> Response:
    """Take a deleted secret back."""
    _check(request, secret)
    return await _write(request, vault_secrets.recover, secret)


@routes.delete(_GONE, _may("purge/action"))
async def purge_secret(request: Request, secret: str) -> Response:
    """Forget a deleted secret for good."""
    _check(request, secret)
    await plane(request).database.write(_in_vault, host.decided(request), vault_secrets.purge, secret)
    return Response(status_code=204)


@routes.post(f"{_SECRET}/backup", _may("backup/action"))
async def backup_secret(request: Request, secret: str) -> Response:
    """A secret with all versions, sealed for this deployment."""
    _check(request, secret)
    return await _write(request, vault_backup.backup, plane(request).master, secret)


@routes.post("/secrets/restore", _may("restore/action"))
async def restore_secret(request: Request) -> Response:
    """Put back what was backed up."""
    _check(request)
    text = (await body_of(request)).get("value")
    if not isinstance(text, str) or len(text) > vault_backup.LONGEST:
        raise _bad("Property value must be the text of a backup.")
    asking = Caller(caller(request), request_id(request), plane(request).clock())
    return await _write(request, vault_backup.restore, plane(request).master, asking, text)


def _in_vault(
    conn: Connection, place: tuple[str, str],
    function: Callable[Concatenate[Connection, Vault, P], T], /, *args: P.args, **kwargs: P.kwargs,
) -> T:  # fmt: skip
    return function(conn, vault_secrets.load(conn, *place), *args, **kwargs)


async def _write(
    request: Request, function: Callable[Concatenate[Connection, Vault, P], Json],
    *args: P.args, **kwargs: P.kwargs,
) -> Response:  # fmt: skip
    place = host.decided(request)
    return JSONResponse(await plane(request).database.write(_in_vault, place, function, *args, **kwargs))


async def _list(request: Request, *, deleted: bool) -> Response:
    _check(request)
    found, after = await plane(request).database.read(
        _in_vault, host.decided(request), vault_secrets.listed, str(_after(request) or ""), _top(request),
        deleted=deleted,
    )  # fmt: skip
    return _page(request, found, after)


def _put(
    conn: Connection, vault: Vault, master: MasterKey, name: str, wanted: Wanted, by: str, now: float
) -> Json:
    return vault_secrets.put(conn, master, vault, name, wanted, by, now)


def _get(
    conn: Connection, vault: Vault, master: MasterKey, name: str, version: str,
    note: Callable[[Connection, str], None],
) -> Json:  # fmt: skip
    found = vault_secrets.get(conn, master, vault, name, version)
    note(conn, f"{vault.scope(name)}/{found['id'].rpartition('/')[2]}")
    return found


def _noted(request: Request) -> Callable[[Connection, str], None]:
    """Writes down that the caller reads a value."""
    who, where, asked, now = caller(request), source(request), request_id(request), plane(request).clock()

    def note(conn: Connection, scope: str) -> None:
        _append(conn, who, scope, where, asked, now)

    return note


def _append(conn: Connection, who: Principal, scope: str, where: str, asked: str, now: float) -> None:
    record = audit.of(who, GET.action, "allowed", scope=scope, source=where, request_id=asked)
    audit.append(conn, record, now)


def _check(request: Request, name: str = "x") -> None:
    """400 for a missing api-version and for a name that no secret has."""
    if not _VERSION.fullmatch(request.query_params.get("api-version", "")):
        raise _bad("The api-version query parameter is missing or not one of vaults, such as 7.6.")
    if not NAME.fullmatch(name):
        raise _bad("The name of a secret has up to 127 letters, digits and dashes.")


def _wanted(body: Json, value: str = "") -> Wanted:
    attributes, tags, kind = body.get("attributes") or {}, body.get("tags"), body.get("contentType")
    if not isinstance(attributes, dict) or (
        kind is not None and not (isinstance(kind, str) and len(kind) <= 255)
    ):
        raise _bad("attributes must be an object, contentType a text of at most 255 characters.")
    if tags is not None:
        whole = isinstance(tags, dict) and len(tags) <= _TAGS
        if not whole or not all(isinstance(one, str) and len(one) <= 256 for one in tags.values()):
            raise _bad(f"tags must be an object of at most {_TAGS} texts.")
    enabled = attributes.get("enabled")
    if enabled is not None and not isinstance(enabled, bool):
        raise _bad("attributes.enabled must be true or false.")
    begins, ends = _time(attributes, "nbf"), _time(attributes, "exp")
    if begins is not None and ends is not None and ends <= begins:
        raise _bad("attributes.exp must be after attributes.nbf.")
    return Wanted(kind, tags, enabled, begins, ends, value)


def _time(attributes: Json, name: str) -> float | None:
    told = attributes.get(name)
    if told is None:
        return None
    if isinstance(told, bool) or not isinstance(told, int) or not 0 <= told <= _LATEST:
        raise _bad(f"attributes.{name} must be a Unix time in seconds.")
    return float(told)


def _top(request: Request) -> int:
    told = request.query_params.get("maxresults", str(_PAGE))
    if not (told.isascii() and told.isdigit() and len(told) < 4 and 1 <= int(told) <= _PAGE):
        raise _bad(f"maxresults must be a number from 1 to {_PAGE}.")
    return int(told)


def _after(request: Request) -> Any:
    told = query_of(request, "$skiptoken")
    return None if told is None else paging.place(plane(request).master, _collection(request), told)


def _page(request: Request, found: list[Json], after: Any) -> Response:
    following = None
    if after is not None:
        told = paging.token(plane(request).master, _collection(request), after)
        version, top = request.query_params["api-version"], _top(request)
        _, uri = host.decided(request)
        following = f"{uri}{path_of(request)}?api-version={version}&maxresults={top}&$skiptoken={told}"
    return JSONResponse({"value": found, "nextLink": following})


def _collection(request: Request) -> str:
    vault_id, _ = host.decided(request)
    return f"{vault_id}{path_of(request)}"


def _bad(message: str) -> ApiError:
    return ApiError(400, "BadParameter", message)
