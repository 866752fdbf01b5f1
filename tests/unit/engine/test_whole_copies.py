"""Copies of real folders, looked at afterwards: what is told must be what is there."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.engine.stage import fresh_places
from wherry.engine import chapter, chapters, processes
from wherry.engine.copy import Report, copy
from wherry.engine.ledger import LocalLedger
from wherry.engine.processes import WorkerDied
from wherry.model import names
from wherry.model.entry import Entry, Kind
from wherry.model.errors import RunError
from wherry.model.ledger import Commit, Phase, Token, WorkItem, work_key
from wherry.model.options import Compare, CopyMode, JobOptions
from wherry.model.outcomes import Counters, Outcome, Row, rows_of
from wherry.model.plan import Attempt, Do, Holds, Judge
from wherry.model.run import RunStatus
from wherry.model.wire import Place, Progress, RunOrder, Sighting
from wherry.stores.memory import MemoryStore
from wherry.stores.port import StoreSpec


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    made = tmp_path / "source", tmp_path / "target"
    for folder in made:
        folder.mkdir()
    return made


def _copy(folders: tuple[Path, Path], **options: object) -> tuple[Report, dict[bytes, Row]]:
    source, target = (StoreSpec("posix", str(folder)) for folder in folders)
    return _told((source, target), JobOptions(**options))  # type: ignore[arg-type]


def _told(specs: tuple[StoreSpec, StoreSpec], options: JobOptions) -> tuple[Report, dict[bytes, Row]]:
    rows: list[Row] = []
    report = copy(*specs, options, workers=0, log=lambda lines: rows.extend(rows_of(lines)))
    assert len({row.path for row in rows}) == len(rows)
    return report, {row.path: row for row in rows}


def test_a_source_file_named_like_our_temporaries_is_told_and_not_passed_over(folders):
    name = ".wherry-" + "0" * 16
    (folders[0] / name).write_text("somebody's")
    report, rows = _copy(folders)
    assert rows[os.fsencode(name)].outcome is Outcome.UNSUPPORTED
    assert report.end.warning


def test_mirror_leaves_what_another_agent_is_writing(folders):
    writing = folders[1] / (".wherry-" + "a" * 16)
    writing.write_text("half")
    (folders[0] / "kept").write_text("x")
    (folders[1] / "gone").write_text("x")
    report, rows = _copy(folders, mode=CopyMode.MIRROR)
    assert writing.read_text() == "half"
    assert rows[b"gone"].outcome is Outcome.DELETED
    assert report.end.status is RunStatus.SUCCEEDED


def test_a_folder_that_a_filter_keeps_something_in_stays_and_fails_nothing(folders):
    (folders[0] / "kept").write_text("x")
    (folders[1] / "old").mkdir()
    (folders[1] / "old" / "notes.keep").write_text("x")
    (folders[1] / "old" / "else").write_text("x")
    report, rows = _copy(folders, mode=CopyMode.MIRROR, exclude=("*.keep",))
    assert report.end.status is RunStatus.SUCCEEDED
    assert os.listdir(folders[1] / "old") == ["notes.keep"]
    assert rows[b"old/else"].outcome is Outcome.DELETED
    assert report.counters.items["Deleted"] == 1


def test_a_mirror_leaves_alone_where_nothing_can_be_wanted(folders):
    source, target = folders
    for name in ("wanted", "other"):
        (source / name).mkdir()
        (source / name / "new").write_text("x")
        (target / name).mkdir()
        (target / name / "old").write_text("x")
    for name in ("alone/empty", "empty", "wanted/empty"):
        (target / name).mkdir(parents=True)
    report, rows = _copy(folders, mode=CopyMode.MIRROR, include=("/wanted/**",))
    assert report.end.status is RunStatus.SUCCEEDED
    assert {path for path, row in rows.items() if row.outcome is Outcome.DELETED} == {
        b"wanted/old",
        b"wanted/empty",
    }
    left = {str(path.relative_to(target)) for path in target.rglob("*")}
    assert left == {"wanted", "wanted/new", "other", "other/old", "alone", "alone/empty", "empty"}


def test_what_lies_in_a_folder_that_cannot_be_held_is_told_one_by_one(monkeypatch):
    """A million files that are not there must not look like one."""
    source = MemoryStore("named-source")
    for path in (b"bad./one", b"bad./deep/two", b"good/three"):
        source.seed(path, b"x")
    strict = Holds(names.NameRules(trailing_dot=False))
    real = MemoryStore.__init__

    def strictly(self: MemoryStore, location: str = "", **more: object) -> None:
        real(self, location, **{**more, "holds": strict} if location == "named-target" else more)  # type: ignore[arg-type]

    monkeypatch.setattr(MemoryStore, "__init__", strictly)
    specs = (StoreSpec("memory", "named-source"), StoreSpec("memory", "named-target"))
    report, rows = _told(specs, JobOptions())
    unsupported = {row.path for row in rows.values() if row.outcome is Outcome.UNSUPPORTED}
    assert unsupported == {b"bad.", b"bad./deep", b"bad./deep/two", b"bad./one"}
    assert report.counters.items == {"Scanned": 6, "Transferred": 2, "Unsupported": 4}


def test_a_name_that_no_folder_can_hold_stops_nothing_else(tmp_path):
    (place, _), target = fresh_places(), tmp_path / "target"
    for path in (b"a\0b", b"folder\0/inside", b"sound"):
        MemoryStore(place).seed(path, b"x")
    specs = StoreSpec("memory", place), StoreSpec("posix", str(target), create=True)
    _, rows = _told(specs, JobOptions())
    assert os.listdir(target) == ["sound"]
    assert {path for path, row in rows.items() if row.code == "AZSM2022"} == set(rows) - {b"sound"}
    assert len(rows) == 4


def test_a_commit_stays_small_enough_to_be_sent(folders, monkeypatch):
    for module in (chapter, chapters):
        monkeypatch.setattr(module, "COMMIT_BYTES", 4096)
    longest = []
    real = LocalLedger.commit

    def commit(self: LocalLedger, token: Token, progress: Progress):
        longest.append(sum(len(item.path) for item in progress.deferred))
        return real(self, token, progress)

    monkeypatch.setattr(LocalLedger, "commit", commit)
    for number in range(400):
        (folders[0] / f"{'folder' * 30}{number}").mkdir()
    report, _ = _copy(folders)
    assert report.counters.items == {"Scanned": 400, "Transferred": 400}
    assert max(longest) < 2 * 4096


def test_a_file_whose_times_were_never_set_is_not_taken_for_finished():
    """Where only sizes count, a killed attempt leaves the right size with times and mode still to come."""
    source = Entry(b"f", Kind.FILE, 5, modified=100, mode=0o600, uid=0, gid=0)
    killed = replace_entry(source, modified=900, changed=900)
    options = JobOptions(compare=Compare.SIZE)
    holds = Holds(names.NameRules())
    assert Judge(options, holds, Attempt(True, 800)).compare_file(source, killed).do is Do.TRANSFER
    # Before this run it was somebody else's work: only its times and mode are put right.
    assert Judge(options, holds, Attempt()).compare_file(source, killed).do is Do.DESCRIBE


def replace_entry(entry: Entry, **fields: object) -> Entry:
    return entry._replace(**fields)  # type: ignore[arg-type]


def test_a_copy_that_is_interrupted_often_blames_no_file(tmp_path):
    order = RunOrder("copy", Place("memory", "a"), Place("memory", "b"), JobOptions())
    for _ in range(5):
        ledger = LocalLedger(tmp_path / "state")
        ledger.open(order)
        grant = ledger.lease(order)
        assert grant is not None
        assert not grant.isolate
        ledger.close()


def test_another_target_than_the_one_the_run_began_with_ends_it():
    ledger = LocalLedger()
    order = RunOrder("copy", Place("memory", "a"), Place("memory", "b"), JobOptions())
    ledger.open(order)
    grant = ledger.lease(order)
    assert grant is not None
    seen = Sighting("source:1", "target:1", 5)
    ledger.sight(grant.token, seen)
    item = WorkItem(Phase.FOLDERS, work_key(Phase.FOLDERS, b"d"), b"d", kind="D")
    ledger.commit(grant.token, Progress(Commit(1, grant.work), Counters(), deferred=(item,)))
    assert ledger.sight(grant.token, replace(seen, clock=9)).since == 5
    with pytest.raises(RunError) as refused:
        ledger.sight(grant.token, replace(seen, target="target:2"))
    assert refused.value.code == "AZSM1036"
    ledger.close()


def test_a_disk_that_cannot_be_read_is_told_as_the_sources_trouble(folders, monkeypatch):
    (folders[0] / "broken").write_bytes(b"x" * 5000)
    (folders[0] / "sound").write_bytes(b"y" * 5000)

    def sparing(real: Callable[..., Any]) -> Callable[..., Any]:
        def read(descriptor: int, *told: Any) -> Any:
            if os.readlink(f"/proc/self/fd/{descriptor}").endswith("source/broken"):
                raise OSError(errno.EIO, "Input/output error")
            return real(descriptor, *told)

        return read

    for way in ("read", "pread", "preadv", "copy_file_range"):
        monkeypatch.setattr(os, way, sparing(getattr(os, way)))
    report, rows = _copy(folders)
    assert (rows[b"broken"].outcome, rows[b"broken"].code) == (Outcome.FAILED, "AZSM2063")
    assert rows[b"sound"].outcome is Outcome.TRANSFERRED
    assert report.counters.items == {"Scanned": 2, "Transferred": 1, "Failed": 1}
    assert os.listdir(folders[1]) == ["sound"]


def test_a_target_that_takes_no_more_folders_is_full_and_ends_the_run(folders, monkeypatch):
    for name in "ab":
        (folders[0] / name).mkdir()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("wherry.stores.posix.os", _With(os, mkdir=full))
    report, rows = _copy(folders)
    assert report.end.code == "AZSM1040"
    assert not rows


def test_a_machine_that_can_start_no_worker_ends_the_copy(folders, monkeypatch):
    def refuse(*_: object) -> None:
        raise WorkerDied("A worker process could not be started: too many.")

    monkeypatch.setattr(processes, "_started", refuse)
    # With a second thread about no process is forked in advance.
    with ThreadPoolExecutor(1) as other:
        other.submit(int).result()
        near, far = (StoreSpec("posix", str(folder)) for folder in folders)
        report = copy(near, far, JobOptions(), workers=1)
    assert report.end.code == "AZSM1060"
    assert "too many" in report.end.message


class _With:
    """A module with some of its functions replaced, for one that uses it."""

    def __init__(self, module: object, **replaced: object) -> None:
        self.__dict__.update(vars(module), **replaced)
