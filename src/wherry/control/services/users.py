"""People: their names and passwords, and signing in with them.

Wrong passwords lock an account for a growing time; the answer and its duration are the same for a wrong name.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update
from sqlalchemy import delete as sql_delete

from wherry.control.db.tables_identity import credentials, principals, users
from wherry.control.services import limits
from wherry.control.services import principals as ends
from wherry.model.errors import ApiError
from wherry.trust import passwords

FREE_FAILURES = 5
WRONG_PER_SOURCE = 50
WRONG_SECONDS = 600.0
_LOCK_SECONDS = 60.0
_LONGEST_LOCK = 3600.0
_USER = (
    select(
        principals.c.oid,
        users.c.login,
        users.c.display_name,
        principals.c.enabled,
        principals.c.created_at,
        credentials.c.must_change,
    )
    .join(users, users.c.oid == principals.c.oid)
    .join(credentials, credentials.c.oid == principals.c.oid)
    .where(principals.c.deleted_at.is_(None))
)


@dataclass(frozen=True, slots=True)
class User:
    """A person as the directory has it."""

    oid: str
    login: str
    display_name: str
    enabled: bool
    created_at: float
    must_change: bool


def create(conn: Connection, login: str, display_name: str, password: str, now: float) -> str:
    """A new user; answers the object id.  409 when the name is taken."""
    return add(conn, login, display_name, passwords.protect(password), now)


def add(
    conn: Connection, login: str, display_name: str, verifier: str, now: float, *, must_change: bool = False
) -> str:
    """The same with a password that was hashed before, as that takes too long for a transaction."""
    key = login.strip().lower()
    if conn.execute(select(users.c.oid).where(users.c.login == key)).first():
        raise ApiError(409, "UserExists", f"There is a user '{key}' already.")
    oid = str(uuid.uuid4())
    conn.execute(insert(principals).values(oid=oid, kind="user", name=key, created_at=now))
    conn.execute(insert(users).values(oid=oid, login=key, display_name=display_name))
    conn.execute(
        insert(credentials).values(
            oid=oid, kind="password", verifier=verifier, changed_at=now, must_change=must_change
        )
    )
    return oid


def everyone(conn: Connection) -> list[User]:
    """All users, in the order of their object ids."""
    return [User(*row) for row in conn.execute(_USER.order_by(principals.c.oid))]


def find(conn: Connection, name: str) -> User | None:
    """The user with this object id or name."""
    key = name.strip().lower()
    row = conn.execute(_USER.where((principals.c.oid == key) | (users.c.login == key))).first()
    return User(*row) if row else None


def rename(conn: Connection, oid: str, display_name: str) -> None:
    """Another name to show."""
    conn.execute(update(users).where(users.c.oid == oid).values(display_name=display_name))


def set_password(conn: Connection, oid: str, verifier: str, now: float, *, must_change: bool) -> None:
    """Another password, and an end to the lock that wrong ones brought; sign-ins are the caller's to end."""
    conn.execute(
        update(credentials)
        .where(credentials.c.oid == oid, credentials.c.kind == "password")
        .values(verifier=verifier, changed_at=now, must_change=must_change)
    )
    conn.execute(update(users).where(users.c.oid == oid).values(failures=0, locked_until_at=0.0))


def delete(conn: Connection, oid: str, now: float) -> None:
    """End a user; the name may be given to another one.  The last owner stays: 400."""
    conn.execute(sql_delete(credentials).where(credentials.c.oid == oid))
    conn.execute(sql_delete(users).where(users.c.oid == oid))
    ends.end(conn, oid, now)


def must_change(conn: Connection, oid: str) -> bool:
    """Whether somebody has to choose a password before anything else."""
    return bool(conn.execute(select(credentials.c.must_change).where(credentials.c.oid == oid)).scalar())


def verifier_of(
    conn: Connection, login: str, now: float, first_seconds: float
) -> tuple[str | None, str | None]:
    """(oid, verifier) to check a password against; (None, None) for nobody, disabled, locked, or one that had to be
    changed within `first_seconds` and was not.

    Checking costs tens of milliseconds and is done outside of any transaction.
    """
    row = conn.execute(
        select(users.c.oid, credentials.c.verifier)
        .join(credentials, credentials.c.oid == users.c.oid)
        .join(principals, principals.c.oid == users.c.oid)
        .where(users.c.login == login.strip().lower())
        .where(users.c.locked_until_at <= now)
        .where(~credentials.c.must_change | (credentials.c.changed_at > now - first_seconds))
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
