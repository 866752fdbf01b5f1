"""Identities of agents: an object id, a client id and a key, made in the transaction that registers an agent.

Endpoints may have one as well, for clients that give it roles.

An identity that is deleted stays as a tombstone with no rights: neither its ids nor its key are ever given again.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from wherry.control.db.tables_identity import agent_keys, principals, sessions
from wherry.control.services import agent_trust, role_assignments
from wherry.model.errors import ApiError
from wherry.trust.keys import KeyTrouble, PublicKey

KEY_SECONDS = 30 * 86400.0


@dataclass(frozen=True, slots=True)
class AgentIdentity:
    """What an agent needs to sign in: `client_id` and its key; `oid` is what role assignments name."""

    oid: str
    client_id: str
    jkt: str
    key_expires_at: float


def create_agent(
    conn: Connection,
    *,
    name: str,
    machine_id: str,
    jwk: Mapping[str, Any],
    now: float,
    scope_key: str | None = None,
) -> AgentIdentity:
    """A new identity for the agent with the public key `jwk`; 400 for a bad key, 409 for one known already.

    `scope_key`: key of the private link scope by whose networks alone the agent may come.
    """
    try:
        key = PublicKey.from_jwk(jwk)
    except KeyTrouble as broken:
        raise ApiError(400, "InvalidKey", str(broken)) from broken
    if conn.execute(select(agent_keys.c.jkt).where(agent_keys.c.jkt == key.thumbprint)).first():
        raise ApiError(409, "KeyInUse", "This key belongs to another identity. Let the agent make a new one.")
    made = AgentIdentity(str(uuid.uuid4()), str(uuid.uuid4()), key.thumbprint, now + KEY_SECONDS)
    conn.execute(
        insert(principals).values(
            oid=made.oid,
            kind="agent",
            name=name,
            client_id=made.client_id,
            resource_id=machine_id,
            created_at=now,
        )
    )
    conn.execute(
        insert(agent_keys).values(
            jkt=made.jkt,
            oid=made.oid,
            jwk=key.jwk(),
            state="active",
            created_at=now,
            expires_at=made.key_expires_at,
        )
    )
    agent_trust.begin(conn, made.oid, scope_key)
    return made


def create_of_resource(conn: Connection, *, name: str, resource_id: str, now: float) -> str:
    """An identity of a resource, by which roles can be given to it; it has no key, and nobody signs in as it."""
    oid = str(uuid.uuid4())
    conn.execute(
        insert(principals).values(
            oid=oid, kind="agent", name=name, client_id=str(uuid.uuid4()), resource_id=resource_id, created_at=now
        )
    )  # fmt: skip
    return oid


def find_agent(conn: Connection, oid: str) -> AgentIdentity | None:
    """The living identity with this object id."""
    row = conn.execute(
        select(principals.c.oid, principals.c.client_id, agent_keys.c.jkt, agent_keys.c.expires_at)
        .join(agent_keys, agent_keys.c.oid == principals.c.oid)
        .where(principals.c.oid == oid, principals.c.deleted_at.is_(None), agent_keys.c.state == "active")
        .order_by(agent_keys.c.generation.desc())
    ).first()
    return AgentIdentity(row.oid, row.client_id, row.jkt, row.expires_at) if row else None


def delete_agent(conn: Connection, oid: str, now: float) -> None:
    """End an identity: its tokens, its key and everything that it was granted, at once.  Twice is as good as once."""
    conn.execute(
        update(principals)
        .where(principals.c.oid == oid, principals.c.kind == "agent", principals.c.deleted_at.is_(None))
        .values(enabled=False, deleted_at=now, epoch=principals.c.epoch + 1)
    )
    conn.execute(update(agent_keys).where(agent_keys.c.oid == oid).values(state="retired"))
    role_assignments.remove_of_principal(conn, oid)


def revoke_tokens(conn: Connection, oid: str) -> None:
    """Make every token that was issued to `oid` and every session worthless, without touching the identity."""
    conn.execute(delete(sessions).where(sessions.c.oid == oid))
    conn.execute(update(principals).where(principals.c.oid == oid).values(epoch=principals.c.epoch + 1))
