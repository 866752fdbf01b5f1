"""Wherever tasks run, the same copy comes of them: the same counters, rows and target."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from tests.unit.engine.stage import order_of, work_off
from wherry.engine import copy as copies
from wherry.engine import pool as pools
from wherry.engine import worker
from wherry.engine.copy import Live, copy
from wherry.engine.lease import SLOTS
from wherry.engine.ledger import LocalLedger
from wherry.engine.pool import Pool
from wherry.engine.worker import Task
from wherry.model.options import CopyMode, JobOptions
from wherry.model.outcomes import Outcome, Row, rows_of
from wherry.model.run import RunStatus
from wherry.stores.port import StoreSpec

Make = Callable[[], Executor | None]


def _spawned() -> Executor:
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))


WAYS: dict[str, tuple[int, Make]] = {
    "calling thread": (0, lambda: None),
    "own processes": (2, lambda: None),
    "a process pool of the caller": (2, _spawned),
    "threads of the caller": (3, lambda: ThreadPoolExecutor(3)),
}


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    source, target = tmp_path / "source", tmp_path / "target"
    for folder in range(6):
        (source / f"{folder}" / "deep").mkdir(parents=True)
        (target / f"{folder}").mkdir(parents=True)
        for number in range(25):
            (source / f"{folder}" / f"{number}").write_bytes(os.urandom(number))
        (source / f"{folder}" / "linked").hardlink_to(source / f"{folder}" / "7")
        (source / f"{folder}" / "there").symlink_to("deep")
        (target / f"{folder}" / "gone").write_bytes(b"x")
        (target / f"{folder}" / "3").write_bytes(b"other")
    os.mkfifo(source / "0" / "pipe")
    (target / "1" / "deep").write_bytes(b"a file in the place of a folder")
    return source, target


def _tree(folder: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        about = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns)
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = (os.readlink(path), *about)
        elif path.is_file():
            found[name] = (path.read_bytes(), status.st_nlink, *about)
        elif path.is_dir():
            found[name] = about
    return found


def _copied(
    source: Path, target: Path, way: str
) -> tuple[dict[str, int], dict[str, int], list[tuple[bytes, Outcome, str]], list[Live]]:
    workers, make = WAYS[way]
    executor = make()
    rows: list[Row] = []
    seen: list[Live] = []
    options = JobOptions(mode=CopyMode.MIRROR)
    specs = StoreSpec("posix", str(source)), StoreSpec("posix", str(target))
    try:
        report = copy(
            *specs, options, workers=workers, executor=executor,
            log=lambda lines: rows.extend(rows_of(lines)), progress=seen.append,
        )  # fmt: skip
    finally:
        if executor is not None:
            executor.shutdown()
    assert report.end.status is RunStatus.SUCCEEDED, report.end
    told = sorted((row.path, row.outcome, row.code) for row in rows)
    return report.counters.items, report.counters.bytes, told, seen


def _aside(target: Path) -> Path:
    """A copy of what the target holds at first."""
    other = target.with_name("expected")
    for path in sorted(target.rglob("*")):
        there = other / path.relative_to(target)
        if path.is_dir():
            there.mkdir(parents=True)
        else:
            there.write_bytes(path.read_bytes())
            os.utime(there, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    return other


@pytest.mark.parametrize("way", [way for way in WAYS if way != "calling thread"])
def test_the_same_copy_comes_of_it(places, way, monkeypatch):
    monkeypatch.setattr(copies, "_IDLE_SECONDS", 0.001)
    source, target = places
    other = _aside(target)
    items, sizes, rows, _ = _copied(source, other, "calling thread")
    assert (items, sizes, rows) == _copied(source, target, way)[:3]
    tree = _tree(target)
    assert tree == _tree(other)
    assert tree == _tree(source)
    assert items["Deleted"] == 7
    assert items["Unsupported"] == 1


@pytest.mark.parametrize("way", WAYS)
def test_progress_tells_what_came_of_it(places, way):
    source, target = places
    items, sizes, _, seen = _copied(source, target, way)
    last = seen[-1]
    assert last.counters.items == items
    assert last.items >= items["Scanned"]
    assert last.bytes >= sizes["Transferred"]
    assert not last.scanning
    assert last.threads == 0
    assert 0 <= last.computing < 60
    assert all(one.items <= two.items for one, two in pairwise(seen))


@pytest.mark.parametrize("way", ["threads of the caller", "a process pool of the caller"])
def test_an_executor_of_the_callers_is_the_callers(places, way, tmp_path):
    """It may do another copy afterwards."""
    source, target = places
    workers, make = WAYS[way]
    with make() or pytest.fail("no executor") as executor:
        for place in (target, tmp_path / "second"):
            specs = StoreSpec("posix", str(source)), StoreSpec("posix", str(place), create=True)
            report = copy(*specs, JobOptions(mode=CopyMode.MIRROR), workers=workers, executor=executor)
            assert report.end.status is RunStatus.SUCCEEDED
        assert executor.submit(int, "7").result() == 7


def test_no_more_workers_than_can_hold_a_lease():
    with ThreadPoolExecutor(1) as executor, closing(Pool(1000, executor)) as crowded:
        assert crowded.workers == SLOTS
        assert len({crowded.lease().slot for _ in range(crowded.workers)}) == SLOTS


def test_without_workers_the_calling_thread_does_a_lease(places, monkeypatch):
    order = order_of((str(places[0]), str(places[1])), kind="posix")
    threads = []

    def work(task: Task) -> None:
        threads.append(threading.current_thread())
        worker.work(task)

    monkeypatch.setattr(pools, "work", work)
    with closing(Pool(0)) as inline, closing(LocalLedger()) as ledger:
        ledger.open(order)
        work_off(order, ledger, inline)
    assert set(threads) == {threading.current_thread()}


def test_a_copy_is_done_by_as_many_as_there_are(places, monkeypatch, tmp_path):
    """Work is given away while somebody has nothing to do."""
    monkeypatch.setattr(copies, "_IDLE_SECONDS", 0.001)
    source = tmp_path / "wide"
    for folder in range(30):
        (source / f"{folder:02}").mkdir(parents=True)
        for number in range(30):
            (source / f"{folder:02}" / f"{number:02}").write_bytes(b"x")
    partitions = set()
    real = LocalLedger.commit

    def commit(self, token, progress):
        partitions.add(token.partition)
        return real(self, token, progress)

    monkeypatch.setattr(LocalLedger, "commit", commit)
    specs = StoreSpec("posix", str(source)), StoreSpec("posix", str(tmp_path / "t"), create=True)
    report = copy(*specs, JobOptions(), workers=2)
    assert report.counters.items == {"Scanned": 930, "Transferred": 930}
    assert len(partitions) > 3


def paces() -> int:
    """How many limits this process keeps."""
    open_now = (f"/proc/self/fd/{one}" for one in os.listdir("/proc/self/fd"))
    return sum("wherry-pace" in os.readlink(one) for one in open_now if os.path.islink(one))


def test_a_pool_that_lives_long_keeps_a_limit_for_few_runs(places):
    order = order_of((str(places[0]), str(places[1])), JobOptions(bandwidth=1), kind="posix")
    with closing(Pool(0)) as pool:
        first = pool._limits(order)
        for number in range(SLOTS + 3):
            pool._limits(replace(order, run=f"run {number}"))
            assert pool._limits(order) == first
        assert paces() == SLOTS
    assert not paces()
