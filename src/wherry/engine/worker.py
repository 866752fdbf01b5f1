"""Work a lease off: open both places, tell the ledger what is there, and do the span or slice.

Called by the agent for each grant and by `wherry copy`.
"""

from __future__ import annotations

from contextlib import closing

from wherry.engine.chapters import Desk, look
from wherry.engine.lease import LeaseClock
from wherry.engine.ledger import Ledger
from wherry.engine.pool import Pool
from wherry.engine.slices import SliceWork
from wherry.engine.span import SpanWork
from wherry.model.ledger import Slice
from wherry.model.plan import Attempt
from wherry.model.wire import Grant
from wherry.stores.port import StoreSpec
from wherry.stores.registry import open_store


def perform(
    grant: Grant, ledger: Ledger, source: StoreSpec, target: StoreSpec, pool: Pool, lease: LeaseClock
) -> None:
    """Do the work of a grant until it is finished or what is left of it was given away.

    Raises `LeaseLost`, `Stopped`, any other `RunError` that must end the run, `WorkerDied` when a process was
    lost, and `StoreError` when a place cannot be opened now.  Whatever was done since the last commit is found
    on the target by the successor.
    """
    with closing(open_store(source, lease.fence)) as near, closing(open_store(target, lease.fence)) as far:
        start = ledger.sight(grant.token, look(near, far))
        attempt = Attempt(grant.revisited, start.since, start.restarted)
        desk = Desk(grant, ledger, source, target, near, far, pool, lease, attempt)
        if isinstance(grant.work, Slice):
            SliceWork(desk, grant.work).run()
        else:
            SpanWork(desk, grant.work).run()
