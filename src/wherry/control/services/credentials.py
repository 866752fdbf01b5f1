"""Credentials of runs, as rows: what was made at which back end in whose name, and until when it lasts.

The row is written before the back end is touched, so whatever a crash leaves behind is known and taken back.  A run
has one that stands; when it was withdrawn although the run goes on, the next lease gets one of another name.
States: `opening` → `live` → `withdrawing` → `withdrawn`.  Who touches back ends is `broker`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, case, delete, insert, select, update

from wherry.control import audit
from wherry.control.audit import Record
from wherry.control.broker.port import Access, Material, Wanted
from wherry.control.db.tables_credentials import place_locks, run_credentials
from wherry.control.db.tables_ledger import partitions
from wherry.control.db.tables_runs import runs
from wherry.control.services import resource_store, run_sides
from wherry.control.services.run_sides import Opening
from wherry.control.services.run_state import ACTIVE, RunState
from wherry.trust.keys import MasterKey

OPENING, LIVE, WITHDRAWING, WITHDRAWN = "opening", "live", "withdrawing", "withdrawn"
STANDING = (OPENING, LIVE)


@dataclass(frozen=True, slots=True)
class Credential:
    """A row of `run_credentials`."""

    wanted: Wanted
    driver: str
    scope: str
    state: str
    expires_at: float
    failures: int
    ended_at: float | None
    sealed: bytes | None

    @property
    def id(self) -> str:
        return self.wanted.id

    def material(self, master: MasterKey) -> Material:
        """What the agent is given; nothing when it is not made yet, or not any more."""
        if self.sealed is None:
            return Material()
        return Material(**json.loads(master.unseal(self.sealed, context(self.id))))


def of_run(conn: Connection, run: str) -> Credential | None:
    """The credential that stands for a run, else the last that did."""
    order = case({OPENING: 0, LIVE: 0, WITHDRAWING: 1}, value=run_credentials.c.state, else_=2)
    row = conn.execute(
        select(run_credentials)
        .where(run_credentials.c.run == run)
        .order_by(order, run_credentials.c.ended_at.desc())
    ).first()
    return None if row is None else _credential(row)


def open_for(conn: Connection, run: RunState, expires_at: float, mark: str) -> Credential:
    """The standing credential of a run, written down now when it has none; its id is never used again.

    `mark` begins the names of all that this service makes.
    """
    known = of_run(conn, run.id)
    if known is not None and known.state in STANDING:
        return known
    if run.opening is None:
        raise LookupError(f"the target of {run.id} needs no credential")
    access: Access = "mirror" if run.mirror else "write"
    conn.execute(
        insert(run_credentials).values(
            id=f"{mark}{run.id[:8]}-{secrets.token_hex(7)}", run=run.id, scope=run.scope, access=access,
            prefix=run.target.subpath, state=OPENING, expires_at=expires_at, **run.opening,
        )
    )  # fmt: skip
    made = of_run(conn, run.id)
    if made is None:
        raise LookupError(run.id)
    return made


def stands(conn: Connection, credential: str, expires_at: float, now: float, sealed: bytes = b"") -> None:
    """A credential was made, or moved on, at its back end; `sealed` is what the agent is given."""
    row = conn.execute(select(run_credentials).where(run_credentials.c.id == credential)).one()
    values: dict[str, Any] = {"expires_at": expires_at, "failures": 0, "sealed": sealed or None}
    if row.state == OPENING:
        values["state"] = LIVE
        _account(conn, "wherry/credential-opened", row, now)
    conn.execute(update(run_credentials).where(run_credentials.c.id == credential).values(values))


def seal(master: MasterKey, credential: str, material: Material) -> bytes:
    """What an agent is given, as its row holds it."""
    return master.seal(json.dumps(material.to_json()).encode(), context(credential))


def abandon(conn: Connection, credential: str) -> None:
    """A credential that never came to be: the back end had no room for it."""
    conn.execute(
        delete(run_credentials).where(run_credentials.c.id == credential, run_credentials.c.state == OPENING)
    )


def begin_withdrawal(conn: Connection, run: str) -> bool:
    """The credential of a run is to go; whether one stood."""
    marked = conn.execute(
        update(run_credentials)
        .where(run_credentials.c.run == run, run_credentials.c.state.in_(STANDING))
        .values(state=WITHDRAWING, tried_at=0.0, failures=0)
    )
    return bool(marked.rowcount)


def tried(conn: Connection, credential: str, now: float) -> None:
    """A withdrawal that was not acknowledged; it is tried again."""
    conn.execute(
        update(run_credentials)
        .where(run_credentials.c.id == credential)
        .values(tried_at=now, failures=run_credentials.c.failures + 1)
    )


def withdrawn(conn: Connection, credential: str, now: float) -> None:
    """A withdrawal that the back end has acknowledged: the credential is refused, or ends by itself."""
    row = conn.execute(
        update(run_credentials)
        .where(run_credentials.c.id == credential)
        .values(state=WITHDRAWN, ended_at=now, sealed=None)
        .returning(run_credentials)
    ).one()
    _account(conn, "wherry/credential-withdrawn", row, now)


def due_withdrawals(conn: Connection, before: float) -> list[Credential]:
    """Credentials that have to go and were not tried since `before`."""
    rows = conn.execute(
        select(run_credentials).where(
            run_credentials.c.state == WITHDRAWING, run_credentials.c.tried_at <= before
        )
    )
    return [_credential(row) for row in rows]


def due_extensions(conn: Connection, now: float, margin: float) -> list[Credential]:
    """Live credentials that end soon although an agent holds a lease of their run."""
    leased = select(partitions.c.run).where(partitions.c.expires_at >= now).distinct()
    rows = conn.execute(
        select(run_credentials).where(
            run_credentials.c.state == LIVE,
            run_credentials.c.expires_at < now + margin,
            run_credentials.c.run.in_(leased),
        )
    )
    return [_credential(row) for row in rows]


def openings(conn: Connection) -> list[Opening]:
    """Every place where a credential of ours can stand, as far as is known."""
    rows = conn.execute(select(run_credentials.c.driver, run_credentials.c.place, run_credentials.c.told))
    found = [Opening(row.driver, row.place, row.told) for row in rows]
    for endpoint in resource_store.under(conn, "", run_sides.ENDPOINT):
        opening = run_sides.opening_of(conn, endpoint)
        if opening is not None:
            found.append(opening)
    # The latest of each, for addresses and names of secrets may have changed.
    return list({(one.driver, one.place.lower()): one for one in found}.values())


def unknown(conn: Connection, names: Iterable[str]) -> list[str]:
    """Those names of credentials that nobody's books have as standing."""
    standing = select(run_credentials.c.id).where(run_credentials.c.state != WITHDRAWN)
    known = set(conn.execute(standing).scalars())
    return [name for name in names if name not in known]


