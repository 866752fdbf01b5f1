"""The change of an agent's key: an offer of the new key, signed by it, bound to the agent and to the key it follows.

The offer shows that the agent holds the new key; that it may change anything is shown by the request that carries it,
which the old key proves.  Made by `agent.keys`, verified by `control.services.agent_keys`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wherry.trust import signed
from wherry.trust.keys import KeyTrouble, PrivateKey, PublicKey
from wherry.trust.signed import Untrusted

TYP = "key-change+jwt"


def offer(new: PrivateKey, client_id: str, old_jkt: str) -> str:
    """The offer of `new` by the agent `client_id`, whose key has the thumbprint `old_jkt`."""
    return signed.write({"sub": client_id, "follows": old_jkt}, new, TYP, {"jwk": new.public.jwk()})


def verify(text: str, client_id: str, old_jkt: str) -> PublicKey:
    """The key that is offered; raises `Untrusted`."""
    header, claims = signed.read(text, TYP, _embedded)
    if signed.text_claim(claims, "sub") != client_id or signed.text_claim(claims, "follows") != old_jkt:
        raise Untrusted("the offer is of another agent, or follows another key")
    return PublicKey.from_jwk(header["jwk"])


def _embedded(header: Mapping[str, Any]) -> PublicKey:
    jwk = header.get("jwk")
    if not isinstance(jwk, dict):
        raise Untrusted("the offer holds no key")
    try:
        return PublicKey.from_jwk(jwk)
    except KeyTrouble as refused:
        raise Untrusted(str(refused)) from refused
