"""Tokens that the service issues and verifies: RS256, claims as Entra names them.

`issue_access` writes a `Principal` into a token, `verify_token` reads it back: the only way that a request comes by
its principal.  A `Profile` names the one kind of token that a door takes; `typ`, issuer, audience and times are all
required, so an id token is no access token, an enrolment token opens no resource and the other way round.
Whether identity, session and key are still alive is the caller's next question, asked of the database.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wherry.trust import signed
from wherry.trust.keys import PrivateKey, PublicKey
from wherry.trust.principals import Principal, PrincipalKind
from wherry.trust.signed import Untrusted

ACCESS = "at+jwt"
ENROLMENT = "enrol+jwt"
ID = "JWT"

USER_LIFETIME = 3600
AGENT_LIFETIME = 600
ENROLMENT_LIFETIME = 300
WORKLOAD_LIFETIME = 300

_KINDS: Mapping[str, PrincipalKind] = {"user": "user", "app": "agent", "service": "service"}
_IDTYPS: Mapping[PrincipalKind, str] = {kind: idtyp for idtyp, kind in _KINDS.items()}


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The key that signs now and every key that still verifies, by kid."""

    kid: str
    signer: PrivateKey
    verifying: Mapping[str, PublicKey]

    def jwks(self) -> dict[str, Any]:
        """The key set that is published."""
        return {
            "keys": [
                {**key.jwk(), "kid": kid, "use": "sig", "alg": key.algorithm}
                for kid, key in self.verifying.items()
            ]
        }


@dataclass(frozen=True, slots=True)
class Profile:
    """The kind of token that a door takes.  `bound`: only with proof of the key in `cnf.jkt`."""

    typ: str
    audiences: frozenset[str]
    bound: bool = False


def new_id() -> str:
    """A unique token id (`uti`), 128 random bits."""
    return secrets.token_urlsafe(16)


def issue_access(principal: Principal, ring: KeyRing, issuer: str, typ: str = ACCESS) -> str:
    """An access token that says what `principal` says; its times and `token_id` are set by the caller."""
    claims: dict[str, Any] = {
        "iss": issuer,
        "aud": principal.audience,
        "iat": principal.issued_at,
        "nbf": principal.issued_at,
        "exp": principal.expires_at,
        "tid": principal.tenant,
        "oid": principal.oid,
        "sub": principal.oid,
        "idtyp": _IDTYPS[principal.kind],
        "upn": principal.name,
        "preferred_username": principal.name,
        "azp": principal.client_id,
        "appid": principal.client_id,
        "scp": " ".join(sorted(principal.scopes)),
        "ver": "2.0",
        "uti": principal.token_id,
        "wherry_epoch": principal.epoch,
    }
    optional: dict[str, Any] = {
        "sid": principal.session,
        "xms_mirid": principal.resource_id,
        "cnf": {"jkt": principal.jkt} if principal.jkt else None,
        "wherry_join": principal.join,
        "authorization_details": [dict(detail) for detail in principal.details],
    }
    claims |= {name: value for name, value in optional.items() if value}
    return signed.write(claims, ring.signer, typ, {"kid": ring.kid})


def issue_id(
    principal: Principal, ring: KeyRing, issuer: str, display_name: str, nonce: str | None = None
) -> str:
    """An id token for the client that `principal` signed in with: tells who it is, opens nothing."""
    claims = {
        "iss": issuer,
        "aud": principal.client_id,
        "iat": principal.issued_at,
        "nbf": principal.issued_at,
        "exp": principal.expires_at,
        "tid": principal.tenant,
        "oid": principal.oid,
        "sub": principal.oid,
        "preferred_username": principal.name,
        "name": display_name,
        "ver": "2.0",
        "uti": principal.token_id,
        **({"nonce": nonce} if nonce else {}),
    }
    return signed.write(claims, ring.signer, ID, {"kid": ring.kid})


def issue_workload(subject: str, audience: str, ring: KeyRing, issuer: str, now: float) -> str:
    """A token for a service elsewhere that trusts our issuer; no door of ours takes one."""
    claims = {
        "iss": issuer,
        "aud": audience,
        "sub": subject,
        "iat": int(now),
        "nbf": int(now),
        "exp": int(now) + WORKLOAD_LIFETIME,
        "jti": new_id(),
    }
    return signed.write(claims, ring.signer, ID, {"kid": ring.kid})


def verify_token(value: str, ring: KeyRing, profile: Profile, issuer: str, now: float) -> Principal:
    """The principal that `value` speaks for, or `Untrusted`."""
    _, claims = signed.read(value, profile.typ, lambda header: ring.verifying.get(header.get("kid", "")))
    issued, begins, ends = (signed.time_claim(claims, name) for name in ("iat", "nbf", "exp"))
    if not begins <= now + 1 or not issued <= now + 1:
        raise Untrusted("not valid yet")
    if now >= ends:
        raise Untrusted("expired")
    if signed.text_claim(claims, "iss") != issuer:
        raise Untrusted("another issuer")
    audience = signed.text_claim(claims, "aud")
    if not same_audience(audience, profile.audiences):
        raise Untrusted("another audience")
    principal = _principal(claims, audience, issued, ends)
    if profile.bound != (principal.jkt is not None):
        raise Untrusted("bound to no key" if profile.bound else "bound to a key, sent without proof")
    return principal


def same_audience(audience: str, accepted: frozenset[str]) -> bool:
    """Whether `audience` is one of `accepted`, apart from one trailing slash."""
    return audience.removesuffix("/") in {one.removesuffix("/") for one in accepted}


def _principal(claims: signed.Claims, audience: str, issued: int, ends: int) -> Principal:
    confirmation = claims.get("cnf", {})
    details = claims.get("authorization_details", [])
    epoch = claims.get("wherry_epoch")
    kind = _KINDS.get(signed.text_claim(claims, "idtyp"))
    if (
        not isinstance(confirmation, dict)
        or not isinstance(details, list)
        or type(epoch) is not int
        or kind is None
    ):
        raise Untrusted("claims are malformed")
    return Principal(
        kind=kind,
        oid=signed.text_claim(claims, "oid"),
        tenant=signed.text_claim(claims, "tid"),
        name=signed.text_claim(claims, "upn"),
        scopes=frozenset(signed.text_claim(claims, "scp").split()),
        audience=audience,
        client_id=signed.text_claim(claims, "azp"),
        session=str(claims.get("sid", "")),
        token_id=signed.text_claim(claims, "uti"),
        jkt=signed.text_claim(confirmation, "jkt") if confirmation else None,
        join=str(claims.get("wherry_join", "")),
        resource_id=str(claims.get("xms_mirid", "")),
        epoch=epoch,
        issued_at=issued,
        expires_at=ends,
        details=tuple(details),
    )
