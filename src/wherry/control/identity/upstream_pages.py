"""Signing in by another OpenID provider: to it with a state of this browser, and back with a code (RFC 9700).

The way back is an address of its own for each provider, and an `iss` in it has to be that provider's (RFC 9207): no
answer of one is taken for another's.  What the provider says is only who somebody is: session, roles and tokens are
ours, and `passage` asks for a second factor unless the provider is told to count for one.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from wherry.control import audit
from wherry.control.access import Routes, public
from wherry.control.audit import Record
from wherry.control.identity import passage, sessions, upstream_client
from wherry.control.identity.rendering import as_page, done, form, page, record
from wherry.control.plane import Plane, plane, source
from wherry.control.services import upstream, vault
from wherry.control.services.upstream import Known, Provider
from wherry.model.errors import ApiError
from wherry.trust import passwords
from wherry.trust import upstream as claims
from wherry.trust.signed import Untrusted
from wherry.trust.upstream import Expected, Person

routes = Routes()

FACTOR = "upstream"
"""What a session says of a second factor that the provider vouches for."""

_REFUSED = "wherry/upstream/refused"
_TRY_AGAIN = "Begin again at the sign-in page. If it stays so, tell your administrator."


@routes.post("/signin/upstream", public())
@as_page
async def leave(request: Request) -> Response:
    """A page that goes on to the provider: a form could not, as it may be sent to us only."""
    service, fields = plane(request), await form(request)
    provider = await service.database.read(upstream.find, fields.get("provider", "")[:64])
    if provider is None or not provider.enabled:
        return done(request, "That did not work", "There is no such way to sign in.", 404)
    # Counted first: whoever begins has us ask the provider.
    state = await service.database.write(
        upstream.begin, service.master, provider.name, request.cookies.get(sessions.COOKIE, ""),
        fields.get("user_code", "")[:32], source(request), service.clock(),
    )  # fmt: skip
    try:
        told = await upstream_client.metadata(service, provider)
    except Untrusted as refused:
        return await _refused(request, provider, str(refused))
    mark = "&" if "?" in told.authorization_endpoint else "?"
    address = f"{told.authorization_endpoint}{mark}{urlencode(_question(service, provider, state))}"
    return page(request, "upstream.html", provider=provider, address=address)


@routes.get("/signin/upstream/{provider}", public())
@as_page
async def arrive(request: Request) -> Response:
    """The provider's answer: one code for one state of this very browser, or a refusal."""
    service, query = plane(request), request.query_params
    found = await service.database.read(upstream.find, str(request.path_params["provider"])[:64])
    if found is None or not found.enabled:
        return done(request, "That did not work", "There is no such way to sign in.", 404)
    state = query.get("state", "")
    user_code = await service.database.write(
        upstream.take, service.master, state, found.name, request.cookies.get(sessions.COOKIE, ""),
        service.clock(),
    )  # fmt: skip
    if user_code is None:
        # Of nobody in particular, as often as they like: counted, not written one by one.
        service.counters.count(None, _REFUSED, "denied", service.clock())
        raise _refusal(found, "no sign-in of this browser has this state, or not any more")
    try:
        if len(query.multi_items()) != len(query):
            raise Untrusted("a parameter is there twice")
        person = await _person(service, found, state, query)
    except Untrusted as refused:
        return await _refused(request, found, str(refused))
    return await _admitted(request, service, found, person, user_code)


async def _person(service: Plane, provider: Provider, state: str, query: Any) -> Person:
    told = await upstream_client.metadata(service, provider)
    # RFC 9207: before anything else of the answer is used, a code least of all.
    if ("iss" in query or told.sends_issuer) and query.get("iss", "") != provider.issuer:
        raise Untrusted("the answer is of another issuer")
    if "error" in query:
        raise Untrusted(f"the provider refused: {''.join(filter(str.isprintable, query['error']))[:64]}")
    code = query.get("code", "")
    if not code:
        raise Untrusted("the answer holds no code")
    secret = await service.database.read(_secret, service, provider)
    value = await upstream_client.redeem(
        service, provider, secret, code, _redirect(service, provider), _verifier(service, state)
    )
    age = sessions.FRESH if provider.tells_time else None
    expected = Expected(provider.issuer, provider.client_id, _nonce(service, state), age)
    return await upstream_client.person(service, provider, value, expected)


