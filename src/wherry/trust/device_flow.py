"""Device authorization (RFC 8628) as a pure state machine; one `DeviceGrant` a code, changed by these functions only.

    pending ──approve──▶ approved ──redeem──▶ redeemed ──again──▶ burnt
       ├──deny, or three wrong match numbers──▶ denied
       └──time──▶ expired (whatever else it is, except redeemed)

The caller keeps grants in the database, does one step a transaction and turns outcomes into Entra's or the RFC's words.
A grant bound to a key (`jkt`) is redeemed with a proof of that key or not at all.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from typing import Any, Literal

ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
CODE_LENGTH = 8
LIFETIME = 600
INTERVAL = 2.0
"""Seconds between polls; Entra says 5, a person at a console waits less with this."""

SLOWER = 5.0
_EARLY = 0.5
MAX_MISMATCHES = 3

State = Literal["pending", "approved", "denied", "redeemed", "burnt"]


class Outcome(Enum):
    """What a poll comes to."""

    PENDING = "pending"
    SLOW_DOWN = "slow_down"
    DENIED = "denied"
    EXPIRED = "expired"
    REDEEMED = "redeemed"
    REUSED = "reused"
    FOREIGN = "foreign"


class FlowError(Exception):
    """A decision that cannot be taken on this grant; the message is for the person who tries."""


@dataclass(frozen=True, slots=True)
class DeviceGrant:
    """A request of a device and what became of it.

    `source` is where it came from, `match` the number that only the device shows, `details` what it asks for beyond
    `scope`, `subject` who approved it, `token_id` the token that it was redeemed for.
    """

    client_id: str
    tenant: str
    scope: str
    source: str
    created_at: float
    expires_at: float
    interval: float = INTERVAL
    state: State = "pending"
    jkt: str | None = None
    match: str | None = None
    details: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)
    polled_at: float | None = None
    mismatches: int = 0
    subject: str | None = None
    approved_at: float | None = None
    token_id: str | None = None

    def document(self) -> dict[str, Any]:
        """The grant as JSON."""
        return {**asdict(self), "details": [dict(detail) for detail in self.details]}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> DeviceGrant:
        return cls(**{**document, "details": tuple(document["details"])})

    def expired(self, now: float) -> bool:
        return now >= self.expires_at


def begin(
    *,
    client_id: str,
    tenant: str,
    scope: str,
    source: str,
    now: float,
    jkt: str | None = None,
    details: tuple[Mapping[str, Any], ...] = (),
) -> DeviceGrant:
    """A new pending grant; one that is bound to a key gets a number to compare."""
    match = f"{secrets.randbelow(90) + 10}" if jkt else None
    return DeviceGrant(
        client_id, tenant, scope, source, now, now + LIFETIME, jkt=jkt, match=match, details=details
    )


def new_device_code() -> str:
    """256 random bits for the device."""
    return secrets.token_urlsafe(32)


def new_user_code() -> str:
    """Eight letters for the person (34.6 bits), shown as `XXXX-XXXX`."""
    letters = "".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH))
    return f"{letters[:4]}-{letters[4:]}"


def normalize_user_code(typed: str) -> str | None:
    """What a person typed in the form of `new_user_code`; None when it cannot be a code."""
    letters = "".join(character for character in typed.upper() if character not in "- \t.")
    if len(letters) != CODE_LENGTH or not set(letters) <= set(ALPHABET):
        return None
    return f"{letters[:4]}-{letters[4:]}"


def poll(
    grant: DeviceGrant, *, client_id: str, tenant: str, jkt: str | None, now: float, token_id: str
) -> tuple[Outcome, DeviceGrant]:
    """The device asks.  `REDEEMED` happens once and notes `token_id`; any sign of theft burns the grant."""
    if client_id != grant.client_id or tenant != grant.tenant or not _same_key(grant.jkt, jkt):
        burnt = grant if grant.state == "redeemed" else replace(grant, state="burnt")
        return Outcome.FOREIGN, burnt
    if grant.state in ("redeemed", "burnt"):
        return Outcome.REUSED, replace(grant, state="burnt")
    if grant.state == "denied":
        return Outcome.DENIED, grant
    if grant.expired(now):
        return Outcome.EXPIRED, grant
    if grant.state == "approved":
        return Outcome.REDEEMED, replace(grant, state="redeemed", token_id=token_id)
    asked = replace(grant, polled_at=now)
    if grant.polled_at is not None and now < grant.polled_at + grant.interval - _EARLY:
        return Outcome.SLOW_DOWN, replace(asked, interval=grant.interval + SLOWER)
    return Outcome.PENDING, asked


def approve(grant: DeviceGrant, subject: str, now: float) -> DeviceGrant:
    """A person with the right to it says yes."""
    return replace(_decidable(grant, now), state="approved", subject=subject, approved_at=now)


def deny(grant: DeviceGrant, subject: str, now: float) -> DeviceGrant:
    """A person says no, or may not say yes."""
    return replace(_decidable(grant, now), state="denied", subject=subject)


def compare(grant: DeviceGrant, number: str, now: float) -> tuple[bool, DeviceGrant]:
    """Whether the number that a person reads off the device is right; three wrong ones deny the grant."""
    _decidable(grant, now)
    if grant.match is None or hmac.compare_digest(grant.match.encode(), number.strip().encode()):
        return True, grant
    wrong = grant.mismatches + 1
    return False, replace(grant, mismatches=wrong, state="denied" if wrong >= MAX_MISMATCHES else "pending")


def _decidable(grant: DeviceGrant, now: float) -> DeviceGrant:
    if grant.expired(now):
        raise FlowError("This code has expired. Start again on the device.")
    if grant.state != "pending":
        raise FlowError("This code was decided on already.")
    return grant


def _same_key(bound: str | None, shown: str | None) -> bool:
    if bound is None:
        return True
    return shown is not None and hmac.compare_digest(bound.encode(), shown.encode())
