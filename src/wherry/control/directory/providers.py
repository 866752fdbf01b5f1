"""Providers that people may sign in by, and whom users are there.

    /graph/v1.0/identity/identityProviders[/{provider}]      /graph/v1.0/users/{user}/identities[/{identity}]

The secret of our client is written and never read back.  Signing in with a password, the first administrator above all,
cannot be turned off: when a provider is away or taken over, that is the way in.
"""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wherry.control.access import Routes
from wherry.control.arm.request import body_of, caller_of
from wherry.control.caller import Caller
from wherry.control.directory.request import BASE, bad, may, text, truth
from wherry.control.plane import Plane, plane
from wherry.control.services import principals, upstream, users, vault
from wherry.control.services.resource_store import Json
from wherry.control.services.upstream import Link, Provider
from wherry.model.outcomes import iso_time
from wherry.trust.authority import fingerprint
from wherry.trust.keys import KeyTrouble, MasterKey
from wherry.trust.signed import Untrusted
from wherry.trust.upstream import secure_url

routes = Routes(BASE, case_insensitive=True)

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
_PROVIDERS = "/identity/identityProviders"
_READ, _WRITE = may("identityProviders/read"), may("identityProviders/write")
_DELETE = may("identityProviders/delete")
_MOST = 200


@routes.get(_PROVIDERS, _READ)
async def list_providers(request: Request) -> Response:
    """All providers."""
    service = plane(request)
    found = await service.database.read(upstream.everything)
    return JSONResponse({"value": [_shown(service, one) for one in found]})


@routes.get(f"{_PROVIDERS}/{{provider}}", _READ)
async def get_provider(request: Request, provider: str) -> Response:
    """A provider, without the secret."""
    return JSONResponse(
        _shown(plane(request), await plane(request).database.read(upstream.require, provider))
    )


@routes.put(f"{_PROVIDERS}/{{provider}}", _WRITE)
async def put_provider(request: Request, provider: str) -> Response:
    """Make a provider, or replace one; a secret that is not told stays."""
    service, body = plane(request), await body_of(request)
    told = _provider(provider, body)
    secret = text(body, "clientSecret", longest=1024)
    await service.database.write(_put, caller_of(request), service.master, told, secret)
    return JSONResponse(_shown(service, told))


@routes.delete(f"{_PROVIDERS}/{{provider}}", _DELETE)
async def delete_provider(request: Request, provider: str) -> Response:
    """Forget a provider and whom users are there; the users stay."""
    await plane(request).database.write(_delete, caller_of(request), provider)
    return Response(status_code=204)


@routes.get("/users/{user}/identities", may("users/read"))
async def list_identities(request: Request, user: str) -> Response:
    """Whom a user is elsewhere."""
    found = await plane(request).database.read(_identities, user)
    return JSONResponse({"value": [_linked(one) for one in found]})


@routes.post("/users/{user}/identities", may("users/write"))
async def add_identity(request: Request, user: str) -> Response:
    """A subject of a provider is this user from now on."""
    body = await body_of(request)
    provider = text(body, "provider", required=True, longest=64) or ""
    subject = text(body, "subject", required=True, longest=255) or ""
    made = await plane(request).database.write(_link, caller_of(request), user, provider, subject)
    return JSONResponse(_linked(made), 201)


@routes.delete("/users/{user}/identities/{identity}", may("users/write"))
async def remove_identity(request: Request, user: str, identity: str) -> Response:
    """A subject is this user no more; what it signed in to ends."""
    await plane(request).database.write(_unlink, caller_of(request), user, identity)
    return Response(status_code=204)


def _provider(name: str, body: Json) -> Provider:
    if not _NAME.fullmatch(name.lower()):
        raise bad("The name of a provider has letters, digits and - only, at most 31.", "name")
    factor = body.get("secondFactor") or {}
    if not isinstance(factor, dict):
        raise bad("'secondFactor' must be an object with 'amr' and 'acr'.", "secondFactor")
    issuer = text(body, "issuer", required=True, longest=512) or ""
    ca = text_of_pem(body)
    try:
        secure_url(issuer, "issuer")
        if ca:
            fingerprint(ca.encode())
    except Untrusted as refused:
        raise bad(f"The issuer cannot be used: {refused}.", "issuer") from refused
    except KeyTrouble as refused:
        raise bad(f"The certificate authority cannot be used: {refused}", "caCertificate") from refused
    if "?" in issuer:
        raise bad("An issuer has no query.", "issuer")
    return Provider(
        name.lower(),
        text(body, "displayName", longest=64) or name,
        issuer,
        text(body, "clientId", required=True) or "",
        scopes=tuple(dict.fromkeys(("openid", *(_words(body, "scopes") or ("profile",))))),
        enabled=truth(body, "enabled") is not False,
        subjects=_words(body, "allowedSubjects"),
        groups=_words(body, "allowedGroups"),
        groups_claim=text(body, "groupsClaim", longest=64) or "groups",
        factor_methods=_words(factor, "amr"),
        factor_contexts=_words(factor, "acr"),
        tells_time=truth(body, "tellsAuthTime") is not False,
        ca=ca,
    )


