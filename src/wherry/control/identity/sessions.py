"""A person's session in the browser: a random cookie, its hash in the database, a form token derived from it.

A session begins at the password with a new value (nothing that was there before is kept), and gets another one when a
second factor is proven.  Where that is wanted and missing it is half a session: it lasts ten minutes and opens nothing
but the pages on which a factor is proven or set up.  A whole one lasts eight hours and counts as fresh for ten
minutes: approving something asks for a new sign-in after that.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update
from starlette.requests import Request
from starlette.responses import Response

from wherry.control.db.tables_identity import principals, sessions
from wherry.control.plane import Plane
from wherry.control.services import factors
from wherry.trust.keys import MasterKey, sha256
from wherry.trust.principals import FULL_SCOPE, Principal

COOKIE = "__Host-wherry"
WANTED = "__Host-wherry-page"
PAGES = ("/agents", "/start", "/access")
LIFETIME = 8 * 3600
FRESH = 600.0
WRONG_CODES = 5


@dataclass(frozen=True, slots=True)
class Session:
    """A session as it is; `whole` when all was proven that has to be, `fresh` when that was lately."""

    hash: str
    oid: str
    name: str
    epoch: int
    factor: str
    has_factors: bool
    whole: bool
    fresh: bool

    @property
    def may_enrol(self) -> bool:
        """Whether a second factor may be added here: the first one by the password alone."""
        return self.fresh and (self.whole or not self.has_factors)


def begin(conn: Connection, oid: str, now: float, *, factor: str = "", half: bool = False) -> str:
    """A new session of `oid`; answers the cookie's value."""
    value = secrets.token_urlsafe(32)
    ends = now + (FRESH if half else LIFETIME)
    conn.execute(
        insert(sessions).values(
            hash=sha256(value), oid=oid, created_at=now, authenticated_at=now, expires_at=ends,
            factor=factor or None,
        )
    )  # fmt: skip
    return value


def proven(conn: Connection, session: Session, factor: str, now: float) -> str:
    """The session goes on with a second factor, under a new value."""
    conn.execute(delete(sessions).where(sessions.c.hash == session.hash))
    return begin(conn, session.oid, now, factor=factor)


def end(conn: Connection, value: str) -> None:
    """Forget a session."""
    conn.execute(delete(sessions).where(sessions.c.hash == sha256(value)))


def wrong_code(conn: Connection, session: str) -> None:
    """Count a wrong device code; some of them end the session."""
    conn.execute(
        update(sessions).where(sessions.c.hash == session).values(wrong_codes=sessions.c.wrong_codes + 1)
    )
    conn.execute(delete(sessions).where(sessions.c.hash == session, sessions.c.wrong_codes >= WRONG_CODES))


def keep_challenge(conn: Connection, session: str, challenge: str) -> None:
    """Remember what a passkey is to sign."""
    conn.execute(update(sessions).where(sessions.c.hash == session).values(challenge=challenge))


def take_challenge(conn: Connection, session: str) -> str:
    """The challenge that is open, which it is not any more; empty when there is none."""
    found = conn.execute(select(sessions.c.challenge).where(sessions.c.hash == session)).scalar()
    conn.execute(update(sessions).where(sessions.c.hash == session).values(challenge=None))
    return found or ""


def offer(conn: Connection, master: MasterKey, session: str, secret: bytes) -> bytes:
    """The secret that this session offers to an authenticator app: the one from before, or this new one."""
    known = offered(conn, master, session)
    if known is not None:
        return known
    sealed = master.seal(secret, _context(session))
    conn.execute(update(sessions).where(sessions.c.hash == session).values(offered=sealed))
    return secret


def offered(conn: Connection, master: MasterKey, session: str) -> bytes | None:
    """The secret that was offered here."""
    sealed = conn.execute(select(sessions.c.offered).where(sessions.c.hash == session)).scalar()
    return None if sealed is None else master.unseal(sealed, _context(session))


def withdraw_offer(conn: Connection, session: str) -> None:
    """The next app gets another secret."""
    conn.execute(update(sessions).where(sessions.c.hash == session).values(offered=None))


def set_cookie(response: Response, value: str) -> None:
    """Give the browser a session's value: for this host only, over TLS only, out of reach of scripts."""
    response.set_cookie(COOKIE, value, max_age=LIFETIME, path="/", secure=True, httponly=True, samesite="lax")


def remember_page(response: Response, path: str) -> None:
    """Note which page somebody wanted who has to sign in first; only pages that `page_wanted` knows."""
    if path in PAGES:
        response.set_cookie(
            WANTED, path, max_age=int(FRESH), path="/", secure=True, httponly=True, samesite="lax"
        )


def page_wanted(request: Request) -> str:
    """Where to go after signing in: the page that was wanted, of a fixed few, else that of device codes."""
    told = request.cookies.get(WANTED, "")
    return told if told in PAGES else "/device"


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
    """Who the browser is signed in as, with all that has to be proven, lately when `fresh`; None for nobody."""
    found = await of(plane, request)
    if found is None or not found.whole or (fresh and not found.fresh):
        return None
    return Principal(
        "user", found.oid, plane.tenant, found.name, frozenset({FULL_SCOPE}), session=found.hash,
        epoch=found.epoch,
    )  # fmt: skip


async def of(plane: Plane, request: Request) -> Session | None:
    """The browser's session, whole or half."""
    value = request.cookies.get(COOKIE, "")
    if not value:
        return None
    return await plane.database.read(find, value, plane.clock(), plane.settings.second_factor)


def find(conn: Connection, value: str, now: float, demanded: bool) -> Session | None:
    """The living session with this cookie, where a second factor is demanded of everybody or not."""
    row = conn.execute(
        select(sessions, principals.c.name, principals.c.epoch)
        .join(principals, principals.c.oid == sessions.c.oid)
        .where(sessions.c.hash == sha256(value), sessions.c.expires_at > now)
        .where(principals.c.enabled, principals.c.deleted_at.is_(None))
    ).first()
    if row is None:
        return None
    known = factors.has_any(conn, row.oid)
    return Session(
        row.hash, row.oid, row.name, row.epoch, row.factor or "", known,
        whole=bool(row.factor) or not (demanded or known),
        fresh=now - row.authenticated_at <= FRESH,
    )  # fmt: skip


def _context(session: str) -> str:
    return f"sessions/{session}"
