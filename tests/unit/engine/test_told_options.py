"""What a job is told besides its places: limits, filters that prune, dry runs; and the root folder itself."""

from __future__ import annotations

import os
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wherry.engine import pacer as pacers
from wherry.engine.copy import Live, copy
from wherry.engine.lease import boot_time
from wherry.engine.pacer import Limits, Pacer, turns
from wherry.model import losses
from wherry.model.errors import LeaseLost, Unavailable
from wherry.model.names import NameRules
from wherry.model.options import Compare, CopyMode, JobOptions, Preserve, Verify
from wherry.model.plan import Holds
from wherry.stores.port import StoreSpec
from wherry.stores.posix import PosixStore


def _places(tmp_path: Path) -> tuple[StoreSpec, StoreSpec]:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    return StoreSpec("posix", str(source)), StoreSpec("posix", str(target), create=True)


def test_bandwidth_is_kept_by_all_workers_together(tmp_path):
    near, far = _places(tmp_path)
    for number in range(8):
        Path(near.location, str(number)).write_bytes(bytes(250_000))

    report = copy(near, far, JobOptions(bandwidth=1_000_000), workers=2)

    assert report.counters.items["Transferred"] == 8
    # The first one goes at once, and a tenth of a second may have been saved up.
    assert report.seconds > 7 * 0.25 - 0.2


def test_requests_are_counted_too(tmp_path):
    near, far = _places(tmp_path)
    for number in range(30):
        Path(near.location, str(number)).write_bytes(b"")

    report = copy(near, far, JobOptions(requests_per_second=20), workers=0)

    assert report.counters.items["Transferred"] == 30
    assert report.seconds > 29 / 20 - 0.2


def test_whoever_waits_for_its_turn_sees_that_its_lease_is_over():
    pace = turns()
    looks = []

    def look() -> None:
        looks.append(boot_time())
        raise LeaseLost("it is over")

    pacer = Pacer(Limits(pace.path, 1000, None), look)
    try:
        pacer.take(100_000)
        with pytest.raises(LeaseLost):
            pacer.take(1)
        assert len(looks) == 1
    finally:
        pacer.close()
        pace.close()


class _EnoughError(Exception):
    """Somebody does not want to wait."""


def test_a_copy_with_a_small_limit_stops_at_once(tmp_path):
    near, far = _places(tmp_path)
    for number in range(3):
        Path(near.location, str(number)).write_bytes(bytes(1000))
    begun = boot_time()

    def stop(live: Live) -> None:
        if live.threads or boot_time() - begun > 0.3:
            raise _EnoughError

    with pytest.raises(_EnoughError):
        copy(near, far, JobOptions(bandwidth=100), workers=0, progress=stop)
    # By its limit the last file has its turn after twenty seconds.
    assert boot_time() - begun < 5


def test_workers_that_are_threads_keep_one_limit_too(monkeypatch):
    pace, rounds, rate = turns(), 300, 1000
    real = struct.Struct.unpack_from

    class Turns:
        """Gives others the processor at the worst moment."""

        size = struct.calcsize("dd")
        pack_into = struct.Struct("dd").pack_into

        def unpack_from(self, *arguments: Any) -> Any:
            found = real(struct.Struct("dd"), *arguments)
            time.sleep(0)
            return found

    monkeypatch.setattr(pacers, "_TURNS", Turns())
    begun = boot_time()
    made = [Pacer(Limits(pace.path, rate, None), lambda: None) for _ in range(2)]

    def work(pacer: Pacer) -> None:
        for _ in range(rounds):
            pacer._turn((100, 1))

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(work, made))
    assert made[0]._turn((0, 1)) >= begun + 2 * rounds * 100 / rate - 1
    for pacer in made:
        pacer.close()
    pace.close()


def test_nothing_is_listed_where_nothing_can_be_wanted(tmp_path, monkeypatch):
    near, far = _places(tmp_path)
    for path in ("docs/a.md", "docs/b.txt", "other/deep/c.md"):
        Path(near.location, path).parent.mkdir(parents=True, exist_ok=True)
        Path(near.location, path).write_bytes(b"x")
    listed = []
    real = PosixStore.names

    def names(self, folder):
        listed.append(folder)
        return real(self, folder)

    monkeypatch.setattr(PosixStore, "names", names)

    report = copy(near, far, JobOptions(include=("/docs/*.md",)), workers=0)

    assert report.counters.items["Transferred"] == 3
    assert Path(far.location, "docs/a.md").exists()
    assert not Path(far.location, "docs/b.txt").exists()
    assert b"docs" in listed
    assert b"other" not in listed


