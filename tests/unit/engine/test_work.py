"""What a worker tells of its work, how it is stopped, and a file that kills whoever works on it."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from functools import partial

import pytest

from tests.unit.engine.stage import Passing, copied, fresh_places, order_of, perform, specs_of, work_off
from wherry.engine import chapters, deeds, team, transfer
from wherry.engine.lease import LeaseClock
from wherry.engine.ledger import LocalLedger
from wherry.engine.pool import Pool
from wherry.engine.processes import Processes
from wherry.engine.remote_ledger import Address
from wherry.engine.walk import Walk
from wherry.engine.worker import Task
from wherry.model.ledger import Span, Token
from wherry.model.options import JobOptions
from wherry.model.outcomes import Outcome
from wherry.model.wire import Grant, Progress, Renewal
from wherry.stores import posix_copy
from wherry.stores.memory import MemoryStore
from wherry.stores.port import StoreSpec


def test_a_large_file_is_progress_while_it_iscopied(order, tmp_path, monkeypatch):
    monkeypatch.setattr(posix_copy, "_STRIDE", 1 << 20)
    (tmp_path / "source" / "a").write_bytes(os.urandom(4 << 20))
    moved, real = [], posix_copy._copy
    with closing(Pool(0)) as inline, closing(LocalLedger()) as ledger:
        ledger.open(order)
        clock = inline.lease()
        clock.forever()

        def copy(*told):
            moved.append(clock.moved())
            return real(*told)

        monkeypatch.setattr(posix_copy, "_copy", copy)
        perform(order, inline, clock, ledger)
    assert moved == [True] * 4


def test_a_file_in_ranges_is_progress_with_each(order, tmp_path, monkeypatch):
    for module in (chapters, transfer, team):
        monkeypatch.setattr(module, "HEAVY", 1 << 20)
    monkeypatch.setattr("wherry.stores.posix_draft.RANGE_SIZE", 1 << 20)
    (tmp_path / "source" / "a").write_bytes(os.urandom(4 << 20))
    notes = []
    real = LeaseClock.advance

    def advance(clock: LeaseClock) -> None:
        notes.append(clock.slot)
        real(clock)

    monkeypatch.setattr(LeaseClock, "advance", advance)
    assert copied(order, Pool(0))["Transferred"] == 1
    assert len(notes) >= 8
    assert (tmp_path / "target" / "a").read_bytes() == (tmp_path / "source" / "a").read_bytes()


def test_to_list_a_wide_folder_is_progress():
    places = fresh_places()
    for number in range(1001):
        MemoryStore(places[0]).seed(b"%04d" % number)
    with closing(Pool(0)) as inline:
        clock = inline.lease()
        walk = Walk(MemoryStore(places[0]), MemoryStore(places[1]), Span(), clock.note)
        assert not clock.moved()
        walk.begin()
        assert walk.next() is not None
        assert clock.moved()


def _begin_poisoned(real: Callable[[], None], poison: bytes) -> None:
    """Start of a process that ends at once when it comes to a certain path."""
    real()
    do = deeds.do

    def dies(both, deed):
        if poison in (deed.path, *deed.paths):
            os._exit(1)
        return do(both, deed)

    deeds.do = dies


def test_a_file_that_kills_processes_fails_alone(tmp_path, order):
    for number in range(9):
        (tmp_path / "source" / f"d{number}").mkdir()
    (tmp_path / "source" / "d4" / "poison").write_bytes(b"1")
    os.truncate(tmp_path / "source" / "d4" / "poison", (1 << 20) + 5)
    (tmp_path / "source" / "d4" / "sound").write_bytes(b"1")
    with (
        Processes(1, partial(_begin_poisoned, _nothing, b"d4/poison")) as dying,
        closing(Pool(1, dying)) as deadly,
        closing(LocalLedger()) as ledger,
    ):
        ledger.open(order)
        rows = work_off(order, ledger, deadly, lost=lambda _: True, leases=60)
        counters = ledger.counters()
    assert [row.path for row in rows if row.outcome is Outcome.FAILED] == [b"d4/poison"]
    assert counters.items == {"Scanned": 11, "Transferred": 10, "Failed": 1}


def test_what_a_worker_tells_reaches_the_owner(workers, order, tmp_path):
    for number in range(5):
        (tmp_path / "source" / str(number)).write_bytes(b"12")
    with closing(LocalLedger()) as ledger:
        ledger.open(order)
        clock = workers.lease()
        clock.forever()
        perform(order, workers, clock, ledger)
        told = clock.effort()
    assert (told.items, told.bytes) == (5, 10)
    assert told.threads >= 1


class _Stopping(Passing):
    """A ledger whose keeper asks to stop, or to split, with its first renewal."""

    def __init__(self, inner: LocalLedger, **asked: bool) -> None:
        super().__init__(inner)
        self.asked = asked

    def commit(self, token: Token, progress: Progress) -> Renewal:
        super().commit(token, progress)
        return Renewal(600.0, **self.asked)


def test_a_worker_in_another_process_is_stopped_by_an_answer_to_its_commit(workers, tmp_path):
    (tmp_path / "source").mkdir()
    for number in range(200):
        (tmp_path / "source" / f"{number:03}").mkdir()
        (tmp_path / "source" / f"{number:03}" / "f").write_bytes(b"x")
    order = order_of((str(tmp_path / "source"), str(tmp_path / "target")), kind="posix")
    with closing(LocalLedger()) as ledger:
        ledger.open(order)
        clock = workers.lease()
        clock.forever()
        grant = ledger.lease(order)
        assert grant is not None
        clock.ask_to_split()
        with pytest.raises(chapters.Stopped):
            workers.perform(grant, _Stopping(ledger, stop=True), *specs_of(order), clock)
        ledger.release(grant.token)
        assert 0 < ledger.counters().items["Transferred"] < 400
        workers.give_back(clock)
        work_off(order, ledger, workers)
        assert ledger.counters().items["Scanned"] == ledger.counters().items["Transferred"] == 400


def test_a_task_shows_no_secret():
    spec = StoreSpec("blob", "https://host/c", secret="sig=hush")
    address = Address(1, "/line", 1, b"key-of-the-line")
    order = order_of(("a", "b"), JobOptions())
    task = Task(
        Grant(Token("i", 1, 1, "l"), order, Span(), 1.0), spec, spec, address, "/table", 0, logged=True
    )
    assert "hush" not in repr(task)
    assert "key-of-the-line" not in repr(task)


def _nothing() -> None:
    """Nothing is to be begun."""
