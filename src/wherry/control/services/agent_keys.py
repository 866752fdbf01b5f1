"""The change of agents' keys: when one is due, and the offer of the key that follows.

A key is good for thirty days and changed at half of that, give or take a tenth, so that a fleet does not change at
once.  The offered key counts beside the one in force until it is first used (`agent_trust.admit`); from then on it is
the only one, and a use of the old one locks the agent.
"""

from __future__ import annotations

import hashlib

from sqlalchemy import Connection, delete, insert, select

from wherry.control import audit
from wherry.control.caller import Caller
from wherry.control.db.tables_identity import agent_keys
from wherry.control.services import identities
from wherry.model.errors import ApiError
from wherry.trust import key_change
from wherry.trust.keys import PublicKey
from wherry.trust.signed import Untrusted

_JITTER = 0.1


def due(conn: Connection, jkt: str, now: float) -> bool:
    """Whether the key with this thumbprint has passed half of its life."""
    row = conn.execute(
        select(agent_keys.c.created_at, agent_keys.c.expires_at).where(agent_keys.c.jkt == jkt)
    ).first()
    if row is None:
        return False
    share = int.from_bytes(hashlib.sha256(jkt.encode()).digest()[:2]) / 0xFFFF
    half = (row.expires_at - row.created_at) / 2
    return bool(now >= row.created_at + half * (1 + _JITTER * (2 * share - 1)))


def offer(conn: Connection, caller: Caller, text: str) -> None:
    """Take the key that is to follow the caller's; the same offer again changes nothing.

    400 for an offer that is not by the new key for this agent and its key, 409 for a key that was in use before.
    """
    who = caller.principal
    try:
        key = key_change.verify(text, who.client_id, who.jkt or "")
    except Untrusted as refused:
        raise ApiError(400, "InvalidKey", f"The offered key is refused: {refused}.") from refused
    mine = conn.execute(select(agent_keys).where(agent_keys.c.jkt == who.jkt)).one()
    known = conn.execute(select(agent_keys).where(agent_keys.c.jkt == key.thumbprint)).first()
    if known is not None:
        if known.oid != who.oid or known.state != "active":
            raise ApiError(409, "KeyInUse", "This key was in use before. Let the agent make a new one.")
        return
    # An earlier offer that never came to be used.
    conn.execute(
        delete(agent_keys).where(agent_keys.c.oid == who.oid, agent_keys.c.generation > mine.generation)
    )
    _insert(conn, who.oid, key, mine.generation + 1, caller.now)
    audit.append(
        conn,
        audit.of(
            who,
            "wherry/key-offered",
            "allowed",
            request_id=caller.request_id,
            details={"key": key.thumbprint},
        ),
        caller.now,
    )


def _insert(conn: Connection, oid: str, key: PublicKey, generation: int, now: float) -> None:
    conn.execute(
        insert(agent_keys).values(
            jkt=key.thumbprint, oid=oid, jwk=key.jwk(), state="active", generation=generation, created_at=now,
            expires_at=now + identities.KEY_SECONDS,
        )
    )  # fmt: skip
