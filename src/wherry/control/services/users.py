"""People: their names and passwords, and signing in with them.

Wrong passwords lock an account for a growing time; the answer and its duration are the same for a wrong name.
"""

from __future__ import annotations

import uuid

from sqlalchemy import Connection, insert, select, update

from wherry.control.db.tables_identity import credentials, principals, users
from wherry.control.services import limits
from wherry.model.errors import ApiError
from wherry.trust import passwords

FREE_FAILURES = 5
WRONG_PER_SOURCE = 50
WRONG_SECONDS = 600.0
_LOCK_SECONDS = 60.0
_LONGEST_LOCK = 3600.0


def create(conn: Connection, login: str, display_name: str, password: str, now: float) -> str:
    """A new user; answers the object id.  409 when the name is taken."""
    key = login.strip().lower()
    if conn.execute(select(users.c.oid).where(users.c.login == key)).first():
        raise ApiError(409, "UserExists", f"There is a user '{key}' already.")
    oid = str(uuid.uuid4())
    conn.execute(insert(principals).values(oid=oid, kind="user", name=key, created_at=now))
    conn.execute(insert(users).values(oid=oid, login=key, display_name=display_name))
    conn.execute(
        insert(credentials).values(
            oid=oid, kind="password", verifier=passwords.protect(password), changed_at=now
        )
    )
    return oid


def verifier_of(conn: Connection, login: str, now: float) -> tuple[str | None, str | None]:
    """(oid, verifier) to check a password against; (None, None) for nobody, disabled or locked.

    Checking costs tens of milliseconds and is done outside of any transaction.
    """
    row = conn.execute(
        select(users.c.oid, credentials.c.verifier)
        .join(credentials, credentials.c.oid == users.c.oid)
        .join(principals, principals.c.oid == users.c.oid)
        .where(users.c.login == login.strip().lower())
        .where(users.c.locked_until_at <= now)
        .where(principals.c.enabled, principals.c.deleted_at.is_(None))
    ).first()
    return (row.oid, row.verifier) if row else (None, None)


def may_try(conn: Connection, source: str, now: float) -> bool:
    """Whether an address has not sent too many wrong passwords lately."""
    return limits.left(conn, f"wrong password/{source}", WRONG_PER_SOURCE, WRONG_SECONDS, now)


def record_attempt(conn: Connection, login: str, source: str, *, right: bool, now: float) -> bool:
    """Count a wrong password of an account and an address, or forget the account's after a right one.

    Answers whether this signs in: of many tries at once, those that are over the limits do not, right or wrong.
    """
    if not may_try(conn, source, now):
        return False
    if not right:
        limits.hit(conn, f"wrong password/{source}", WRONG_PER_SOURCE, WRONG_SECONDS, now)
    key = login.strip().lower()
    row = conn.execute(select(users.c.failures, users.c.locked_until_at).where(users.c.login == key)).first()
    if row is None or row.locked_until_at > now:
        return False
    failures = 0 if right else row.failures + 1
    over = failures - FREE_FAILURES
    locked = now + min(_LOCK_SECONDS * 2**over, _LONGEST_LOCK) if over >= 0 else 0.0
    conn.execute(update(users).where(users.c.login == key).values(failures=failures, locked_until_at=locked))
    return right