async def _admitted(
    request: Request, service: Plane, provider: Provider, person: Person, user_code: str
) -> Response:
    random = passwords.random_password()
    verifier = await service.hashing.run(source(request), partial(passwords.protect, random))
    told = replace(_record(request, provider, "allowed"), details=_details(provider, person))
    known = await service.database.write(_admit, provider, person, verifier, told, service.clock())
    if known is None:
        text = (
            f"{provider.display_name} says who you are, but nobody has let you in here. Give your administrator this "
            f"subject: {person.subject}"
        )
        return done(request, "You are not known here", text, 403)
    factor = FACTOR if provider.second_factor(person) else ""
    return await passage.password_known(
        request, service, known.oid, known.login, user_code, factor, how=f"by {provider.name}"
    )


def _admit(
    conn: Connection, provider: Provider, person: Person, verifier: str, told: Record, now: float
) -> Known | None:
    known = upstream.admit(conn, provider, person, verifier, now)
    if known is None:
        audit.append(
            conn, replace(told, action=_REFUSED, result="denied", reason="not linked, on no list"), now
        )
        return None
    action = "wherry/upstream/user-made" if known.made else "wherry/upstream/known"
    audit.append(conn, replace(told, action=action, actor=known.oid, actor_kind="user"), now)
    return known


async def _refused(request: Request, provider: Provider, why: str) -> Response:
    service = plane(request)
    told = replace(_record(request, provider, "denied"), reason=why)
    await service.database.write(audit.append, told, service.clock())
    raise _refusal(provider, why)


def _refusal(provider: Provider, why: str) -> ApiError:
    return ApiError(
        403, "SignInRefused", f"The sign-in by {provider.display_name} is refused: {why}. {_TRY_AGAIN}"
    )


def _question(service: Plane, provider: Provider, state: str) -> dict[str, str]:
    asked = {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": _redirect(service, provider),
        "scope": " ".join(provider.scopes),
        "state": state,
        "nonce": _nonce(service, state),
        "code_challenge": claims.challenge(_verifier(service, state)),
        "code_challenge_method": "S256",
    }
    if provider.tells_time:
        asked["max_age"] = str(int(sessions.FRESH))
    else:
        asked["prompt"] = "login"
    if provider.factor_contexts:
        asked["acr_values"] = " ".join(provider.factor_contexts)
    return asked


def _redirect(service: Plane, provider: Provider) -> str:
    return f"{service.public_url}/signin/upstream/{provider.name}"


def _nonce(service: Plane, state: str) -> str:
    return claims.derived(service.master.derive("upstream nonce"), state)


def _verifier(service: Plane, state: str) -> str:
    return claims.derived(service.master.derive("upstream verifier"), state)


def _secret(conn: Connection, service: Plane, provider: Provider) -> str:
    try:
        return vault.get_secret(conn, service.master, upstream.secret_name(provider.name))
    except ApiError:
        # A public client: PKCE alone ties the code to us.
        return ""


def _record(request: Request, provider: Provider, result: str) -> Record:
    told = record(request, "", result, action=_REFUSED)
    return replace(told, details={"provider": provider.name, "issuer": provider.issuer})


def _details(provider: Provider, person: Person) -> dict[str, Any]:
    return {
        "provider": provider.name,
        "issuer": provider.issuer,
        "subject": person.subject,
        "amr": sorted(person.methods),
        "acr": person.context,
        "second_factor": provider.second_factor(person),
    }
