"""Checks of what is in the database of a control plane: whether it is whole, and what should not be there any more.

Called by `doctor`.
"""

from __future__ import annotations

from sqlalchemy import func, select, text

from wherry.control.db.engine import Database
from wherry.control.db.tables_agents import agent_trust
from wherry.control.db.tables_audit import audit
from wherry.control.db.tables_credentials import run_credentials
from wherry.control.db.tables_identity import principals
from wherry.control.db.tables_ledger import agent_presence
from wherry.control.db.tables_ledger import grants as made
from wherry.control.examined import Finding, failed, passed, warned
from wherry.control.services.credentials import LIVE, OPENING, WITHDRAWING
from wherry.model.outcomes import iso_time

AHEAD_SECONDS = 60.0
LATE_SECONDS = 60.0
_NAMES = 5


def integrity(database: Database) -> Finding:
    """Pages, indexes and references; takes a while for a large one."""
    with database.snapshot() as conn:
        told = [str(row[0]) for row in conn.execute(text("PRAGMA integrity_check(3)"))]
        orphans = conn.execute(text("PRAGMA foreign_key_check")).first()
    remedy = "Stop the service, keep the file, and restore a backup: wherry restore."
    if told != ["ok"]:
        return failed("database", f"It is damaged: {'; '.join(told)}.", remedy)
    if orphans is not None:
        return failed("database", f"A row of {orphans[0]} names one that is not there.", remedy)
    return passed("database", "It is whole.")


def clock(database: Database, now: float, *, synchronized: bool) -> Finding:
    """A clock that went back shows in what was recorded: tokens and leases live longer than they should."""
    with database.snapshot() as conn:
        latest = conn.execute(select(func.max(audit.c.at))).scalar()
    remedy = "Set the clock, and keep it right by NTP: timedatectl set-ntp true."
    if latest is not None and latest > now + AHEAD_SECONDS:
        told = f"It says {iso_time(now)}, and something was recorded at {iso_time(latest)}: one of both is wrong."
        return failed("clock", told, remedy)
    if not synchronized:
        return passed(
            "clock", f"It says {iso_time(now)}; whether that is right, systemd-timesyncd does not tell."
        )
    return passed("clock", f"It says {iso_time(now)} and is kept right by systemd-timesyncd.")


def grants(database: Database, now: float) -> Finding:
    """Role assignments of runs that should have been removed."""
    with database.snapshot() as conn:
        standing, late = (
            conn.execute(select(func.count()).select_from(made).where(one)).scalar_one()
            for one in (made.c.expires_at >= now, made.c.expires_at < now - LATE_SECONDS)
        )
    if late:
        remedy = "Start the service: it removes them. They give nothing meanwhile: each carries its end."
        return failed("grants", f"{late} are past their end and not removed.", remedy)
    return passed("grants", f"None is overdue; {standing} stand.")


def credentials(database: Database, now: float) -> Finding:
    """Access at back ends that should have been taken back, and is not acknowledged."""
    late = (run_credentials.c.state == WITHDRAWING) & (run_credentials.c.failures > 0)
    past = run_credentials.c.state.in_((OPENING, LIVE)) & (run_credentials.c.expires_at < now - LATE_SECONDS)
    with database.snapshot() as conn:
        rows = conn.execute(select(run_credentials).where(late | past)).all()
    if rows:
        places = ", ".join(sorted({row.place for row in rows})[:_NAMES])
        remedy = (
            "Start the service, and make sure that it reaches those places: it tries again until they answer."
        )
        return failed("credentials", f"{len(rows)} are not taken back at {places}.", remedy)
    return passed("credentials", "None is overdue.")


def agents(database: Database, now: float) -> Finding:
    """Agents that are not heard of, or are locked."""
    query = (
        select(
            principals.c.name, agent_presence.c.offline_at, agent_presence.c.seen_at, agent_trust.c.locked_at
        )
        .join(agent_presence, agent_presence.c.oid == principals.c.oid)
        .outerjoin(agent_trust, agent_trust.c.oid == principals.c.oid)
        .where(principals.c.deleted_at.is_(None))
        .order_by(principals.c.name)
    )
    with database.snapshot() as conn:
        rows = conn.execute(query).all()
    locked = [row.name for row in rows if row.locked_at is not None]
    away = [
        f"{row.name} (since {iso_time(row.seen_at)})"
        for row in rows
        if row.locked_at is None and row.offline_at < now
    ]
    if locked:
        remedy = "Find out who has a copy of their keys, then: wherry agent re-enrol on their machines."
        return failed(
            "agents", f"{len(locked)} of {len(rows)} are locked: {', '.join(locked[:_NAMES])}.", remedy
        )
    if away:
        remedy = "Look at their machines: wherry agent status, and xdmsh, Network configuration, Test."
        return warned(
            "agents", f"{len(away)} of {len(rows)} are offline: {', '.join(away[:_NAMES])}.", remedy
        )
    return passed("agents", f"All {len(rows)} are there." if rows else "There is none.")
