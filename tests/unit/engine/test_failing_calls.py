"""From folder to folder, every system call fails once: before its effect or after it, for want of room or of a disk.

The copy ends equal or says what failed, the source stays as it is, no file of the target looks finished and is not, and
the next copy puts all right.
"""

from __future__ import annotations

import errno
import itertools
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import oracle
from tests.logged import LoggedRows
from wherry.engine.copy import Report, copy
from wherry.model.errors import CODES
from wherry.model.options import CopyMode, JobOptions
from wherry.model.outcomes import Outcome, Row
from wherry.model.run import RunStatus
from wherry.stores.port import StoreSpec

READS = (
    "open",
    "pread",
    "preadv",
    "fstat",
    "stat",
    "lstat",
    "listdir",
    "scandir",
    "readlink",
    "listxattr",
    "lseek",
)
WRITES = (
    "write", "pwrite", "copy_file_range", "mkdir", "link", "symlink", "rename", "unlink", "rmdir", "chown", "fchown",
    "chmod", "fchmod", "utime", "truncate", "ftruncate", "posix_fallocate",
)  # fmt: skip
KINDS = {
    "a disk that fails": (READS + WRITES, errno.EIO, False),
    "a disk that fails after the effect": (WRITES, errno.EIO, True),
    "no room": (("open", *WRITES), errno.ENOSPC, False),
    "no right": (READS + WRITES, errno.EACCES, False),
}
STALE = {b"stale", b"folder/stale"}


class Failing:
    """The n-th of some calls that stores make fails."""

    def __init__(self, nth: int, number: int, after: bool) -> None:
        self.nth = nth
        self.number = number
        self.after = after
        self.calls = 0
        self.what = ""
        self._lock = threading.Lock()

    def wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if not sys._getframe(1).f_globals["__name__"].startswith("wherry.stores."):
                return real(*arguments, **named)
            with self._lock:
                self.calls += 1
                mine = self.calls == self.nth
            if not mine:
                return real(*arguments, **named)
            self.what = f"{name}{arguments} {named}"
            if self.after:
                real(*arguments, **named)
            raise OSError(self.number, os.strerror(self.number))

        return call

    @contextmanager
    def at_work(self, patch: pytest.MonkeyPatch, names: tuple[str, ...]) -> Iterator[None]:
        with patch.context() as inner:
            for name in names:
                inner.setattr(os, name, self.wrapped(name, getattr(os, name)))
            yield


@pytest.fixture
def folders(tmp_path: Path) -> Callable[[], tuple[Path, Path]]:
    number = itertools.count()

    def make() -> tuple[Path, Path]:
        source, target = tmp_path / f"source-{(serial := next(number))}", tmp_path / f"target-{serial}"
        for folder in (source / "folder", source / "empty", target / "folder"):
            folder.mkdir(parents=True)
        for name, size in (
            ("folder/small", 3000),
            ("nothing", 0),
            ("large", (1 << 20) + 1),
            ("changed", 100),
        ):
            (source / name).write_bytes(os.urandom(size))
            os.utime(source / name, ns=(0, 10**18 + size))
        (source / "folder" / "link").symlink_to("small")
        os.link(source / "changed", source / "folder" / "twin")
        for name in ("changed", "stale", "folder/stale"):
            (target / name).write_bytes(b"before")
        for name in ("folder", "empty"):
            os.utime(source / name, ns=(0, 10**18))
        return source, target

    return make


def _copied(folders: tuple[Path, Path]) -> tuple[Report, LoggedRows]:
    rows = LoggedRows()
    source, target = (StoreSpec("posix", str(folder)) for folder in folders)
    options = JobOptions(mode=CopyMode.MIRROR, max_delete=100)
    return copy(source, target, options, workers=0, log=rows.take), rows


def _judge(folders: tuple[Path, Path], wanted: oracle.Seen, report: Report, rows: list[Row]) -> None:
    there = oracle.folder(folders[1])
    assert oracle.folder(folders[0]) == wanted
    assert set(Counter(row.path for row in rows).values()) <= {1}
    broken_off = report.end.code not in ("", "AZSM1046")
    for row in rows:
        if row.outcome in (Outcome.TRANSFERRED, Outcome.NO_TRANSFER_NEEDED):
            # What failed about a folder besides its own outcome has a row with a slash at its end.
            open_ended = broken_off or any(one.path == row.path + b"/" for one in rows)
            length = 1 if row.kind.value == "D" and open_ended else None
            assert there[row.path][:length] == wanted[row.path][:length], row
        elif row.outcome is Outcome.FAILED:
            assert row.detail
            assert CODES[row.code].disposition == "fail_item"
        else:
            assert row.path in STALE - set(there)
    for path, item in there.items():
        if item[0] == "file" and path in wanted and item[3:] == wanted[path][3:]:
            assert item == wanted[path], "it looks finished and is not"
    if report.end.status is RunStatus.SUCCEEDED:
        assert there == wanted
    if not broken_off:
        assert report.counters.settled == report.counters.items["Scanned"]


# A call that fails for another reason takes the same way, so that one of the two is enough of a day.
OFTEN = [pytest.param(kind, marks=[pytest.mark.long] if kind == "no right" else []) for kind in KINDS]


@pytest.mark.parametrize("kind", OFTEN)
def test_any_system_call_fails(
    folders: Callable[[], tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    names, number, after = KINDS[kind]
    for nth in itertools.count(1):
        made = folders()
        wanted = oracle.folder(made[0])
        failing = Failing(nth, number, after)
        with failing.at_work(monkeypatch, names):
            report, rows = _copied(made)
        if failing.calls < nth:
            assert nth > 10
            assert report.end.status is RunStatus.SUCCEEDED
            return
        told = f"{failing.what}: {report.end} {rows}"
        try:
            _judge(made, wanted, report, rows)
            again, rows = _copied(made)
            assert again.end.status is RunStatus.SUCCEEDED, rows
            _judge(made, wanted, again, rows)
        except AssertionError as error:
            error.add_note(told)
            raise
