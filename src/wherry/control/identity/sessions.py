"""A person's session in the browser: a random cookie, its hash in the database, a form token derived from it.

A session begins at sign-in with a new value (nothing that was there before is kept), lasts eight hours, and counts as
fresh for ten minutes: approving something asks for the password again after that.
"""

from __future__ import annotations

import hmac
import secrets

from sqlalchemy import Connection, delete, insert, select
from starlette.requests import Request
from starlette.responses import Response

from wherry.control.db.tables_identity import principals, sessions
from wherry.control.plane import Plane
from wherry.trust.keys import sha256
from wherry.trust.principals import FULL_SCOPE, Principal

COOKIE = "__Host-wherry"
LIFETIME = 8 * 3600
FRESH = 600.0


def begin(conn: Connection, oid: str, now: float) -> str:
    """A new session of `oid`; answers the cookie's value."""
    value = secrets.token_urlsafe(32)
    conn.execute(
        insert(sessions).values(
            hash=sha256(value), oid=oid, created_at=now, authenticated_at=now, expires_at=now + LIFETIME
        )
    )
    return value


def end(conn: Connection, value: str) -> None:
    """Forget a session."""
    conn.execute(delete(sessions).where(sessions.c.hash == sha256(value)))


def set_cookie(response: Response, value: str) -> None:
    """Give the browser a session's value: for this host only, over TLS only, out of reach of scripts."""
    response.set_cookie(COOKIE, value, max_age=LIFETIME, path="/", secure=True, httponly=True, samesite="lax")


def form_token(plane: Plane, value: str) -> str:
    """What a form of the page that `value` was set for must send back."""
    return hmac.new(plane.master.derive("form token"), value.encode(), "sha256").hexdigest()


def form_is_ours(plane: Plane, request: Request, sent: str) -> bool:
    """Whether a form was made by us for this very browser, and sent from our own pages."""
    value = request.cookies.get(COOKIE, "")
    origin = request.headers.get("origin")
    if not value or (origin is not None and origin not in plane.origins):
        return False
    return hmac.compare_digest(form_token(plane, value).encode(), sent.encode())


async def principal_of(plane: Plane, request: Request, *, fresh: bool = False) -> Principal | None:
    """Who the browser is signed in as, lately when `fresh`; None for nobody."""
    value = request.cookies.get(COOKIE, "")
    return await plane.database.read(_find, plane.tenant, value, plane.clock(), fresh) if value else None


def _find(conn: Connection, tenant: str, value: str, now: float, fresh: bool) -> Principal | None:
    row = conn.execute(
        select(sessions, principals.c.name, principals.c.epoch)
        .join(principals, principals.c.oid == sessions.c.oid)
        .where(sessions.c.hash == sha256(value), sessions.c.expires_at > now)
        .where(principals.c.enabled, principals.c.deleted_at.is_(None))
    ).first()
    if row is None or (fresh and now - row.authenticated_at > FRESH):
        return None
    return Principal(
        "user", row.oid, tenant, row.name, frozenset({FULL_SCOPE}), session=row.hash, epoch=row.epoch
    )
