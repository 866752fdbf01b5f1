"""Strict reading and writing of signed JSON (compact JWS): the ground that tokens and proofs stand on.

Reading refuses, before any claim is looked at: more than 16 KiB, any algorithm but ES256 and RS256 by a key of that
kind, header members that are not on the list (`jku`, `x5u`, `crit` are not), another `typ` than the one expected,
a member named twice, text that is not Unicode, anything that is not an object.  `kid` is only ever compared with the
keys at hand.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from wherry.model.errors import WherryError
from wherry.trust.keys import PrivateKey, PublicKey

MAX_LENGTH = 16 * 1024
MAX_TIME = 2**40
_HEADER = frozenset({"alg", "typ", "kid", "jwk"})
_ALGORITHMS = ("ES256", "RS256")

Header = Mapping[str, Any]
Claims = dict[str, Any]


class Untrusted(WherryError):
    """A token or proof that is refused; the message says why, for the log, never with its content."""


class _Registry(JWSRegistry):
    max_header_length = 2048
    max_payload_length = MAX_LENGTH


def write(claims: Mapping[str, Any], key: PrivateKey, typ: str, header: Mapping[str, Any]) -> str:
    """`claims` signed by `key`; `header` names the key (`kid`) or holds its public half (`jwk`)."""
    protected = {"alg": key.algorithm, "typ": typ, **header}
    body = json.dumps(claims, separators=(",", ":"), allow_nan=False).encode()
    return jws.serialize_compact(protected, body, key.jose, registry=_Registry(algorithms=_ALGORITHMS))


def read(value: str, typ: str, find_key: Callable[[Header], PublicKey | None]) -> tuple[Header, Claims]:
    """Header and claims of `value`, signature verified with the key that `find_key` gives; raises `Untrusted`."""
    header = peek_header(value)
    if header.get("typ") != typ:
        raise Untrusted(f"typ is not {typ}")
    key = find_key(header)
    if key is None:
        raise Untrusted("signed by an unknown key")
    if header.get("alg") != key.algorithm:
        raise Untrusted("algorithm is not the one of the key")
    try:
        signed = jws.deserialize_compact(value, key.jose, registry=_Registry(algorithms=_ALGORITHMS))
    except (JoseError, ValueError, TypeError) as refused:
        raise Untrusted("the signature does not hold") from refused
    return header, _object(bytes(signed.payload or b""))


def peek_header(value: str) -> Header:
    """The header of `value`, unverified: to find the key by, nothing else."""
    return _parts(value)[0]


def peek_claims(value: str) -> Claims:
    """The claims of `value`, unverified: to find the client that has to have signed them, nothing else."""
    return _parts(value)[1]


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


def _parts(value: str) -> tuple[Claims, Claims]:
    if len(value) > MAX_LENGTH:
        raise Untrusted("too long")
    if not value.isascii() or value.count(".") != 2:
        raise Untrusted("not a signed token")
    first, second, _ = value.split(".")
    header = _object(_decode(first))
    if not set(header) <= _HEADER or header.get("alg") not in _ALGORITHMS:
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
