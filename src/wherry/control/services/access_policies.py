"""Stored access policies of runs, as rows: what stands on which container in whose name, and until when.

The row is written before the container is touched, so whatever a crash leaves behind is known and taken back.  A run
has one that stands; when it was withdrawn although the run goes on, the next lease gets one of another name.
States: `opening` → `live` → `withdrawing` → `withdrawn`.  Who touches containers is `broker.policies`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, case, delete, insert, select, update

from wherry.control import audit
from wherry.control.audit import Record
from wherry.control.db.tables_ledger import container_locks, partitions, sas_policies
from wherry.control.db.tables_runs import runs
from wherry.control.services import resource_store
from wherry.control.services.run_state import ACTIVE, RunState
from wherry.model import ids
from wherry.model.errors import RunError

OPENING, LIVE, WITHDRAWING, WITHDRAWN = "opening", "live", "withdrawing", "withdrawn"
_STANDING = (OPENING, LIVE)
_ENDPOINT = "microsoft.storagemover/storagemovers/endpoints"

WRITE = "rwl"
MIRROR = "rwdl"


@dataclass(frozen=True, slots=True)
class Policy:
    """A row of `sas_policies`."""

    id: str
    run: str
    account_key: str
    endpoint: str
    account: str
    container: str
    permissions: str
    state: str
    expires_at: float
    failures: int
    ended_at: float | None

    @property
    def url(self) -> str:
        """The container, as locks and claims name it."""
        return f"{self.endpoint}/{self.container}".lower()


def of_run(conn: Connection, run: str) -> Policy | None:
    """The policy that stands for a run, else the last that did."""
    order = case({OPENING: 0, LIVE: 0, WITHDRAWING: 1}, value=sas_policies.c.state, else_=2)
    row = conn.execute(
        select(sas_policies).where(sas_policies.c.run == run).order_by(order, sas_policies.c.ended_at.desc())
    ).first()
    return None if row is None else _policy(row)


def open_for(conn: Connection, run: RunState, expires_at: float, mark: str) -> Policy:
    """The standing policy of a run, written down now when it has none; its id is never used again.

    `mark` begins the names of all that this service makes.
    """
    known = of_run(conn, run.id)
    if known is not None and known.state in _STANDING:
        return known
    account = resource_store.find(conn, run.account_key or "")
    if account is None:
        raise RunError("AZSM1022", "The storage account of the target is not registered any more.")
    told = account.properties["wherry"]
    conn.execute(
        insert(sas_policies).values(
            id=f"{mark}{run.id[:8]}-{secrets.token_hex(7)}", run=run.id, account_key=account.key,
            endpoint=told["blobEndpoint"], account=told["accountName"],
            container=run.target.location.rpartition("/")[2], permissions=MIRROR if run.mirror else WRITE,
            state=OPENING, expires_at=expires_at,
        )
    )  # fmt: skip
    made = of_run(conn, run.id)
    if made is None:
        raise LookupError(run.id)
    return made


def stands(conn: Connection, policy: str, expires_at: float, now: float) -> None:
    """A policy is on its container, until then."""
    row = conn.execute(select(sas_policies).where(sas_policies.c.id == policy)).one()
    values: dict[str, Any] = {"expires_at": expires_at, "failures": 0}
    if row.state == OPENING:
        values["state"] = LIVE
        _account(conn, "wherry/credential-opened", row, now)
    conn.execute(update(sas_policies).where(sas_policies.c.id == policy).values(values))


def abandon(conn: Connection, policy: str) -> None:
    """A policy that never came to stand: the container had no slot for it."""
    conn.execute(delete(sas_policies).where(sas_policies.c.id == policy, sas_policies.c.state == OPENING))


def begin_withdrawal(conn: Connection, run: str) -> bool:
    """The policy of a run is to go; whether one stood."""
    marked = conn.execute(
        update(sas_policies)
        .where(sas_policies.c.run == run, sas_policies.c.state.in_(_STANDING))
        .values(state=WITHDRAWING, tried_at=0.0, failures=0)
    )
    return bool(marked.rowcount)


def tried(conn: Connection, policy: str, now: float) -> None:
    """A withdrawal that was not acknowledged; it is tried again."""
    conn.execute(
        update(sas_policies)
        .where(sas_policies.c.id == policy)
        .values(tried_at=now, failures=sas_policies.c.failures + 1)
    )


def withdrawn(conn: Connection, policy: str, now: float) -> None:
    """A withdrawal that the storage service has acknowledged: the credential is refused."""
    row = conn.execute(
        update(sas_policies)
        .where(sas_policies.c.id == policy)
        .values(state=WITHDRAWN, ended_at=now)
        .returning(sas_policies)
    ).one()
    _account(conn, "wherry/credential-withdrawn", row, now)


def due_withdrawals(conn: Connection, before: float) -> list[Policy]:
    """Policies that have to go and were not tried since `before`."""
    rows = conn.execute(
        select(sas_policies).where(sas_policies.c.state == WITHDRAWING, sas_policies.c.tried_at <= before)
    )
    return [_policy(row) for row in rows]


def due_extensions(conn: Connection, now: float, margin: float) -> list[Policy]:
    """Live policies that end soon although an agent holds a lease of their run."""
    leased = select(partitions.c.run).where(partitions.c.expires_at >= now).distinct()
    rows = conn.execute(
        select(sas_policies).where(
            sas_policies.c.state == LIVE,
            sas_policies.c.expires_at < now + margin,
            sas_policies.c.run.in_(leased),
        )
    )
    return [_policy(row) for row in rows]


def containers(conn: Connection) -> list[tuple[str, str]]:
    """Account and container of every place that a policy of ours can stand on, as far as is known."""
    stood = select(sas_policies.c.account_key, sas_policies.c.container).distinct()
    found = {(row.account_key, row.container) for row in conn.execute(stood)}
    for endpoint in resource_store.under(conn, "", _ENDPOINT):
        told = endpoint.properties
        if "blobContainerName" in told:
            found.add((ids.key(told["storageAccountResourceId"]), told["blobContainerName"]))
    return sorted(found)


def unknown(conn: Connection, names: Iterable[str]) -> list[str]:
    """Those names of policies that nobody's books have as standing."""
    standing = select(sas_policies.c.id).where(sas_policies.c.state != WITHDRAWN)
    known = set(conn.execute(standing).scalars())
    return [name for name in names if name not in known]


