"""What another OpenID provider says of a person: id tokens by its keys, checked as OpenID Connect Core 3.1.3.7 wants.

Only asymmetric signatures count, only of keys that the provider publishes, only for our client, our sign-in (`nonce`)
and this provider (`iss`).  A person is (`issuer`, `sub`), never a name or an address.  Pure functions; called by the
control plane.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from wherry.trust import signed
from wherry.trust.keys import KeyTrouble, PublicKey
from wherry.trust.signed import Form, Untrusted

FORM = Form(frozenset({"alg", "typ", "kid", "x5t", "x5t#S256"}), ("RS256", "PS256", "ES256"), 4096)
TOLERANCE = 60
"""Seconds that the provider's clock may differ from ours."""

_MOST_KEYS = 50
_LONGEST = 255
_MOST_GROUPS = 2000


@dataclass(frozen=True, slots=True)
class Expected:
    """What an id token has to say.  `max_age`: how long ago the person may have signed in; None if it need not tell."""

    issuer: str
    client_id: str
    nonce: str
    max_age: float | None


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody as a provider knows them.  `login` and `name` are for showing only."""

    issuer: str
    subject: str
    login: str
    name: str
    groups: frozenset[str]
    methods: frozenset[str]
    context: str


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a provider says of itself (OpenID Connect Discovery), as far as it is used here."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    posts_secret: bool
    sends_issuer: bool

    @classmethod
    def read(cls, document: Mapping[str, Any], issuer: str) -> Metadata:
        """The metadata of the provider that goes by `issuer`, or `Untrusted`: another name, or a way without TLS."""
        if document.get("issuer") != issuer:
            raise Untrusted("the discovery document is of another issuer")
        found = {
            name: secure_url(document.get(name), name)
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")
        }
        challenges = document.get("code_challenge_methods_supported")
        if isinstance(challenges, list) and "S256" not in challenges:
            raise Untrusted("the provider does not know PKCE with S256")
        ways = document.get("token_endpoint_auth_methods_supported")
        posts = isinstance(ways, list) and "client_secret_post" in ways and "client_secret_basic" not in ways
        sends = document.get("authorization_response_iss_parameter_supported") is True
        return cls(issuer=issuer, posts_secret=posts, sends_issuer=sends, **found)


def secure_url(value: object, name: str) -> str:
    """An address below https, without user, fragment or anything unprintable; `Untrusted` for any other."""
    if not isinstance(value, str) or len(value) > 2048 or not value.isprintable() or " " in value:
        raise Untrusted(f"{name} is no address")
    try:
        parts = urlsplit(value)
        port_reads = parts.port is None or parts.port > 0
    except ValueError as broken:
        raise Untrusted(f"{name} is no address") from broken
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.fragment or not port_reads:
        raise Untrusted(f"{name} is no https address")
    return value


def read_keys(document: Mapping[str, Any]) -> list[tuple[str | None, PublicKey]]:
    """The keys of a key set that may sign; others (for encryption, of other kinds) are passed over."""
    listed = document.get("keys")
    if not isinstance(listed, list) or len(listed) > _MOST_KEYS:
        raise Untrusted("the key set is malformed")
    found: list[tuple[str | None, PublicKey]] = []
    for one in listed:
        if not isinstance(one, dict) or one.get("use", "sig") != "sig":
            continue
        try:
            key = PublicKey.from_jwk(one)
        except KeyTrouble:
            continue
        kid = one.get("kid")
        found.append((kid if isinstance(kid, str) else None, key))
    return found


def verify_id_token(
    value: str,
    keys: list[tuple[str | None, PublicKey]],
    expected: Expected,
    now: float,
    groups_claim: str = "groups",
) -> Person:
    """The person that `value` speaks of, or `Untrusted`."""
    typ = signed.peek_header(value, FORM).get("typ")
    if typ not in (None, "JWT"):
        raise Untrusted("typ is not JWT")
    _, claims = signed.read(value, typ, lambda header: _key(keys, header), FORM)
    if signed.text_claim(claims, "iss") != expected.issuer:
        raise Untrusted("another issuer")
    _check_audience(claims, expected.client_id)
    if not hmac.compare_digest(signed.text_claim(claims, "nonce").encode(), expected.nonce.encode()):
        raise Untrusted("nonce is of another sign-in")
    _check_times(claims, expected, now)
    subject = signed.text_claim(claims, "sub")
    if len(subject) > _LONGEST or not subject.isprintable():
        raise Untrusted("sub is malformed")
    return Person(
        expected.issuer,
        subject,
        _shown(claims, "preferred_username") or _shown(claims, "email"),
        _shown(claims, "name"),
        _texts(claims.get(groups_claim)),
        _texts(claims.get("amr")),
        _shown(claims, "acr"),
    )


def new_state() -> str:
    """A `state` for one sign-in: 256 random bits."""
    return secrets.token_urlsafe(32)


def derived(key: bytes, state: str) -> str:
    """What belongs to `state` and to nobody who only saw that: 43 characters, good as nonce and as PKCE verifier."""
    return _base64url(hmac.digest(key, state.encode(), "sha256"))


def challenge(verifier: str) -> str:
    """The S256 challenge of a PKCE verifier."""
    return _base64url(hashlib.sha256(verifier.encode()).digest())


def _key(keys: list[tuple[str | None, PublicKey]], header: signed.Header) -> PublicKey | None:
    wanted = "ES256" if header.get("alg") == "ES256" else "RS256"
    fitting = [(kid, key) for kid, key in keys if key.algorithm == wanted]
    named = header.get("kid")
    if named is None:
        return fitting[0][1] if len(fitting) == 1 else None
    found = [key for kid, key in fitting if kid == named]
    return found[0] if len(found) == 1 else None


def _check_audience(claims: signed.Claims, client_id: str) -> None:
    audience = claims.get("aud")
    told = [audience] if isinstance(audience, str) else audience
    # Others in it would be able to use the token too; who trusts them is not known here.
    if not isinstance(told, list) or told != [client_id]:
        raise Untrusted("another audience")
    if claims.get("azp", client_id) != client_id:
        raise Untrusted("issued to another client")


def _check_times(claims: signed.Claims, expected: Expected, now: float) -> None:
    issued, ends = signed.time_claim(claims, "iat"), signed.time_claim(claims, "exp")
    begins = signed.time_claim(claims, "nbf") if "nbf" in claims else issued
    if max(issued, begins) > now + TOLERANCE:
        raise Untrusted("not valid yet: compare the clocks")
    if now >= ends + TOLERANCE:
        raise Untrusted("expired")
    if expected.max_age is not None:
        signed_in = signed.time_claim(claims, "auth_time")
        if not now - expected.max_age - TOLERANCE <= signed_in <= now + TOLERANCE:
            raise Untrusted("the sign-in there was too long ago")


def _shown(claims: signed.Claims, name: str) -> str:
    value = claims.get(name)
    return value if isinstance(value, str) and len(value) <= _LONGEST and value.isprintable() else ""


def _texts(value: object) -> frozenset[str]:
    told = [value] if isinstance(value, str) else value
    if not isinstance(told, list):
        return frozenset()
    return frozenset(one for one in told[:_MOST_GROUPS] if isinstance(one, str))


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
