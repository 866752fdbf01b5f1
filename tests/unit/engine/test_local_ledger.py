"""The ledger of `wherry copy` under threads: it is closed while others still use it, and interrupted anywhere."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from wherry.engine import ledger
from wherry.engine.ledger import LocalLedger
from wherry.model.errors import WherryError
from wherry.model.options import JobOptions
from wherry.model.outcomes import Counters
from wherry.model.wire import Place, RunOrder

ORDER = RunOrder("copy", Place("memory", "a", b""), Place("memory", "b", b""), JobOptions())


@pytest.fixture
def opened(tmp_path: Path) -> LocalLedger:
    made = LocalLedger(tmp_path / "state")
    made.open(ORDER)
    return made


def test_closing_waits_for_a_call_of_another_thread(
    opened: LocalLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A worker that was killed may have called a moment before: SQLite must not be freed under that call.
    inside, go_on, ended = threading.Event(), threading.Event(), []
    known = ledger._counters

    def slow(db: object) -> Counters:
        inside.set()
        assert go_on.wait(60)
        return known(db)  # type: ignore[arg-type]

    monkeypatch.setattr(ledger, "_counters", slow)
    caller = threading.Thread(target=lambda: ended.append(opened.counters()))
    closer = threading.Thread(target=opened.close)
    caller.start()
    assert inside.wait(60)
    closer.start()
    closer.join(0.1)
    was_closed = not closer.is_alive()
    go_on.set()
    caller.join(60)
    closer.join(60)
    assert not was_closed
    assert ended == [Counters()]


def test_a_call_after_the_end_says_so(opened: LocalLedger, tmp_path: Path) -> None:
    opened.close()
    with pytest.raises(WherryError, match=f"{tmp_path / 'state'}: .*closed"):
        opened.counters()


def test_an_interrupted_call_leaves_the_ledger_as_it_was(
    opened: LocalLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(ledger, "_update", interrupted)
        with pytest.raises(KeyboardInterrupt):
            opened.lease(ORDER)
    assert not opened.busy()
    assert opened.lease(ORDER) is not None
    opened.close()