def taken_off(conn: Connection, policy: str, url: str, now: float) -> None:
    """A policy that was in nobody's books is gone."""
    record = Record("wherry/credential-withdrawn", "allowed", scope=url, reason="in nobody's books")
    audit.append(conn, replace(record, details={"policy": policy}), now)


def any_left(conn: Connection) -> bool:
    """Whether `reconcile` would find anything."""
    return conn.execute(select(sas_policies.c.id).where(_left_over()).limit(1)).first() is not None


def reconcile(conn: Connection) -> int:
    """Mark what is left of runs that have ended or are gone; answers how many."""
    return conn.execute(
        update(sas_policies).where(_left_over()).values(state=WITHDRAWING, tried_at=0.0)
    ).rowcount


def lock(conn: Connection, url: str, owner: str, now: float, seconds: float) -> bool:
    """Become the only one who rewrites a container's list; False when somebody else is."""
    conn.execute(
        delete(container_locks).where(container_locks.c.url == url, container_locks.c.expires_at < now)
    )
    taken = select(container_locks.c.owner).where(container_locks.c.url == url).with_for_update()
    holder = conn.execute(taken).scalar()
    if holder is not None and holder != owner:
        return False
    conn.execute(delete(container_locks).where(container_locks.c.url == url))
    conn.execute(insert(container_locks).values(url=url, owner=owner, expires_at=now + seconds))
    return True


def unlock(conn: Connection, url: str, owner: str) -> None:
    """Let others rewrite it."""
    conn.execute(
        delete(container_locks).where(container_locks.c.url == url, container_locks.c.owner == owner)
    )


def _left_over() -> ColumnElement[bool]:
    living = select(runs.c.id).where(runs.c.status.in_(ACTIVE))
    return and_(sas_policies.c.state.in_(_STANDING), sas_policies.c.run.not_in(living))


def _account(conn: Connection, action: str, row: Row[Any], now: float) -> None:
    details = {"run": row.run, "policy": row.id, "permissions": row.permissions}
    audit.append(
        conn, Record(action, "allowed", scope=f"{row.endpoint}/{row.container}", details=details), now
    )


def _policy(row: Row[Any]) -> Policy:
    return Policy(**{name: getattr(row, name) for name in Policy.__dataclass_fields__})
