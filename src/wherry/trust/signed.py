"""Strict reading and writing of signed JSON (compact JWS): the ground that tokens and proofs stand on.

Reading refuses, before any claim is looked at: more than 16 KiB, any algorithm but those of the `Form` by a key of that
kind, header members that are not in it (`jku`, `x5u`, `crit` never are), another `typ` than the one expected,
a member named twice, text that is not Unicode, anything that is not an object.  `kid` is only ever compared with the
keys at hand.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from wherry.model.errors import WherryError
from wherry.trust.keys import PrivateKey, PublicKey

MAX_LENGTH = 16 * 1024
MAX_TIME = 2**40

Header = Mapping[str, Any]
Claims = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Form:
    """What a kind of signed text may look like: members and bytes of its header, algorithms."""

    header: frozenset[str]
    algorithms: tuple[str, ...]
    header_bytes: int = 2048


OURS = Form(frozenset({"alg", "typ", "kid", "jwk"}), ("ES256", "RS256"))
"""Tokens and proofs that this project makes itself."""


class Untrusted(WherryError):
    """A token or proof that is refused; the message says why, for the log, never with its content."""


class _Registry(JWSRegistry):
    max_payload_length = MAX_LENGTH

    def __init__(self, form: Form = OURS) -> None:
        super().__init__(algorithms=list(form.algorithms))
        self.max_header_length = form.header_bytes


def write(claims: Mapping[str, Any], key: PrivateKey, typ: str, header: Mapping[str, Any]) -> str:
    """`claims` signed by `key`; `header` names the key (`kid`) or holds its public half (`jwk`)."""
    protected = {"alg": key.algorithm, "typ": typ, **header}
    body = json.dumps(claims, separators=(",", ":"), allow_nan=False).encode()
    return jws.serialize_compact(protected, body, key.jose, registry=_Registry())


def read(
    value: str, typ: str | None, find_key: Callable[[Header], PublicKey | None], form: Form = OURS
) -> tuple[Header, Claims]:
    """Header and claims of `value`, signature verified with the key that `find_key` gives; raises `Untrusted`.

    `typ` is what its header has to say, None that it says nothing.
    """
    header = peek_header(value, form)
    if header.get("typ") != typ:
        raise Untrusted(f"typ is not {typ}")
    key = find_key(header)
    if key is None:
        raise Untrusted("signed by an unknown key")
    # An RSA key signs in two ways, for whoever takes both.
    if str(header.get("alg")).replace("PS256", "RS256") != key.algorithm:
        raise Untrusted("algorithm is not the one of the key")
    try:
        signed = jws.deserialize_compact(value, key.jose, registry=_Registry(form))
    except (JoseError, ValueError, TypeError) as refused:
        raise Untrusted("the signature does not hold") from refused
    return header, _object(bytes(signed.payload or b""))


def peek_header(value: str, form: Form = OURS) -> Header:
    """The header of `value`, unverified: to find the key by, nothing else."""
    return _parts(value, form)[0]


def peek_claims(value: str, form: Form = OURS) -> Claims:
    """The claims of `value`, unverified: to find the client that has to have signed them, nothing else."""
    return _parts(value, form)[1]


def time_claim(claims: Claims, name: str) -> int:
    """A required time: a whole number of seconds that a clock could show."""
    value = claims.get(name)
    if type(value) is not int or not 0 <= value < MAX_TIME:
        raise Untrusted(f"{name} is missing or not a time")
    return value


def text_claim(claims: Claims, name: str) -> str:
    """A required, non-empty text."""
    value = claims.get(name)
    if not isinstance(value, str) or not value:
        raise Untrusted(f"{name} is missing or not a text")
    return value


def _parts(value: str, form: Form) -> tuple[Claims, Claims]:
    if len(value) > MAX_LENGTH:
        raise Untrusted("too long")
    if not value.isascii() or value.count(".") != 2:
        raise Untrusted("not a signed token")
    first, second, _ = value.split(".")
    header = _object(_decode(first))
    if not set(header) <= form.header or header.get("alg") not in form.algorithms:
        raise Untrusted("header not allowed")
    if not isinstance(header.get("kid", ""), str):
        raise Untrusted("kid is not a text")
    return header, _object(_decode(second))


def _decode(part: str) -> bytes:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except ValueError as broken:
        raise Untrusted("not base64url") from broken


def _object(text: bytes) -> Claims:
    try:
        value = json.loads(text, object_pairs_hook=_no_repeats, parse_constant=_no_constant)
        # Half a surrogate pair is read without complaint and can be neither stored nor sent.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as broken:
        raise Untrusted("not JSON") from broken
    if not isinstance(value, dict):
        raise Untrusted("not a JSON object")
    return value


def _no_repeats(pairs: list[tuple[str, Any]]) -> Claims:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a member is there twice")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
