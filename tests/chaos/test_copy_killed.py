"""A copy whose processes are killed with no warning goes on and ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import oracle
from wherry.engine.copy import Report, copy
from wherry.model.options import JobOptions
from wherry.model.run import RunStatus
from wherry.stores.port import StoreSpec

FILES = 5000
# So that there is time to kill it on a machine of any speed.
PACE = 3000
PACED = JobOptions(requests_per_second=PACE)

_PROGRAM = """
import json, sys
from pathlib import Path
from wherry.engine.copy import copy
from wherry.model.options import JobOptions
from wherry.stores.port import StoreSpec
if __name__ == "__main__":
    report = copy(StoreSpec("posix", sys.argv[1]), StoreSpec("posix", sys.argv[2]),
                  JobOptions(requests_per_second=int(sys.argv[4])), workers=2, state=Path(sys.argv[3]))
    print(json.dumps(report.counters.items))
"""


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path, Path, int]:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    items = oracle.grow(source, FILES)
    return source, target, tmp_path / "copy.state", items


@contextmanager
def _copying(trees: tuple[Path, Path, Path, int], tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    program = tmp_path / "program.py"
    program.write_text(_PROGRAM)
    source, target, state, _ = trees
    process = subprocess.Popen(
        [sys.executable, program, source, target, state, str(PACE)], stdout=subprocess.PIPE
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def _wait_for_files(target: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    """Until so many files are on the target; polls, because nothing else can be asked of a process to be killed."""
    deadline = time.monotonic() + 60
    while sum(len(files) for _, _, files in os.walk(target)) < count:
        assert process.poll() is None, "it was over before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _workers(parent: int) -> list[int]:
    """The process ids of the pool's workers."""
    children = [
        pid
        for task in Path(f"/proc/{parent}/task").iterdir()
        for pid in (task / "children").read_text().split()
    ]
    # Forked, they have the command line of their parent.
    own = Path(f"/proc/{parent}/cmdline").read_bytes()
    return [int(pid) for pid in children if Path(f"/proc/{pid}/cmdline").read_bytes() == own]


def _finish(trees: tuple[Path, Path, Path, int]) -> Report:
    source, target, state, _ = trees
    return copy(StoreSpec("posix", str(source)), StoreSpec("posix", str(target)), PACED, state=state)


def _assert_whole(report: Report, trees: tuple[Path, Path, Path, int]) -> None:
    source, target, _, items = trees
    assert report.end.status is RunStatus.SUCCEEDED
    assert oracle.folder(target) == oracle.folder(source)
    assert report.counters.items == {"Scanned": items, "Transferred": items}


@pytest.mark.parametrize("share", [0.05, 0.5, 0.8])
def test_killed_copy_goes_on_and_counts_each_item_once(trees, tmp_path, share):
    with _copying(trees, tmp_path) as process:
        _wait_for_files(trees[1], int(FILES * share), process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    report = _finish(trees)
    assert report.resumed
    _assert_whole(report, trees)


def test_killed_worker_process_is_replaced_and_nothing_is_lost(trees, tmp_path):
    with _copying(trees, tmp_path) as process:
        _wait_for_files(trees[1], FILES // 4, process)
        os.kill(_workers(process.pid)[0], signal.SIGKILL)
        told, _ = process.communicate(timeout=120)
        assert process.returncode == 0
    source, target, _, items = trees
    assert json.loads(told) == {"Scanned": items, "Transferred": items}
    assert oracle.folder(target) == oracle.folder(source)


def test_workers_end_with_the_process_that_made_them(trees, tmp_path):
    with _copying(trees, tmp_path) as process:
        _wait_for_files(trees[1], 10, process)
        workers = _workers(process.pid)
        assert workers
        process.kill()
        process.wait()
        deadline = time.monotonic() + 10
        while any(Path(f"/proc/{pid}").exists() and "Z" not in _state(pid) for pid in workers):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return "Z"
