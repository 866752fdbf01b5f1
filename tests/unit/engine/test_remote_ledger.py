"""The ledger over a socket: the same answers and errors as from the ledger itself, and none for strangers."""

from __future__ import annotations

import errno
import os
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Listener
from typing import Any

import pytest

from tests import processes
from tests.unit.engine.stage import Passing, order_of
from wherry.engine import remote_ledger
from wherry.engine.ledger import LocalLedger
from wherry.engine.processes import Processes
from wherry.engine.remote_ledger import Address, LedgerLine, reached
from wherry.model.errors import ApiError, LeaseLost, RunError
from wherry.model.ledger import Commit, Phase, Slice, Span, Token, WorkItem, work_key
from wherry.model.outcomes import Counters
from wherry.model.wire import Grant, Progress, Renewal, Sighting

LIMIT = 20.0


@pytest.fixture
def line() -> Iterator[LedgerLine]:
    with closing(LedgerLine()) as made:
        made.listen()
        yield made


@pytest.fixture
def ledger() -> Iterator[LocalLedger]:
    with closing(LocalLedger()) as made:
        made.open(order_of(("s", "t")))
        yield made


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Processes]:
    """Another process."""
    with Processes(1, _nothing) as one:
        pid = one.submit(os.getpid).result(LIMIT)
        processes.kept.add(pid)
        yield one
    processes.kept.discard(pid)