def test_the_root_folder_keeps_mode_and_times(tmp_path):
    near, far = _places(tmp_path)
    Path(near.location, "file").write_bytes(b"x")
    os.chmod(near.location, 0o710)
    os.utime(near.location, ns=(1, 1_234_567_890_123_456_789))

    copy(near, far, JobOptions(), workers=0)

    made = os.stat(far.location)
    assert (made.st_mode & 0o7777, made.st_mtime_ns) == (0o710, 1_234_567_890_123_456_789)


def test_a_dry_run_names_what_would_be_lost(tmp_path):
    near, _ = _places(tmp_path)
    Path(near.location, "plain").write_bytes(b"x")
    os.link(Path(near.location, "plain"), Path(near.location, "twin"))
    os.mkfifo(Path(near.location, "pipe"))
    holds = Holds(NameRules(), hard_links=False, attributes=False, owner=False)
    entry = PosixStore(near).stat(b"plain")
    assert entry is not None
    words = losses.of(entry, holds, tuple(Preserve), ((b"user.x", b"1"), (b"system.posix_acl_access", b"2")))
    assert words == ["owner", "hardLinks", "acls", "xattrs"]

    report = copy(near, StoreSpec("posix", str(tmp_path)), JobOptions(dry_run=True), workers=0)
    assert report.losses == {"special": 1}


def _looked_at(folder: Path) -> dict[Path, tuple[int, int, int]]:
    everything = {path: path.lstat() for path in (folder, *folder.rglob("*"))}
    return {path: (one.st_mode, one.st_mtime_ns, one.st_ctime_ns) for path, one in everything.items()}


@pytest.mark.parametrize("mode", list(CopyMode))
@pytest.mark.parametrize("compare", list(Compare))
def test_a_dry_run_changes_nothing_at_all(tmp_path, mode, compare, monkeypatch):
    near, far = _places(tmp_path)
    source, target = Path(near.location), Path(far.location)
    for folder in (source / "both", source / "new", target / "both", target / "file"):
        folder.mkdir(parents=True)
    for name in ("both/x", "file", "same", "new/x"):
        (source / name).write_bytes(b"1")
    (source / "link").symlink_to("same")
    (source / "second").hardlink_to(source / "same")
    for name in ("same", "both/.wherry-0123456789abcdef", "gone"):
        (target / name).write_bytes(b"1")
    monkeypatch.setattr("wherry.stores.posix_source._STALE_SECONDS", -10)
    before = _looked_at(target)
    options = JobOptions(dry_run=True, mode=mode, compare=compare, verify=Verify.READBACK)

    report = copy(near, replace(far, create=False), options, workers=0)

    assert report.counters.items["Transferred"] >= 4
    assert _looked_at(target) == before


@pytest.mark.parametrize("compare", list(Compare))
def test_a_dry_run_after_a_copy_foresees_nothing_to_be_copied(tmp_path, compare):
    near, far = _places(tmp_path)
    source = Path(near.location)
    (source / "file").write_bytes(b"1")
    (source / "second").hardlink_to(source / "file")
    (source / "link").symlink_to("file")
    copy(near, far, JobOptions(), workers=0)
    options = JobOptions(dry_run=True, compare=compare)

    report = copy(near, replace(far, create=False), options, workers=0)
    assert report.counters.items == {"Scanned": 3, "NoTransferNeeded": 3}

    (source / "link").unlink()
    (source / "link").symlink_to("second")
    (source / "file").write_bytes(b"12")
    report = copy(near, replace(far, create=False), options, workers=0)
    assert report.counters.items == {"Scanned": 3, "Transferred": 3}


def test_what_could_not_be_read_back_is_copied_and_read_back_by_the_next_run(tmp_path, monkeypatch):
    near, far = _places(tmp_path)
    Path(near.location, "file").write_bytes(b"x")
    real = PosixStore.open

    def open_(self, path):
        if Path(far.location) == Path(self._spec.location):
            raise Unavailable("it does not answer now")
        return real(self, path)

    options = JobOptions(verify=Verify.READBACK)
    with monkeypatch.context() as trouble:
        trouble.setattr(PosixStore, "open", open_)
        assert copy(near, far, options, workers=0).counters.items["Failed"] == 1

    again = copy(near, far, options, workers=0)

    assert again.counters.items == {"Scanned": 1, "Transferred": 1}