def taken_off(conn: Connection, credential: str, place: str, now: float) -> None:
    """A credential that was in nobody's books is gone."""
    details = {"credential": credential}
    record = Record(
        "wherry/credential-withdrawn", "allowed", scope=place, reason="in nobody's books", details=details
    )
    audit.append(conn, record, now)


def any_left(conn: Connection) -> bool:
    """Whether `reconcile` would find anything."""
    return conn.execute(select(run_credentials.c.id).where(_left_over()).limit(1)).first() is not None


def reconcile(conn: Connection) -> int:
    """Mark what is left of runs that have ended or are gone; answers how many."""
    return conn.execute(
        update(run_credentials).where(_left_over()).values(state=WITHDRAWING, tried_at=0.0)
    ).rowcount


def lock(conn: Connection, place: str, owner: str, now: float, seconds: float) -> bool:
    """Become the only one who changes a place; False when somebody else is."""
    conn.execute(delete(place_locks).where(place_locks.c.place == place, place_locks.c.expires_at < now))
    taken = select(place_locks.c.owner).where(place_locks.c.place == place).with_for_update()
    holder = conn.execute(taken).scalar()
    if holder is not None and holder != owner:
        return False
    conn.execute(delete(place_locks).where(place_locks.c.place == place))
    conn.execute(insert(place_locks).values(place=place, owner=owner, expires_at=now + seconds))
    return True


def unlock(conn: Connection, place: str, owner: str) -> None:
    """Let others change it."""
    conn.execute(delete(place_locks).where(place_locks.c.place == place, place_locks.c.owner == owner))


def unlock_all(conn: Connection) -> None:
    """Nobody else can be changing anything: what locks are there are of a process that died."""
    conn.execute(delete(place_locks))


def reseal(conn: Connection, old: MasterKey, new: MasterKey) -> int:
    """Seal what is out with another master key; answers how many."""
    rows = conn.execute(
        select(run_credentials.c.id, run_credentials.c.sealed).where(run_credentials.c.sealed.is_not(None))
    )
    found = rows.all()
    for row in found:
        sealed = new.seal(old.unseal(row.sealed, context(row.id)), context(row.id))
        conn.execute(update(run_credentials).where(run_credentials.c.id == row.id).values(sealed=sealed))
    return len(found)


def context(credential: str) -> str:
    """What a credential is bound to at rest."""
    return f"run_credentials/{credential}"


def _left_over() -> ColumnElement[bool]:
    living = select(runs.c.id).where(runs.c.status.in_(ACTIVE))
    return and_(run_credentials.c.state.in_(STANDING), run_credentials.c.run.not_in(living))


def _account(conn: Connection, action: str, row: Row[Any], now: float) -> None:
    details = {"run": row.run, "credential": row.id, "driver": row.driver, "access": row.access}
    audit.append(conn, Record(action, "allowed", scope=row.place, details=details), now)


def _credential(row: Row[Any]) -> Credential:
    wanted = Wanted(row.id, row.run, row.place, row.access, row.prefix, row.told)
    return Credential(
        wanted, row.driver, row.scope, row.state, row.expires_at, row.failures, row.ended_at, row.sealed
    )
