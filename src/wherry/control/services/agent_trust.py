"""What an agent's identity has to be besides alive: the only holder of its key, not locked, not expired.

`admit` is asked for every token, in the transaction that gives it; `trouble` at every request.  A state that was left
behind, a key that was replaced, a token whose state was given anew: each shows a second holder, and locks the
identity with all that it holds.  Both holders are out then; a person registers the agent anew.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from wherry.control import audit
from wherry.control.audit import Record
from wherry.control.db.tables_agents import agent_trust
from wherry.control.db.tables_identity import agent_keys, principals
from wherry.control.services import presence, private_links, surrender, vault
from wherry.model.errors import ApiError
from wherry.trust import join_state
from wherry.trust.join_state import Chain, JoinState
from wherry.trust.keys import MasterKey
from wherry.trust.principals import Principal
from wherry.trust.proofs import Proof
from wherry.trust.signed import Untrusted

log = logging.getLogger("wherry.control")

_SIGNER = "wherry/join-states"


@dataclass(frozen=True, slots=True)
class Admitted:
    """A token may be given: `state` goes with it, `text` is what the agent keeps of that."""

    state: JoinState
    text: str


def begin(conn: Connection, oid: str, scope_key: str | None = None) -> None:
    """A new identity, with its first state."""
    conn.execute(insert(agent_trust).values(oid=oid, state=str(JoinState(1)), private_link_scope=scope_key))


def is_unused(conn: Connection, oid: str, scope_key: str | None) -> bool:
    """Whether an identity of this private link scope was never signed in with."""
    row = conn.execute(select(agent_trust).where(agent_trust.c.oid == oid)).first()
    return (
        row is not None
        and not row.asserted_at
        and row.locked_at is None
        and row.private_link_scope == scope_key
    )


def state_of(conn: Connection, master: MasterKey, oid: str, now: float) -> str:
    """The newest state of an identity, as its agent keeps it."""
    row = conn.execute(
        select(agent_trust.c.state, principals.c.client_id)
        .join(principals, principals.c.oid == agent_trust.c.oid)
        .where(agent_trust.c.oid == oid)
    ).one()
    return join_state.write(_signer(conn, master, now), row.client_id, JoinState.parse(row.state))


def admit(
    conn: Connection, master: MasterKey, oid: str, verified: Proof, shown: str, address: str, now: float
) -> Admitted | str:
    """Whether the holder of a verified assertion gets a token at `address`; else why not, as the agent is told."""
    row = _row(conn, oid, verified.jkt)
    if row is None:
        return "the client or its key is not known"
    dead = _dead(row)
    if dead:
        return dead
    if row.private_link_scope is not None and not private_links.admits(conn, row.private_link_scope, address):
        return private_links.refused(address)
    signer = _signer(conn, master, now)
    chain = None if row.key_state == "retired" else _follow(row, signer, shown)
    if chain is None:
        return _second_holder(conn, row, verified, now)
    if row.expires_at <= now:
        return "identity_expired: the agent's key has expired; register the agent again"
    _put_in_force(conn, row)
    conn.execute(
        update(agent_trust)
        .where(agent_trust.c.oid == oid)
        .values(**_columns(chain), asserted_at=max(row.asserted_at, verified.issued_at))
    )
    return Admitted(chain.current, join_state.write(signer, row.client_id, chain.current))


def trouble(conn: Connection, principal: Principal, address: str, now: float) -> tuple[str, bool]:
    """What is wrong with an agent that calls, empty for nothing; and whether `note_use` has something to note."""
    row = _row(conn, principal.oid, principal.jkt or "")
    if row is None or row.deleted_at is not None:
        return ("identity_deleted" if row is None or row.kind == "agent" else "invalid_token"), False
    if row.locked_at is not None:
        return "identity_locked", False
    if not row.enabled or row.kind != "agent" or row.epoch != principal.epoch:
        return "invalid_token", False
    if row.key_state != "active" or row.expires_at <= now or not principal.join:
        return "invalid_token", False
    if row.private_link_scope is not None and not private_links.admits(conn, row.private_link_scope, address):
        return private_links.DENIED, False
    return "", _chain(row).use(JoinState.parse(principal.join)) != _chain(row)


def is_elsewhere(conn: Connection, oid: str, address: str) -> bool:
    """Whether an agent has a private link scope that does not admit this address."""
    scope = conn.execute(select(agent_trust.c.private_link_scope).where(agent_trust.c.oid == oid)).scalar()
    return scope is not None and not private_links.admits(conn, scope, address)


def note_use(conn: Connection, principal: Principal, now: float) -> str:
    """A token is used whose state matters; what is wrong with that, empty for nothing."""
    row = _row(conn, principal.oid, principal.jkt or "")
    if row is None:
        return "identity_deleted"
    chain = _chain(row).use(JoinState.parse(principal.join))
    if chain is None:
        lock(conn, row.oid, "a token was used that came with a join state which was given anew since", now)
        return "identity_locked"
    conn.execute(update(agent_trust).where(agent_trust.c.oid == row.oid).values(**_columns(chain)))
    return ""


def lock(conn: Connection, oid: str, why: str, now: float) -> None:
    """Take an identity out of service: tokens, leases, and runs that were its alone."""
    conn.execute(update(agent_trust).where(agent_trust.c.oid == oid).values(locked_at=now, lock_reason=why))
    name = conn.execute(
        update(principals)
        .where(principals.c.oid == oid)
        .values(enabled=False, epoch=principals.c.epoch + 1)
        .returning(principals.c.name)
    ).scalar_one()
    surrender.give_back(conn, oid, now)
    key = presence.key_of(conn, oid)
    if key is not None:
        surrender.end_runs(conn, key, now, f"It was locked: {why}.")
    record = Record(
        "wherry/agent-locked", "denied", scope=key or "", actor=oid, actor_kind="agent", actor_name=name, reason=why
    )  # fmt: skip
    audit.append(conn, record, now)
    log.error("an agent is locked", extra={"agent": key or oid, "reason": why})


def lapsed(conn: Connection, oid: str, now: float) -> str:
    """Why an identity can be replaced by a registration under the same name; empty for one that is in force."""
    row = conn.execute(
        select(principals.c.deleted_at, agent_trust.c.locked_at)
        .join(agent_trust, agent_trust.c.oid == principals.c.oid)
        .where(principals.c.oid == oid)
    ).first()
    if row is None or row.deleted_at is not None:
        return "gone"
    if row.locked_at is not None:
        return "locked"
    good = select(agent_keys.c.jkt).where(
        agent_keys.c.oid == oid, agent_keys.c.state == "active", agent_keys.c.expires_at > now
    )
    return "" if conn.execute(good).first() else "expired"


def _row(conn: Connection, oid: str, jkt: str) -> Row[*tuple[Any, ...]] | None:
    """All that matters of an identity and of the one of its keys that was used."""
    return conn.execute(
        select(
            principals.c.oid, principals.c.kind, principals.c.client_id, principals.c.enabled, principals.c.epoch,
            principals.c.deleted_at, agent_keys.c.jkt, agent_keys.c.state.label("key_state"), agent_keys.c.expires_at,
            agent_keys.c.generation,
            agent_trust.c.state, agent_trust.c.previous, agent_trust.c.used, agent_trust.c.asserted_at,
            agent_trust.c.locked_at, agent_trust.c.private_link_scope,
        )
        .join(agent_keys, agent_keys.c.oid == principals.c.oid)
        .join(agent_trust, agent_trust.c.oid == principals.c.oid)
        .where(principals.c.oid == oid, agent_keys.c.jkt == jkt)
    ).first()  # fmt: skip


def _dead(row: Row[Any]) -> str:
    if row.deleted_at is not None:
        return "identity_deleted: this agent was unregistered"
    if row.locked_at is not None:
        return "identity_locked: somebody else holds this agent's key too; register the agent again"
    return "" if row.enabled else "the identity is disabled"


def _follow(row: Row[Any], signer: bytes, shown: str) -> Chain | None:
    try:
        return _chain(row).follow(join_state.read(signer, row.client_id, shown))
    except Untrusted:
        return None


def _second_holder(conn: Connection, row: Row[Any], verified: Proof, now: float) -> str:
    """A request that was on its way while a later one was answered shows nothing; any other one locks."""
    if verified.issued_at < row.asserted_at:
        return "the assertion is older than one that was accepted"
    retired = row.key_state == "retired"
    lock(conn, row.oid, "a key was used that was replaced" if retired else "a join state came twice", now)
    return "identity_locked: somebody else holds this agent's key too; register the agent again"


def _put_in_force(conn: Connection, row: Row[Any]) -> None:
    """A key was used: those that it follows are not good any more."""
    conn.execute(
        update(agent_keys)
        .where(agent_keys.c.oid == row.oid, agent_keys.c.generation < row.generation)
        .values(state="retired")
    )


def _chain(row: Row[Any]) -> Chain:
    previous = JoinState.parse(row.previous) if row.previous else None
    return Chain(JoinState.parse(row.state), previous, row.used)


def _columns(chain: Chain) -> dict[str, Any]:
    return {
        "state": str(chain.current),
        "previous": str(chain.previous) if chain.previous else None,
        "used": chain.used,
    }


def _signer(conn: Connection, master: MasterKey, now: float) -> bytes:
    """The key that signs states: kept sealed, so that it outlives a change of the master key."""
    try:
        return bytes.fromhex(vault.get_secret(conn, master, _SIGNER))
    except ApiError as none:
        if none.code != vault.ABSENT:
            raise
        made = secrets.token_bytes(32)
        vault.put_secret(conn, master, _SIGNER, made.hex(), "", now)
        return made