def text_of_pem(body: Json) -> str:
    """The certificate of an authority in a body; empty for none."""
    value = body.get("caCertificate")
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > 16_384:
        raise bad("'caCertificate' must be a certificate in PEM.", "caCertificate")
    return value


def _words(body: Json, name: str) -> tuple[str, ...]:
    value = body.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > _MOST:
        raise bad(f"'{name}' must be a list of at most {_MOST} texts.", name)
    if not all(isinstance(one, str) and 0 < len(one) <= 256 and one.isprintable() for one in value):
        raise bad(f"'{name}' must be a list of texts of 1 to 256 characters.", name)
    return tuple(value)


def _put(conn: Connection, caller: Caller, master: MasterKey, told: Provider, secret: str | None) -> None:
    before = upstream.find(conn, told.name)
    upstream.put(conn, told, caller.now)
    if secret is not None:
        by = caller.principal.oid
        vault.put_secret(conn, master, upstream.secret_name(told.name), secret, by, caller.now)
    elif before is not None and before.issuer != told.issuer:
        # A secret is for whom it was told for: another issuer must not be sent it.
        vault.delete_secret(conn, upstream.secret_name(told.name))
    principals.account(
        conn, caller, "provider-changed" if before else "provider-created", "", provider=told.name,
        issuer=told.issuer, client=told.client_id, enabled=told.enabled, allowedSubjects=list(told.subjects),
        allowedGroups=list(told.groups), amr=list(told.factor_methods), acr=list(told.factor_contexts),
    )  # fmt: skip


def _delete(conn: Connection, caller: Caller, name: str) -> None:
    upstream.remove(conn, name)
    principals.account(conn, caller, "provider-deleted", "", provider=name.lower())


def _identities(conn: Connection, name: str) -> list[Link]:
    return upstream.links(conn, _user(conn, name))


def _link(conn: Connection, caller: Caller, name: str, provider: str, subject: str) -> Link:
    oid = _user(conn, name)
    made = upstream.link(conn, upstream.require(conn, provider).issuer, subject, oid, caller.now)
    principals.account(conn, caller, "identity-linked", oid, issuer=made.issuer, subject=subject)
    return made


def _unlink(conn: Connection, caller: Caller, name: str, identity: str) -> None:
    oid = _user(conn, name)
    gone = upstream.unlink(conn, oid, identity)
    principals.end_sign_ins(conn, oid)
    principals.account(conn, caller, "identity-unlinked", oid, issuer=gone.issuer, subject=gone.subject)


def _user(conn: Connection, name: str) -> str:
    found = users.find(conn, name)
    if found is None:
        raise principals.absent(name)
    return found.oid


def _shown(service: Plane, provider: Provider) -> dict[str, Any]:
    return {
        "id": provider.name,
        "displayName": provider.display_name,
        "issuer": provider.issuer,
        "clientId": provider.client_id,
        "redirectUri": f"{service.public_url}/signin/upstream/{provider.name}",
        "scopes": list(provider.scopes),
        "enabled": provider.enabled,
        "allowedSubjects": list(provider.subjects),
        "allowedGroups": list(provider.groups),
        "groupsClaim": provider.groups_claim,
        "secondFactor": {"amr": list(provider.factor_methods), "acr": list(provider.factor_contexts)},
        "tellsAuthTime": provider.tells_time,
        "caCertificate": provider.ca or None,
    }


def _linked(one: Link) -> dict[str, Any]:
    return {
        "id": one.id,
        "issuer": one.issuer,
        "subject": one.subject,
        "invited": one.invited,
        "createdDateTime": iso_time(one.created_at),
        "lastSignInDateTime": iso_time(one.used_at) if one.used_at else None,
    }
