"""Refresh tokens: one family a sign-in, a new token at each use, and the whole family gone when one is used twice.

The family's id is the `sid` of every token that came from the sign-in: revoking it ends those at once too.
"""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, insert, select, update

from wherry.control.db.tables_identity import refresh_families, refresh_tokens
from wherry.trust.keys import sha256

IDLE = 8 * 3600.0
ABSOLUTE = 24 * 3600.0

Refused = Literal["unknown", "expired", "reused", "revoked", "foreign"]


@dataclass(frozen=True, slots=True, repr=False)
class Refreshed:
    """A sign-in that goes on: who, under which `sid`, and the token for the next time."""

    oid: str
    family: str
    token: str


def begin(conn: Connection, oid: str, client_id: str, now: float) -> Refreshed:
    """A new family with its first token."""
    family = str(uuid.uuid4())
    conn.execute(
        insert(refresh_families).values(
            family=family, oid=oid, client_id=client_id, created_at=now, expires_at=now + ABSOLUTE
        )
    )
    return Refreshed(oid, family, _add(conn, family, now, now + ABSOLUTE))


def use(conn: Connection, token: str, client_id: str, now: float) -> Refreshed | Refused:
    """Exchange a token for the next one.  Answers why not, instead of raising: a reuse has to be kept."""
    row = conn.execute(
        select(
            refresh_tokens.c.hash,
            refresh_tokens.c.used_at,
            refresh_tokens.c.expires_at,
            refresh_families.c.family,
            refresh_families.c.oid,
            refresh_families.c.client_id,
            refresh_families.c.revoked_at,
            refresh_families.c.expires_at.label("ends_at"),
        )
        .join(refresh_families, refresh_families.c.family == refresh_tokens.c.family)
        .where(refresh_tokens.c.hash == sha256(token))
    ).first()
    if row is None:
        return "unknown"
    if row.client_id != client_id:
        return "foreign"
    if row.revoked_at is not None:
        return "revoked"
    if row.used_at is not None:
        revoke(conn, row.family, now)
        return "reused"
    if min(row.expires_at, row.ends_at) <= now:
        return "expired"
    conn.execute(update(refresh_tokens).where(refresh_tokens.c.hash == row.hash).values(used_at=now))
    return Refreshed(row.oid, row.family, _add(conn, row.family, now, row.ends_at))


def revoke(conn: Connection, family: str, now: float) -> None:
    """End a sign-in: its refresh tokens and every access token with its `sid`."""
    conn.execute(update(refresh_families).where(refresh_families.c.family == family).values(revoked_at=now))


def _add(conn: Connection, family: str, now: float, ends_at: float) -> str:
    token = secrets.token_urlsafe(48)
    conn.execute(
        insert(refresh_tokens).values(
            hash=sha256(token), family=family, created_at=now, expires_at=min(now + IDLE, ends_at)
        )
    )
    return token
