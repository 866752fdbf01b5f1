"""Who held partitions whose leases ran out and that nobody has taken up since.

An agent that could not reach the control plane tells afterwards what it has finished while its lease was good.  That
counts as long as the partition is as it was left; from the next lease on, the epoch tells that it is not.  Called by
`services.ledger`.
"""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from wherry.control.db.tables_ledger import late_leases
from wherry.model.errors import LeaseLost
from wherry.model.ledger import Partition, Token


def keep(conn: Connection, run: str, partition: Partition, now: float) -> None:
    """Remember the lease of a partition, from which it is about to be taken."""
    conn.execute(delete(late_leases).where(late_leases.c.partition == partition.id))
    conn.execute(
        insert(late_leases).values(
            partition=partition.id,
            run=run,
            epoch=partition.epoch,
            lease=partition.lease,
            holder=partition.holder,
            since_at=now,
        )
    )


def check(conn: Connection, partition: Partition, token: Token, holder: str) -> None:
    """Raise `LeaseLost` unless `token` is the last lease of this free partition, and was `holder`'s."""
    found = conn.execute(select(late_leases).where(late_leases.c.partition == partition.id)).first()
    known = (found.epoch, found.lease, found.holder) if found else None
    if partition.leased or known != (token.epoch, token.lease, holder) or token.epoch != partition.epoch:
        raise LeaseLost("another agent has taken over")
