"""Worker processes and leases: nobody writes after the end, everybody's errors arrive, one death is one lease's."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from tests.conftest import is_running
from tests.unit.engine.stage import Passing, fresh_places, order_of, specs_of, work_off
from wherry.engine import chapters, deeds, pool, processes, span, team, transfer
from wherry.engine.lease import SLOTS, LeaseClock, boot_time
from wherry.engine.ledger import LocalLedger
from wherry.engine.pool import Pool
from wherry.engine.processes import Processes, WorkerDied
from wherry.engine.remote_ledger import Address
from wherry.engine.walk import Walk
from wherry.engine.worker import Task
from wherry.model.errors import ApiError, Full, LeaseLost, RunError, Unavailable, WherryError
from wherry.model.ledger import Span, Token
from wherry.model.options import JobOptions
from wherry.model.outcomes import Outcome
from wherry.model.wire import Grant, Progress, Renewal, RunOrder
from wherry.stores import posix_copy
from wherry.stores.memory import MemoryStore
from wherry.stores.port import StoreSpec

LIMIT = 20.0


@pytest.fixture
def workers() -> Iterator[Pool]:
    with closing(Pool(1)) as made:
        yield made


@pytest.fixture
def order(tmp_path: Path) -> RunOrder:
    """A run from one folder to another."""
    for name in ("source", "target"):
        (tmp_path / name).mkdir()
    return order_of((str(tmp_path / "source"), str(tmp_path / "target")), kind="posix")


class _Call:
    """Stands for an argument: a worker that receives it makes a call instead, of which it then knows nothing."""

    def __init__(self, function: object, *arguments: object) -> None:
        self._reduced = (function, arguments)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self._reduced


def _copied(order: RunOrder, by: Pool) -> dict[str, int]:
    with closing(LocalLedger()) as ledger:
        ledger.open(order)
        work_off(order, ledger, by)
        return ledger.counters().items


def _perform(order: RunOrder, by: Pool, clock: LeaseClock, ledger: LocalLedger) -> None:
    """One lease."""
    grant = ledger.lease(order)
    assert grant is not None
    by.perform(grant, ledger, *specs_of(order), clock)


def test_a_worker_opens_the_places_anew_for_each_lease(workers, order, tmp_path):
    (tmp_path / "source" / "a").write_bytes(b"1")
    assert _copied(order, workers)["Transferred"] == 1
    (tmp_path / "target").rename(tmp_path / "taken away")
    (tmp_path / "target").mkdir()
    assert _copied(order, workers)["Transferred"] == 1
    assert (tmp_path / "target" / "a").exists()


def _all_below(kind: type[WherryError]) -> list[type[WherryError]]:
    return [kind, *(below for one in kind.__subclasses__() for below in _all_below(one))]


@pytest.mark.parametrize(
    "error",
    [
        RunError("AZSM1040", "Full."),
        LeaseLost("Late."),
        ApiError(409, "Busy", "It is.", "x"),
        Unavailable("Later.", 7.5),
        chapters.Stopped(),
        WorkerDied("It did."),
        *(kind("Why.") for kind in _all_below(Full.__mro__[1])),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_leaves_a_worker_process_as_what_it_is(error: WherryError):
    arrived = pickle.loads(pickle.dumps(error))
    assert (type(arrived), str(arrived), vars(arrived)) == (type(error), str(error), vars(error))


def test_nothing_of_a_lease_goes_on_when_it_is_over(monkeypatch):
    places = fresh_places()
    source, target = MemoryStore(places[0]), MemoryStore(places[1])
    source.seed(b"a-slow", b"1")
    source.seed(b"bad", b"1")
    begun, ended, real = threading.Event(), threading.Event(), deeds.do

    def do(both, deed):
        if deed.path == b"bad":
            begun.wait(LIMIT)
            raise RunError("AZSM1040")
        begun.set()
        time.sleep(0.2)
        try:
            return real(both, deed)
        finally:
            ended.set()

    monkeypatch.setattr(deeds, "do", do)
    monkeypatch.setattr(span, "_FIRST_ITEMS", 1)
    order = order_of(places)
    with closing(Pool(0)) as inline, closing(LocalLedger()) as ledger:
        ledger.open(order)
        clock = inline.lease()
        clock.forever()
        with pytest.raises(RunError):
            _perform(order, inline, clock, ledger)
        assert ended.is_set()
        left = target.paths()
        assert not any(thread.name == "team" for thread in threading.enumerate())
    assert target.paths() == left


def test_a_large_file_is_progress_while_it_is_copied(order, tmp_path, monkeypatch):
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
        _perform(order, inline, clock, ledger)
    assert moved == [True] * 4


def test_a_file_in_ranges_is_progress_with_each(order, tmp_path, monkeypatch):
    for module in (chapters, transfer, team):
        monkeypatch.setattr(module, "HEAVY", 1 << 20)
    monkeypatch.setattr("wherry.stores.posix_draft.RANGE_SIZE", 1 << 20)
    (tmp_path / "source" / "a").write_bytes(os.urandom(4 << 20))
    notes = []
    real = LeaseClock.note

    def note(clock: LeaseClock) -> None:
        notes.append(clock.slot)
        real(clock)

    monkeypatch.setattr(LeaseClock, "note", note)
    assert _copied(order, Pool(0))["Transferred"] == 1
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


def test_the_death_of_a_worker_ends_its_own_call_and_no_other():
    with Processes(2, _nothing) as two:
        dying, living = two.submit(os._exit, 1), two.submit(time.sleep, 1)
        with pytest.raises(WorkerDied):
            dying.result(20)
        assert living.result(20) is None
        assert two.submit(int, "7").result(20) == 7


def test_half_an_answer_is_the_end_of_a_call():
    """A worker is killed in the middle of writing an answer that is larger than any pipe."""
    with Processes(1, _nothing) as one:
        for number in range(5):
            pid = one.submit(os.getpid).result(20)
            large = one.submit(bytes, 400_000_000)
            while not large.running():
                time.sleep(0.001)
            # Later each time, from before it is made to the middle of it.
            time.sleep(0.05 * number)
            os.kill(pid, signal.SIGKILL)
            if large.exception(20) is not None:
                assert isinstance(large.exception(), WorkerDied)


def test_a_call_that_cannot_be_sent_or_read_is_an_error_of_its_own():
    with Processes(1, _nothing) as one:
        pid = one.submit(os.getpid).result(20)
        with pytest.raises((AttributeError, TypeError, pickle.PicklingError)):
            one.submit(lambda: None).result(20)
        with pytest.raises(ValueError, match="invalid literal") as caught:
            one.submit(int, cast("str", _Call(int, "x"))).result(20)
        assert "Traceback" in caught.value.__notes__[0]
        assert one.submit(os.getpid).result(20) == pid


@pytest.mark.parametrize("end", ["its time runs out", "it is revoked"])
def test_a_worker_that_hangs_is_killed_and_the_next_one_goes_on(workers, order, tmp_path, monkeypatch, end):
    monkeypatch.setattr(pool, "SETTLE_SECONDS", 1.5)
    (tmp_path / "source" / "a").write_bytes(b"1")
    hanging = cast("StoreSpec", _Call(time.sleep, 600))
    with closing(LocalLedger()) as ledger:
        ledger.open(order)
        grant = ledger.lease(order)
        assert grant is not None
        clock = workers.lease()
        clock.extend(boot_time(), 0.5 if end == "its time runs out" else 600.0)
        died: Future[object] = Future()

        def perform() -> None:
            try:
                workers.perform(grant, ledger, hanging, specs_of(order)[1], clock)
            except BaseException as error:  # noqa: BLE001 - handed to the test
                died.set_result(error)

        thread = threading.Thread(target=perform, daemon=True)
        thread.start()
        if end == "it is revoked":
            clock.revoke()
        assert isinstance(died.result(LIMIT), WorkerDied)
        assert not clock.stuck
        workers.give_back(clock)
    assert _copied(order, workers)["Transferred"] == 1


def test_a_lease_that_is_revoked_has_its_time_to_settle(workers, order, monkeypatch):
    """What is under way may end: the worker sees by itself that it is over."""
    monkeypatch.setattr(pool, "SETTLE_SECONDS", 600.0)
    clock = workers.lease()
    clock.extend(boot_time(), 600.0)
    clock.revoke()
    assert -5 < clock.remaining() < 0
    with closing(LocalLedger()) as ledger:
        ledger.open(order)
        with pytest.raises(LeaseLost):
            _perform(order, workers, clock, ledger)


def test_a_worker_that_cannot_be_killed_is_given_up_and_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(processes._Slot, "kill", lambda _: None)
    with Processes(1, _nothing) as one:
        hung = one.submit(_wait_for, tmp_path / "go")
        while not hung.running():
            time.sleep(0.001)
        assert not one.kill({hung}, 0.1)
        assert one.submit(int, "7").result(LIMIT) == 7
        assert not hung.done()
        (tmp_path / "go").touch()
        assert hung.result(LIMIT) is None


def _wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)


def test_a_slot_is_kept_from_others_when_its_worker_could_not_be_killed(order, monkeypatch):
    monkeypatch.setattr(pool, "SETTLE_SECONDS", 0.5)
    monkeypatch.setattr(pool, "_KILL_SECONDS", 0.1)
    with closing(LocalLedger()) as ledger, closing(Pool(1, _Stuck())) as foreign:
        ledger.open(order)
        clock = foreign.lease()
        clock.extend(boot_time() - 10, 1.0)
        with pytest.raises(WorkerDied):
            _perform(order, foreign, clock, ledger)
        assert clock.stuck
        foreign.give_back(clock)
        assert clock.slot not in {foreign.lease().slot for _ in range(SLOTS - 1)}


class _Stuck(Executor):
    """Never ends what it runs, and nobody can make it."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        return future


