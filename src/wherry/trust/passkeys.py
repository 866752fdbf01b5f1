"""Passkeys and security keys as a second factor (WebAuthn): options for the browser, verdicts on what it answers.

`fido2` parses and verifies; here stand the choices: no attestation is asked for, the origin must be ours to the port,
a signature counter that does not grow is a copied key.  A challenge is good for one answer, which the caller sees to.
"""

from __future__ import annotations

import ipaddress
import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from fido2.server import Fido2Server
from fido2.utils import websafe_decode, websafe_encode
from fido2.webauthn import (
    AttestedCredentialData,
    AuthenticationResponse,
    PublicKeyCredentialRpEntity,
    PublicKeyCredentialUserEntity,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from wherry.model.errors import WherryError

MAX_LENGTH = 16384
_CHALLENGE = 16
_PREFERRED = UserVerificationRequirement.PREFERRED
# What parsers of bytes from a stranger may stumble over.
_MALFORMED = (
    ValueError, KeyError, TypeError, IndexError, AttributeError, AssertionError, NotImplementedError, OverflowError,
    RecursionError, struct.error, UnsupportedAlgorithm,
)  # fmt: skip


class NotProven(WherryError):
    """What the browser sent proves nothing; the message is for the audit trail."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Options for the browser, as JSON, and the challenge that is in them."""

    options: str
    challenge: str


@dataclass(frozen=True, slots=True)
class Credential:
    """A passkey as it is stored: its id (base64url), its public half, its last signature counter."""

    id: str
    public: bytes
    counter: int


@dataclass(frozen=True, slots=True)
class Party:
    """Whom passkeys are for: the host of `origin`, which browsers want to be a name."""

    host: str
    origin: str

    @property
    def usable(self) -> bool:
        """Whether browsers make passkeys for this host: not for a bare address."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return bool(self.host)
        return False

    def ask_new(self, oid: str, login: str, display_name: str, known: Iterable[Credential]) -> Asked:
        """Options for making a passkey, on no device that has one already."""
        user = PublicKeyCredentialUserEntity(id=oid.encode(), name=login, display_name=display_name)
        options, state = self._server().register_begin(
            user, _public(known), ResidentKeyRequirement.PREFERRED, _PREFERRED
        )
        return Asked(json.dumps(dict(options.public_key)), str(state["challenge"]))

    def made(self, challenge: str, answer: str) -> Credential:
        """The passkey that a browser has made; raises `NotProven`."""
        try:
            data = self._server().register_complete(_state(challenge), _parse(answer))
            public = data.credential_data
        except _MALFORMED as broken:
            raise NotProven(f"no passkey: {type(broken).__name__} {broken}"[:200]) from broken
        if public is None:
            raise NotProven("no passkey: without a key")
        return Credential(websafe_encode(public.credential_id), bytes(public), data.counter)

    def ask(self, known: Iterable[Credential]) -> Asked:
        """Options for proving to have one of the known passkeys."""
        options, state = self._server().authenticate_begin(_public(known), _PREFERRED)
        return Asked(json.dumps(dict(options.public_key)), str(state["challenge"]))

    def proven(self, challenge: str, known: Iterable[Credential], answer: str) -> Credential:
        """The known passkey that the answer proves, with its new counter; raises `NotProven`."""
        by_id = {one.id: one for one in known}
        try:
            told = AuthenticationResponse.from_dict(_parse(answer))
            found = self._server().authenticate_complete(_state(challenge), _public(by_id.values()), told)
            counter = told.response.authenticator_data.counter
        except _MALFORMED as broken:
            raise NotProven(f"passkey: {type(broken).__name__} {broken}"[:200]) from broken
        before = by_id[websafe_encode(found.credential_id)]
        if (counter or before.counter) and counter <= before.counter:
            raise NotProven("passkey: its counter went back, so there is a copy of it")
        return Credential(before.id, before.public, counter)

    def _server(self) -> Fido2Server:
        party = PublicKeyCredentialRpEntity(id=self.host, name="Wherry")
        return Fido2Server(party, verify_origin=lambda origin: origin == self.origin)


def _public(known: Iterable[Credential]) -> list[AttestedCredentialData]:
    return [AttestedCredentialData(one.public) for one in known]


def _state(challenge: str) -> dict[str, object]:
    if len(websafe_decode(challenge)) < _CHALLENGE:
        raise ValueError("no challenge is open")
    return {"challenge": challenge, "user_verification": _PREFERRED}


def _parse(answer: str) -> dict[str, object]:
    if len(answer) > MAX_LENGTH:
        raise ValueError("too long")
    parsed = json.loads(answer)
    if not isinstance(parsed, dict):
        raise TypeError("no object")
    return parsed
