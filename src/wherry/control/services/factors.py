"""Second factors of people in the database: what they have, proving one, and the guesses that are left.

A time code counts once, a recovery code goes with its use, a passkey's counter only grows: each proof is one
transaction of the caller's.  Wrong ones lock the factors of an account for a growing time.  The first factor of an
account starts its recovery codes, which are shown once.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy import Connection, delete, exists, func, insert, select, update

from wherry.control.db.tables_factors import factor_guesses, factors, recovery_codes
from wherry.control.db.tables_identity import sessions
from wherry.model.errors import ApiError
from wherry.trust import onetime
from wherry.trust.keys import MasterKey
from wherry.trust.passkeys import Credential, NotProven, Party

FREE_FAILURES = 5
MOST = 10
_LOCK_SECONDS = 60.0
_LONGEST_LOCK = 3600.0


@dataclass(frozen=True, slots=True)
class Factor:
    """One factor of a person, without what proves it."""

    id: str
    kind: str
    name: str
    created_at: float
    used_at: float | None


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """What a person sent as proof: a code that was typed, or what the browser says of a passkey."""

    code: str = ""
    passkey: str = ""
    challenge: str = ""


def of(conn: Connection, oid: str) -> list[Factor]:
    """The factors of a person, oldest first."""
    rows = conn.execute(
        select(factors).where(factors.c.oid == oid).order_by(factors.c.created_at, factors.c.id)
    )
    return [Factor(row.id, row.kind, row.name, row.created_at, row.used_at) for row in rows]


def has_any(conn: Connection, oid: str) -> bool:
    """Whether a person has a factor, which is then asked for."""
    return bool(conn.execute(select(exists().where(factors.c.oid == oid))).scalar())


def passkeys_of(conn: Connection, oid: str) -> list[Credential]:
    """The public halves of a person's passkeys."""
    rows = conn.execute(select(factors).where(factors.c.oid == oid, factors.c.kind == "passkey"))
    return [Credential(row.credential_id, row.credential, row.counter) for row in rows]


def codes_left(conn: Connection, oid: str) -> int:
    """How many recovery codes a person still has."""
    found = select(func.count()).select_from(recovery_codes).where(recovery_codes.c.oid == oid)
    return int(conn.execute(found).scalar_one())


def locked(conn: Connection, oid: str, now: float) -> bool:
    """Whether too many wrong proofs were sent lately."""
    until = conn.execute(select(factor_guesses.c.locked_until_at).where(factor_guesses.c.oid == oid)).scalar()
    return until is not None and until > now


def prove(
    conn: Connection, master: MasterKey, oid: str, answer: Answer, party: Party, now: float
) -> tuple[str, str]:
    """(kind, "") of the factor that `answer` proves, ("", why not) when it proves none; counts the guess."""
    if locked(conn, oid, now):
        return "", "locked by too many wrong ones"
    kind, why = _proven(conn, master, oid, answer, party, now)
    if kind:
        conn.execute(delete(factor_guesses).where(factor_guesses.c.oid == oid))
    else:
        _count(conn, oid, now)
    return kind, why


def add_app(conn: Connection, master: MasterKey, oid: str, secret: bytes, code: str, now: float) -> bool:
    """Keep the secret of an authenticator app, when `code` shows that the app has it; the code is used by that."""
    step = onetime.accepted_step(secret, code, now, 0)
    if step is None:
        return False
    made = str(uuid.uuid4())
    _insert(
        conn, oid, made, "totp", "Authenticator app", step, now, sealed=master.seal(secret, context(made))
    )
    return True


def add_passkey(conn: Connection, oid: str, made: Credential, now: float) -> None:
    """Keep a passkey; 409 for one that belongs to somebody already."""
    if conn.execute(select(exists().where(factors.c.credential_id == made.id))).scalar():
        raise ApiError(409, "PasskeyExists", "This passkey is registered already.")
    _insert(
        conn, oid, str(uuid.uuid4()), "passkey", "Passkey", made.counter, now, credential_id=made.id,
        credential=made.public,
    )  # fmt: skip


def new_codes(conn: Connection, oid: str) -> list[str]:
    """New recovery codes in place of all that were there; shown once."""
    conn.execute(delete(recovery_codes).where(recovery_codes.c.oid == oid))
    codes = onetime.new_recovery_codes()
    conn.execute(
        insert(recovery_codes), [{"hash": onetime.recovery_hash(oid, code), "oid": oid} for code in codes]
    )
    return codes