class _Racing(Executor):
    """What it runs ends in the very moment in which whoever waits for it looks up."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        later: _Late = _Late()
        later.end = (
            partial(later.set_exception, self.error) if self.error else partial(later.set_result, None)
        )
        return later


class _Late(Future[Any]):
    end: Callable[[], None]

    def result(self, timeout: float | None = None) -> Any:
        if not self.done():
            self.end()
            raise TimeoutError
        return super().result(timeout)


def test_work_that_ends_in_the_moment_of_a_look_has_ended_well(order):
    with closing(LocalLedger()) as ledger, closing(Pool(1, _Racing())) as racing:
        ledger.open(order)
        clock = racing.lease()
        clock.forever()
        _perform(order, racing, clock, ledger)


def test_a_timeout_that_work_itself_raises_is_its_error(order):
    with closing(LocalLedger()) as ledger, closing(Pool(1, _Racing(TimeoutError("of its own")))) as racing:
        ledger.open(order)
        clock = racing.lease()
        clock.forever()
        with pytest.raises(TimeoutError, match="of its own"):
            _perform(order, racing, clock, ledger)


_ORPHAN = """
import time
from wherry.engine.pool import Pool

if __name__ == "__main__":
    workers = Pool(1)
    print(workers._executor.submit(__import__("os").getpid).result(), flush=True)
    workers._executor.submit(time.sleep, 600)
    time.sleep(600)
"""


def test_a_worker_ends_with_whoever_started_it_however_that_ends(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(_ORPHAN)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert is_running(worker)
        parent.kill()
    deadline = time.monotonic() + LIMIT
    while is_running(worker):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_signals_to_all_are_obeyed_by_the_parent_alone(workers):
    pid = workers._executor.submit(os.getpid).result(LIMIT)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(pid, number)
    assert workers._executor.submit(os.getpid).result(LIMIT) == pid


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
        _perform(order, workers, clock, ledger)
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
