"""The copy log of `wherry copy` tells of what was committed, and of nothing else."""

from __future__ import annotations

from contextlib import closing

from tests.unit.engine.stage import order_of
from wherry.engine.ledger import LocalLedger
from wherry.model.ledger import Commit, Span
from wherry.model.outcomes import Counters
from wherry.model.wire import Progress


def test_rows_of_work_that_was_never_committed_are_not_told():
    order = order_of(("s", "t"))
    with closing(LocalLedger()) as ledger:
        ledger.open(order)
        grant = ledger.lease(order)
        assert grant is not None
        ledger.keep(grant.token, 1, b"1\n")
        named = ledger.keep(grant.token, 1, b"2\n3\n")
        assert named.rows == 2
        assert list(ledger.segments()) == []
        ledger.commit(grant.token, Progress(Commit(1, None), Counters(), (named,)))
        assert list(ledger.segments()) == [b"2\n3\n"]
        assert list(ledger.segments()) == []


def test_the_same_lines_are_kept_once_and_told_once():
    """The answer to `keep` was lost, and so was that to the commit: both are sent again."""
    order = order_of(("s", "t"))
    with closing(LocalLedger()) as ledger:
        ledger.open(order)
        grant = ledger.lease(order)
        assert grant is not None
        first, second = (ledger.keep(grant.token, 1, b"1\n") for _ in range(2))
        assert first == second
        progress = Progress(Commit(1, Span(cursor=b"a")), Counters({"Scanned": 1}, {"Scanned": 5}), (first,))
        ledger.commit(grant.token, progress)
        ledger.commit(grant.token, progress)
        assert ledger.counters() == progress.counters
        assert list(ledger.segments()) == [b"1\n"]


def test_lines_that_nobody_has_read_yet_wait_for_the_next_reader(tmp_path):
    order = order_of(("s", "t"))
    with closing(LocalLedger(tmp_path / "state")) as ledger:
        ledger.open(order)
        grant = ledger.lease(order)
        assert grant is not None
        named = ledger.keep(grant.token, 1, b"1\n")
        ledger.commit(grant.token, Progress(Commit(1, Span(cursor=b"a")), Counters(), (named,)))
    with closing(LocalLedger(tmp_path / "state")) as ledger:
        assert ledger.open(order)
        assert list(ledger.segments()) == [b"1\n"]