def remove(conn: Connection, oid: str, factor: str) -> Factor:
    """Remove one factor; 404 when the person has no such one, 400 when it is the last."""
    mine = of(conn, oid)
    found = next((one for one in mine if one.id == factor), None)
    if found is None:
        raise ApiError(404, "FactorNotFound", "There is no such second factor.")
    if len(mine) == 1:
        raise ApiError(400, "LastFactor", "This is your only second factor. Add another one first.")
    conn.execute(delete(factors).where(factors.c.id == factor))
    return found


def reset(conn: Connection, oid: str) -> int:
    """Forget everything by which a person proves more than the password; answers how many factors that were."""
    count = conn.execute(delete(factors).where(factors.c.oid == oid)).rowcount
    conn.execute(delete(recovery_codes).where(recovery_codes.c.oid == oid))
    conn.execute(delete(factor_guesses).where(factor_guesses.c.oid == oid))
    return count


def reseal(conn: Connection, old: MasterKey, new: MasterKey) -> int:
    """Seal the secrets of apps anew; answers how many.  Apps that are being set up at this moment start over."""
    found = conn.execute(select(factors).where(factors.c.sealed.is_not(None))).all()
    for row in found:
        sealed = new.seal(old.unseal(row.sealed, context(row.id)), context(row.id))
        conn.execute(update(factors).where(factors.c.id == row.id).values(sealed=sealed))
    conn.execute(update(sessions).values(offered=None))
    return len(found)


def context(factor: str) -> str:
    """What the secret of an authenticator app is bound to at rest."""
    return f"factors/{factor}"


def _proven(
    conn: Connection, master: MasterKey, oid: str, answer: Answer, party: Party, now: float
) -> tuple[str, str]:
    if not answer.passkey:
        kind = _by_code(conn, master, oid, answer.code, now)
        return kind, "" if kind else "wrong code"
    try:
        proven = party.proven(answer.challenge, passkeys_of(conn, oid), answer.passkey)
    except NotProven as refused:
        return "", str(refused)
    conn.execute(
        update(factors)
        .where(factors.c.credential_id == proven.id)
        .values(counter=proven.counter, used_at=now)
    )
    return "passkey", ""


def _by_code(conn: Connection, master: MasterKey, oid: str, typed: str, now: float) -> str:
    for row in conn.execute(select(factors).where(factors.c.oid == oid, factors.c.kind == "totp")).all():
        secret = master.unseal(row.sealed, context(row.id))
        step = onetime.accepted_step(secret, typed, now, row.counter)
        if step is not None:
            conn.execute(update(factors).where(factors.c.id == row.id).values(counter=step, used_at=now))
            return "totp"
    hashed = onetime.recovery_hash(oid, typed)
    if (
        hashed is not None
        and conn.execute(
            delete(recovery_codes).where(recovery_codes.c.hash == hashed, recovery_codes.c.oid == oid)
        ).rowcount
    ):
        return "recovery code"
    return ""


def _count(conn: Connection, oid: str, now: float) -> None:
    before = conn.execute(select(factor_guesses.c.failures).where(factor_guesses.c.oid == oid)).scalar()
    failures = (before or 0) + 1
    over = failures - FREE_FAILURES
    until = now + min(_LOCK_SECONDS * 2**over, _LONGEST_LOCK) if over >= 0 else 0.0
    if before is None:
        conn.execute(insert(factor_guesses).values(oid=oid, failures=failures, locked_until_at=until))
        return
    conn.execute(
        update(factor_guesses)
        .where(factor_guesses.c.oid == oid)
        .values(failures=failures, locked_until_at=until)
    )


def _insert(
    conn: Connection, oid: str, factor: str, kind: str, name: str, counter: int, now: float, **more: object
) -> None:
    count = len(of(conn, oid))
    if count >= MOST:
        raise ApiError(
            400, "TooManyFactors", f"A person has at most {MOST} second factors. Remove one first."
        )
    told = f"{name} {count + 1}" if count else name
    conn.execute(
        insert(factors).values(
            id=factor, oid=oid, kind=kind, name=told, counter=counter, created_at=now, used_at=None, **more
        )
    )