@pytest.fixture
def away(line: LedgerLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process does not take the line for its own, so that it calls over the socket."""
    monkeypatch.setattr(remote_ledger, "_lines", {})


def _nothing() -> None:
    """Nothing is to be begun."""


def _grant(ledger: LocalLedger) -> Grant:
    grant = ledger.lease(order_of(("s", "t")))
    assert grant is not None
    return grant


ITEM = WorkItem(Phase.FOLDERS, work_key(Phase.FOLDERS, b"d\xff"), b"d\xff", kind="D")
COUNTERS = Counters({"Scanned": 1, "Transferred": 1}, {"Scanned": 5, "Transferred": 5})


def _whole_lease(address: Address, token: Token) -> tuple[Any, ...]:
    """All calls, one after the other, as a worker makes them."""
    with reached(address) as ledger:
        start = ledger.sight(token, Sighting("source", "target", 7))
        named = ledger.keep(token, 1, b"one\ntwo\n")
        progress = Progress(Commit(1, Span(cursor=b"a")), COUNTERS, (named,), (ITEM,))
        answers = [ledger.commit(token, progress) for _ in range(2)]
        items = ledger.items(token, Slice(Phase.FOLDERS, b"", b"\xff" * 9), b"", 10)
        return os.getpid(), start, named, answers, items


def test_all_calls_have_their_effect_from_another_process(line, ledger, elsewhere):
    address, token = line.put(ledger), _grant(ledger).token
    pid, start, named, answers, items = elsewhere.submit(_whole_lease, address, token).result(LIMIT)
    assert pid != os.getpid()
    assert start.since == 7
    assert named.rows == 2
    assert answers == [Renewal(float("inf"))] * 2
    assert items == [ITEM]
    assert ledger.counters() == COUNTERS
    assert list(ledger.segments()) == [b"one\ntwo\n"]


def test_in_its_own_process_the_ledger_itself_is_reached(ledger):
    with closing(LedgerLine()) as silent, reached(silent.put(ledger)) as found:
        assert found is ledger


class _Failing(Passing):
    """A ledger all of whose commits fail."""

    def __init__(self, inner: LocalLedger, error: Exception) -> None:
        super().__init__(inner)
        self.error = error

    def commit(self, token: Token, progress: Progress) -> Renewal:
        raise self.error


def _commit(address: Address, token: Token) -> Any:
    with reached(address) as ledger:
        return ledger.commit(token, Progress(Commit(1, None), Counters()))


@pytest.mark.parametrize(
    "error",
    [
        LeaseLost("another agent has taken over"),
        RunError("AZSM1036", "It changed."),
        ApiError(502, "InvalidAnswer", "Update the agent.", "x"),
        ValueError("a mistake"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_travel_as_what_they_are(line, ledger, elsewhere, error):
    address, token = line.put(_Failing(ledger, error)), _grant(ledger).token
    failed = elsewhere.submit(_commit, address, token).exception(LIMIT)
    assert (type(failed), str(failed)) == (type(error), str(error))
    assert {**vars(failed), "__notes__": None} == {**vars(error), "__notes__": None}


class _Unspeakable(Exception):
    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("not to be sent")


@pytest.mark.usefixtures("away")
def test_an_error_that_cannot_be_sent_ends_neither_the_caller_nor_the_line(line, ledger):
    address, token = line.put(_Failing(ledger, _Unspeakable("what"))), _grant(ledger).token
    with pytest.raises(Exception, match="what"):
        _commit(address, token)
    assert _commit(line.put(ledger), token) == Renewal(float("inf"))


def test_a_ledger_that_was_taken_off_is_no_longer_written(line, ledger, elsewhere):
    address, token = line.put(ledger), _grant(ledger).token
    line.take_off(address)
    line.take_off(address)
    with pytest.raises(LeaseLost):
        elsewhere.submit(_commit, address, token).result(LIMIT)
    with pytest.raises(LeaseLost):
        _commit(address, token)
    assert ledger.busy()


@pytest.mark.usefixtures("away")
def test_a_ledger_that_is_taken_off_in_between_refuses_the_next_call(line, ledger):
    address, token = line.put(ledger), _grant(ledger).token
    with reached(address) as far:
        far.sight(token, Sighting("source", "target", 7))
        line.take_off(address)
        with pytest.raises(LeaseLost):
            far.commit(token, Progress(Commit(1, None), Counters()))


@pytest.mark.usefixtures("away")
def test_leases_reach_their_own_ledgers(line):
    with closing(LocalLedger()) as one, closing(LocalLedger()) as other:
        for ledger in (one, other):
            ledger.open(order_of(("s", "t")))
        first, second = line.put(one), line.put(other)
        token = _grant(other).token
        with pytest.raises(LeaseLost):
            _commit(first, token)
        _commit(second, token)
        assert not other.busy()


@pytest.mark.usefixtures("away")
def test_nothing_but_the_calls_of_a_ledger_can_be_called(line, ledger):
    address = line.put(ledger)
    with closing(Client(address.socket, "AF_UNIX", authkey=address.key)) as caller:
        for name in ("close", "lease", "__class__", "_db"):
            caller.send((address.number, name, ()))
            fine, error = caller.recv()
            assert not fine
            assert isinstance(error, ValueError)


@pytest.mark.usefixtures("away")
def test_a_stranger_without_the_key_is_refused_and_disturbs_nobody(line, ledger):
    address, token = line.put(ledger), _grant(ledger).token
    with pytest.raises(AuthenticationError):
        _commit(replace(address, key=b"guessed"), token)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(address.socket)
    assert ledger.busy()
    assert _commit(address, token) == Renewal(float("inf"))


@pytest.mark.usefixtures("away")
def test_somebody_who_says_nothing_keeps_nobody_waiting(line, ledger):
    """A worker that was stopped, or killed in the kernel, in the middle of its greeting."""
    address, token = line.put(ledger), _grant(ledger).token
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(address.socket)
        assert _within(LIMIT, lambda: _commit(address, token)) == Renewal(float("inf"))


def _within(seconds: float, call: Callable[[], Any]) -> Any:
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(call()), daemon=True)
    thread.start()
    thread.join(seconds)
    assert answers, "no answer"
    return answers[0]


def test_the_line_is_no_file_that_anybody_could_remove(line, ledger):
    address = line.put(ledger)
    assert address.socket.startswith("\0")
    assert len(address.socket) < 108
    assert repr(address.key) not in repr(address)


def test_another_user_is_not_even_asked_for_the_key(line, ledger, monkeypatch):
    monkeypatch.setattr(remote_ledger, "_CREDENTIALS", _OfAnother())
    address = line.put(ledger)
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(address.socket)
        stranger.settimeout(LIMIT)
        assert stranger.recv(1) == b""


class _OfAnother:
    """Reads every caller's user as somebody else."""

    size = 12

    def unpack(self, _: bytes) -> tuple[int, int, int]:
        return 1, 4_000_000, 1


def test_a_process_without_descriptors_waits_longer_and_longer_and_tells_it_once(ledger, monkeypatch, caplog):
    refusals = 10
    waits: list[float] = []
    real = Listener.accept

    def accept(listener: Listener) -> Any:
        if len(waits) < refusals:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(listener)

    monkeypatch.setattr(Listener, "accept", accept)
    with closing(LedgerLine()) as line:
        monkeypatch.setattr(remote_ledger, "_lines", {})
        monkeypatch.setattr(line._over, "wait", waits.append)
        line.listen()
        assert _commit(line.put(ledger), _grant(ledger).token) == Renewal(float("inf"))
    assert len(waits) == refusals
    assert waits == sorted(waits)
    assert waits[0] < 0.1
    assert waits[-1] == waits[-2] == 2.0
    assert [record.message for record in caplog.records if "Too many open files" in record.message] == [
        caplog.messages[0]
    ]


def test_a_line_that_was_closed_is_a_lost_lease_and_leaves_nothing(ledger, monkeypatch):
    before = threading.active_count()
    line = LedgerLine()
    line.listen()
    line.listen()
    monkeypatch.setattr(remote_ledger, "_lines", {})
    address, token = line.put(ledger), _grant(ledger).token
    with reached(address) as far:
        far.sight(token, Sighting("source", "target", 7))
        line.close()
        with pytest.raises(LeaseLost):
            far.commit(token, Progress(Commit(1, None), Counters()))
    with pytest.raises(LeaseLost):
        _commit(address, token)
    deadline = time.monotonic() + LIMIT
    while threading.active_count() > before:
        assert time.monotonic() < deadline, [thread.name for thread in threading.enumerate()]
        time.sleep(0.01)


def test_an_address_travels(line, ledger):
    address = line.put(ledger)
    assert pickle.loads(pickle.dumps(address)) == address
