"""What we say to another OpenID provider: discovery, its keys, and a code for an id token.

Always over TLS, following no redirect, with limits for time and size.  Discovery and keys are kept for an hour; an id
token by a key that is not known has them read again, at most once a minute.  Called by `upstream_pages` alone.
"""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import httpx

from wherry.control import outbound
from wherry.control.plane import Plane
from wherry.control.services.upstream import Provider
from wherry.model.errors import ApiError
from wherry.trust import upstream
from wherry.trust.keys import PublicKey
from wherry.trust.signed import Untrusted
from wherry.trust.upstream import Expected, Metadata, Person

KEPT = 3600.0
AGAIN = 60.0
_LONGEST = 512 * 1024
_TIMEOUT = httpx.Timeout(10.0, connect=5.0)

Keys = list[tuple[str | None, PublicKey]]


@dataclass(slots=True)
class _Seen:
    """What a provider told of itself, and when."""

    metadata: Metadata
    keys: Keys
    at: float


@dataclass(slots=True)
class Upstreams:
    """What is known of providers at the moment; one a process, in `Plane.parts`."""

    seen: dict[Provider, _Seen] = field(default_factory=dict)
    transport: httpx.AsyncBaseTransport | None = None


def of(service: Plane) -> Upstreams:
    """The one of this control plane."""
    found = service.parts.setdefault(Upstreams, Upstreams())
    assert isinstance(found, Upstreams)  # noqa: S101 - kept under its own class
    return found


async def metadata(service: Plane, provider: Provider) -> Metadata:
    """Where a provider takes sign-ins and codes; 502 when it does not tell, or not about itself."""
    return (await _known(service, provider)).metadata


async def redeem(
    service: Plane, provider: Provider, secret: str, code: str, redirect: str, verifier: str
) -> str:
    """The id token that a code is worth."""
    told = await metadata(service, provider)
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect,
        "code_verifier": verifier,
    }
    headers = {"accept": "application/json", "content-type": "application/x-www-form-urlencoded"}
    if secret and not told.posts_secret:
        headers["authorization"] = _basic(provider.client_id, secret)
    else:
        form |= {"client_id": provider.client_id} | ({"client_secret": secret} if secret else {})
    answer = await _ask(service, provider, "POST", told.token_endpoint, headers, urlencode(form))
    value = answer.get("id_token")
    if not isinstance(value, str):
        raise Untrusted("the token endpoint answered without an id token")
    return value


async def person(service: Plane, provider: Provider, value: str, expected: Expected) -> Person:
    """Whom an id token is about, by the keys of the provider; `Untrusted` when anything about it is wrong."""
    known = await _known(service, provider)
    now = service.clock()
    try:
        return upstream.verify_id_token(value, known.keys, expected, now, provider.groups_claim)
    except Untrusted as refused:
        # A key that was made since; whoever sends made-up names of keys makes us ask once a minute, not more.
        if str(refused) != "signed by an unknown key" or now - known.at < AGAIN:
            raise
    known.keys, known.at = await _keys(service, provider, known.metadata), now
    return upstream.verify_id_token(value, known.keys, expected, now, provider.groups_claim)


async def _known(service: Plane, provider: Provider) -> _Seen:
    known, now = of(service), service.clock()
    found = known.seen.get(provider)
    if found is not None and 0 <= now - found.at < KEPT:
        return found
    document = await _ask(
        service, provider, "GET", f"{provider.issuer.removesuffix('/')}/.well-known/openid-configuration"
    )
    told = Metadata.read(document, provider.issuer)
    # One of a name: what was told before it was changed is of no use.
    known.seen = {one: seen for one, seen in known.seen.items() if one.name != provider.name}
    known.seen[provider] = _Seen(told, await _keys(service, provider, told), now)
    return known.seen[provider]


async def _keys(service: Plane, provider: Provider, told: Metadata) -> Keys:
    return upstream.read_keys(await _ask(service, provider, "GET", told.jwks_uri))


async def _ask(
    service: Plane,
    provider: Provider,
    method: str,
    url: str,
    headers: Mapping[str, str] | None = None,
    body: str | None = None,
) -> dict[str, Any]:
    """The JSON object that a provider answers; `Untrusted` for anything else, 502 for nothing."""
    raw = b""
    options: dict[str, Any] = {"timeout": _TIMEOUT, "follow_redirects": False, "trust_env": False}
    seen = {"trace": outbound.watching(service.settings.outbound_networks)}
    transport = of(service).transport
    options |= {"transport": transport} if transport else {"verify": _context(provider)}
    try:
        async with (
            httpx.AsyncClient(**options) as http,
            http.stream(method, url, headers=dict(headers or {}), content=body, extensions=seen) as answer,
        ):
            async for part in answer.aiter_bytes():
                raw += part
                if len(raw) > _LONGEST:
                    raise Untrusted("the provider's answer is too long")
    except (httpx.HTTPError, httpx.InvalidURL) as trouble:
        raise ApiError(
            502,
            "ProviderUnreachable",
            f"{provider.display_name} does not answer ({type(trouble).__name__}). Sign in with a password, "
            "or try again later.",
        ) from trouble
    if answer.status_code != 200:
        raise Untrusted(f"the provider answered {answer.status_code}")
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as broken:
        raise Untrusted("the provider's answer is not JSON") from broken
    if not isinstance(found, dict):
        raise Untrusted("the provider's answer is no JSON object")
    return found


def _basic(client_id: str, secret: str) -> str:
    # RFC 6749 2.3.1: both are encoded as in a form first.
    pair = f"{quote(client_id, safe='')}:{quote(secret, safe='')}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def _context(provider: Provider) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=provider.ca or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
