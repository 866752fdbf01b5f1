"""Consents: who allowed which job to which target, in which role, for which agent or group.

Made by `services.runs` in the name of whoever starts a job and may assign roles at the exact target; every grant cites
one.  The right of its author is asked again at each use: the service has no power of its own to give.
"""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from wherry.control import authorization
from wherry.control.db.tables_ledger import consents
from wherry.model.errors import RunError

ASSIGN = "Microsoft.Authorization/roleAssignments/write"


def record(
    conn: Connection, *, run: str, job_key: str, scope: str, role: str, agents: str, author: str, now: float
) -> str:
    """Write a consent down; answers its id."""
    consent = str(uuid.uuid4())
    conn.execute(
        insert(consents).values(
            id=consent, job_key=job_key, run=run, scope=scope, role=role, agents=agents, author=author,
            created_at=now,
        )
    )  # fmt: skip
    return consent


def of_run(conn: Connection, run: str) -> Row[Any] | None:
    """The consent that a run rests on; None when it needed none, or when it has ended."""
    return conn.execute(select(consents).where(consents.c.run == run, consents.c.ended_at.is_(None))).first()


def require(conn: Connection, run: str, now: float) -> Row[Any]:
    """The consent of a run whose author still has the right; AZSM1024 otherwise."""
    consent = of_run(conn, run)
    if consent is None:
        raise RunError("AZSM1024", "Nobody who may assign roles there has consented to this run.")
    decision = authorization.decide_for(conn, consent.author, ASSIGN, consent.scope, now)
    if not decision.allowed:
        raise RunError("AZSM1024", f"Who consented may not assign roles there any more: {decision.reason}.")
    return consent


def end_run(conn: Connection, run: str, now: float) -> None:
    """The consent of a run ends with it."""
    conn.execute(
        update(consents).where(consents.c.run == run, consents.c.ended_at.is_(None)).values(ended_at=now)
    )
