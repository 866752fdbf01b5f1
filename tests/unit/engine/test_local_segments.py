"""The copy log of `wherry copy` tells of what was committed, and of nothing else."""

from __future__ import annotations

from wherry.engine.ledger import LocalLedger
from wherry.model.ledger import Commit
from wherry.model.options import JobOptions
from wherry.model.outcomes import Counters
from wherry.model.wire import Place, Progress, RunOrder, SegmentName


def test_rows_of_work_that_was_never_committed_are_not_told():
    order = RunOrder("run", Place("memory", "s"), Place("memory", "t"), JobOptions())
    ledger = LocalLedger()
    ledger.open(order)
    grant = ledger.lease(order)
    assert grant is not None
    ledger.keep(grant.token, "lost", b"1")
    ledger.keep(grant.token, "named", b"2")
    assert list(ledger.segments()) == []
    ledger.commit(grant.token, Progress(Commit(1, None), Counters(), (SegmentName("named", 1),)))
    assert list(ledger.segments()) == [b"2"]
    ledger.close()
