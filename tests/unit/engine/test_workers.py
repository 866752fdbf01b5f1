"""Worker processes and leases: nobody writes after the end, everybody's errors arrive, one death is one lease's."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest

from wherry.engine import batch as batches
from wherry.engine import deeds, pool, processes
from wherry.engine.batch import Batch
from wherry.engine.deeds import Deed
from wherry.engine.lease import SLOTS, boot_time
from wherry.engine.ledger import LocalLedger
from wherry.engine.pool import Pool
from wherry.engine.processes import Processes, WorkerDied
from wherry.engine.walk import Walk
from wherry.engine.worker import perform
from wherry.model.errors import ApiError, LeaseLost, RunError, WherryError
from wherry.model.ledger import Span
from wherry.model.options import JobOptions
from wherry.model.outcomes import Row
from wherry.model.plan import Attempt, Do
from wherry.model.wire import Place, RunOrder
from wherry.stores import posix_copy
from wherry.stores.memory import MemoryStore
from wherry.stores.port import StoreSpec
from wherry.stores.registry import open_store


@pytest.fixture
def workers() -> Iterator[Pool]:
    with closing(Pool(1)) as made:
        yield made


class _Call:
    """Stands for a batch: a worker that receives it makes a call instead, of which it then knows nothing."""

    def __init__(self, function: object, argument: object) -> None:
        self._reduced = (function, (argument,))

    def __reduce__(self) -> tuple[object, tuple[object]]:
        return self._reduced


def _send(to: Pool, function: object, argument: object) -> Future[list[Row]]:
    return to.submit(cast("Batch", _Call(function, argument)))


def _copied(source: Path, target: Path, by: Pool) -> dict[str, int]:
    specs = StoreSpec("posix", str(source)), StoreSpec("posix", str(target), create=True)
    order = RunOrder("run", Place("posix", str(source)), Place("posix", str(target)), JobOptions())
    with closing(LocalLedger()) as ledger:
        ledger.open(order)
        while (grant := ledger.lease(order)) is not None:
            lease = by.lease()
            lease.forever()
            perform(grant, ledger, *specs, by, lease)
            lease.close()
        return ledger.counters().items


def test_a_worker_opens_the_places_anew_for_each_lease(workers, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    for folder in (source, target):
        folder.mkdir()
    (source / "a").write_bytes(b"1")
    first = workers.lease().slot
    workers._clocks.give_back(first)
    _copied(source, target, workers)
    target.rename(tmp_path / "taken away")
    target.mkdir()
    while workers._clocks._free[0] != first + 1:
        workers.lease().close()
    assert _copied(source, target, workers)["Transferred"] == 1
    assert (target / "a").exists()


@pytest.mark.parametrize(
    "error", [RunError("AZSM1040", "Full."), LeaseLost("Late."), ApiError(409, "Busy", "It is.", "x")]
)
def test_an_error_leaves_a_worker_process_as_what_it_is(error: WherryError):
    arrived = pickle.loads(pickle.dumps(error))
    assert (type(arrived), str(arrived), vars(arrived)) == (type(error), str(error), vars(error))


def test_nothing_of_a_batch_goes_on_when_it_is_over(monkeypatch):
    source = MemoryStore("over-source")
    slow, bad = source.seed(b"slow", b"1"), source.seed(b"bad", b"1")
    begun, real = threading.Event(), deeds.do

    def do(both, deed, options, attempt):
        if deed.path == b"bad":
            begun.wait(5)
            raise RunError("AZSM1040")
        begun.set()
        time.sleep(0.2)
        return real(both, deed, options, attempt)

    monkeypatch.setattr(deeds, "do", do)
    lease = Pool(0).lease()
    lease.forever()
    work = (Deed(Do.TRANSFER, b"bad", bad), Deed(Do.TRANSFER, b"slow", slow))
    places = StoreSpec("memory", "over-source"), StoreSpec("memory", "over-target")
    with pytest.raises(RunError):
        batches.run(Batch(*places, JobOptions(), lease.slot, "lease", Attempt(), work))
    assert b"slow" in MemoryStore("over-target").paths()


def test_a_large_file_is_progress_while_it_is_copied(tmp_path, monkeypatch):
    monkeypatch.setattr(posix_copy, "_STRIDE", 1 << 20)
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / "a").write_bytes(os.urandom(4 << 20))
    places = StoreSpec("posix", str(source)), StoreSpec("posix", str(target), create=True)
    inline = Pool(0)
    lease = inline.lease()
    lease.forever()
    moved, real = [], posix_copy._copy

    def copy(*told):
        moved.append(lease.moved())
        return real(*told)

    monkeypatch.setattr(posix_copy, "_copy", copy)
    with closing(open_store(places[0])) as store:
        work = (Deed(Do.TRANSFER, b"a", store.stat(b"a")),)
    inline.submit(Batch(*places, JobOptions(), lease.slot, "lease", Attempt(), work)).result()
    assert moved == [True] * 4


def test_to_list_a_wide_folder_is_progress():
    for number in range(1001):
        MemoryStore("wide").seed(b"%04d" % number)
    lease = Pool(0).lease()
    walk = Walk(MemoryStore("wide"), MemoryStore("wide-target"), Span(), lease.note)
    assert not lease.moved()
    walk.begin()
    assert lease.moved()


def test_a_renewal_does_not_revive_a_lease_that_was_ended():
    lease = Pool(0).lease()
    lease.extend(boot_time(), 100)
    lease.fence()
    lease.end()
    lease.extend(boot_time(), 100)
    with pytest.raises(LeaseLost):
        lease.fence()


def test_the_death_of_a_worker_ends_its_own_batch_and_no_other():
    with Processes(2, _nothing) as two:
        dying, living = two.submit(os._exit, 1), two.submit(time.sleep, 1)
        with pytest.raises(WorkerDied):
            dying.result(20)
        assert living.result(20) is None
        assert two.submit(int, "7").result(20) == 7


def test_half_an_answer_is_the_end_of_a_batch():
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


def test_a_worker_that_hangs_is_killed_and_the_next_one_goes_on(workers, monkeypatch):
    monkeypatch.setattr(pool, "SETTLE_SECONDS", 0.5)
    hung, waiting = _send(workers, time.sleep, 600), _send(workers, time.sleep, 600)
    while not hung.running():
        time.sleep(0.001)
    other = workers._executor.submit(int, "7")
    assert workers.settle([hung, waiting])
    with pytest.raises(WorkerDied):
        workers.result(hung, 10)
    assert waiting.cancelled()
    assert other.result(20) == 7


def test_a_worker_that_cannot_be_killed_is_given_up_and_replaced(monkeypatch):
    monkeypatch.setattr(processes._Slot, "kill", lambda _: None)
    with Processes(1, _nothing) as one:
        hung = one.submit(time.sleep, 3)
        while not hung.running():
            time.sleep(0.001)
        assert not one.kill({hung}, 0.1)
        assert one.submit(int, "7").result(2) == 7
        assert hung.result(20) is None


def _nothing() -> None:
    """Nothing is to be begun."""


def test_a_slot_under_which_somebody_may_still_write_is_not_given_to_others():
    clocks = Pool(0)
    stuck = clocks.lease()
    stuck.stuck = True
    stuck.close()
    assert stuck.slot not in {clocks.lease().slot for _ in range(SLOTS - 1)}
