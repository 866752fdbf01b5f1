"""Worker processes and leases: nobody writes after the end, everybody's errors arrive, one death is one lease's."""

from __future__ import annotations

import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import closing
from functools import partial
from multiprocessing import Pipe
from pathlib import Path
from typing import Any, cast

import pytest

from tests.conftest import is_running
from tests.unit.engine.stage import copied, fresh_places, order_of, perform, specs_of
from wherry.engine import chapters, deeds, pool, processes, span
from wherry.engine.copy import Live, copy
from wherry.engine.lease import SLOTS, LeaseClock, LeaseClocks, boot_time
from wherry.engine.ledger import LocalLedger
from wherry.engine.pool import Pool
from wherry.engine.processes import Processes, WorkerDied
from wherry.model.errors import ApiError, Full, LeaseLost, RunError, Unavailable, WherryError
from wherry.model.options import JobOptions
from wherry.stores.memory import MemoryStore
from wherry.stores.port import StoreSpec

LIMIT = 20.0


class _Call:
    """Stands for an argument: a worker that receives it makes a call instead, of which it then knows nothing."""

    def __init__(self, function: object, *arguments: object) -> None:
        self._reduced = (function, arguments)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self._reduced


def test_a_worker_opens_the_places_anew_for_each_lease(workers, order, tmp_path):
    (tmp_path / "source" / "a").write_bytes(b"1")
    assert copied(order, workers)["Transferred"] == 1
    (tmp_path / "target").rename(tmp_path / "taken away")
    (tmp_path / "target").mkdir()
    assert copied(order, workers)["Transferred"] == 1
    assert (tmp_path / "target" / "a").exists()


def test_a_worker_may_have_as_many_files_open_as_the_system_lets_it():
    few, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (few - 1, most))
    try:
        with Processes(1, partial(pool._begin, *Pipe(duplex=False))) as made:
            found = made.submit(resource.getrlimit, resource.RLIMIT_NOFILE).result(LIMIT)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (few, most))
    assert found == (most, most)


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
            perform(order, inline, clock, ledger)
        assert ended.is_set()
        left = target.paths()
        assert not any(thread.name == "team" for thread in threading.enumerate())
    assert target.paths() == left


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


def test_a_worker_that_has_nobody_left_to_answer_ends_in_silence():
    near, far = Pipe()
    near.send((os.getpid, (), {}))
    near.close()

    processes._serve(far, _nothing)


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
    assert copied(order, workers)["Transferred"] == 1


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
            perform(order, workers, clock, ledger)


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
            perform(order, foreign, clock, ledger)
        assert clock.stuck
        foreign.give_back(clock)
        assert clock.slot not in {foreign.lease().slot for _ in range(SLOTS - 1)}


def test_a_copy_ends_when_a_worker_may_still_write_under_each_lease(order, monkeypatch):
    def taken(_: object) -> LeaseClock:
        raise RunError("AZSM1060", "64 workers hang.")

    monkeypatch.setattr(LeaseClocks, "take", taken)
    end = copy(*specs_of(order), JobOptions(), workers=0).end
    assert (end.code, end.message.endswith("64 workers hang.")) == ("AZSM1060", True)


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
        perform(order, racing, clock, ledger)


def test_a_timeout_that_work_itself_raises_is_its_error(order):
    with closing(LocalLedger()) as ledger, closing(Pool(1, _Racing(TimeoutError("of its own")))) as racing:
        ledger.open(order)
        clock = racing.lease()
        clock.forever()
        with pytest.raises(TimeoutError, match="of its own"):
            perform(order, racing, clock, ledger)


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


def _nothing() -> None:
    """Nothing is to be begun."""


def test_what_is_sent_to_all_processes_waits_until_a_new_one_knows_what_it_means(tmp_path):
    """Whoever presses Ctrl-C while the first workers begin sees no traceback of theirs."""
    program = tmp_path / "program.py"
    program.write_text(_BEGINS)
    done = subprocess.run(
        [sys.executable, program, tmp_path / "seen"], capture_output=True, text=True, check=True
    )

    assert {signal.SIGINT, signal.SIGTERM} <= _blocked((tmp_path / "seen").read_text())
    assert not {signal.SIGINT, signal.SIGTERM} & _blocked(done.stdout)


_BEGINS = """
import shutil, sys
from functools import partial
from pathlib import Path
from wherry.engine.processes import Processes

if __name__ == "__main__":
    with Processes(1, partial(shutil.copyfile, "/proc/self/status", sys.argv[1])) as one:
        print(one.submit(Path.read_text, Path("/proc/self/status")).result(20))
"""


def _blocked(status: str) -> set[int]:
    """The signals that wait, as `/proc` tells of a process."""
    mask = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigBlk"))
    return {number for number in signal.Signals if mask >> (number - 1) & 1}


def test_a_second_interrupt_ends_a_copy_that_would_take_long(tmp_path, monkeypatch):
    """The first lets what is under way come to its end: here that is a minute away."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(bytes(600))
    near = StoreSpec("posix", str(tmp_path / "source"))
    far = StoreSpec("posix", str(tmp_path / "target"), create=True)
    begun = time.monotonic()
    told: list[bool] = []

    def progress(live: Live) -> None:
        told.append(live.stopping)
        if live.stopping or (tmp_path / "target").exists():
            raise KeyboardInterrupt

    monkeypatch.setattr(pool, "work", _hang)
    with pytest.raises(KeyboardInterrupt):
        copy(near, far, JobOptions(), workers=1, progress=progress)

    assert told[-1]
    assert told.count(True) == 1
    assert time.monotonic() - begun < LIMIT


def _hang(task: Any) -> None:
    Path(task.target.location).mkdir()
    time.sleep(60)
