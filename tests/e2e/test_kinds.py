"""Files that are not just bytes in a row: with holes, of several names, links, pipes, devices; and unreadable ones.

Then what a second pass costs: nothing.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import oracle
from tests.azurite import Azurite
from tests.between import between
from tests.e2e.test_names import _container
from tests.faulty_wire import faulty_wire
from tests.logged import LoggedRows
from wherry.engine.copy import Report, copy
from wherry.model.options import JobOptions, Links
from wherry.model.outcomes import Outcome, Row
from wherry.model.run import RunStatus
from wherry.stores.port import Store, StoreSpec
from wherry.stores.wrap.fault import Fault, FaultStore

ROOT = os.geteuid() == 0
TIB = 1 << 40
BLOCK = 4096


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    made = tmp_path / "source", tmp_path / "target"
    for folder in made:
        folder.mkdir()
    return made


def _copied(folders: tuple[Path, Path], follow: bool = False) -> tuple[Report, dict[bytes, Row]]:
    rows = LoggedRows()
    source, target = (StoreSpec("posix", str(folder), follow=follow) for folder in folders)
    options = JobOptions(links=Links.FOLLOW if follow else Links.PRESERVE)
    report = copy(source, target, options, workers=0, log=rows.take)
    assert len({row.path for row in rows}) == len(rows) == report.counters.items.get("Scanned", 0)
    return report, {row.path: row for row in rows}


# ---------------------------------------------------------------- holes


def _stretches(path: Path) -> list[tuple[int, int]]:
    """Where a file has data."""
    found = []
    with path.open("rb") as file:
        at, end = 0, path.stat().st_size
        while at < end:
            try:
                start = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    break
                raise
            at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            found.append((start, at))
    return found


def _same_where_there_is_data(one: Path, other: Path) -> None:
    assert one.stat().st_size == other.stat().st_size
    with one.open("rb") as left, other.open("rb") as right:
        for start, end in _stretches(one) + _stretches(other):
            for at in range(start, end, 1 << 20):
                size = min(1 << 20, end - at)
                assert os.pread(left.fileno(), size, at) == os.pread(right.fileno(), size, at)


HOLES = {
    "three blocks in a TiB": (TIB, (0, TIB // 2, TIB - BLOCK)),
    "data, then a hole to the end": (64 << 20, (0,)),
    "nothing but a hole": (1 << 30, ()),
    "a hole, then data": (8 << 20, ((8 << 20) - BLOCK,)),
}


@pytest.mark.parametrize("shape", HOLES)
def test_holes_stay_holes_and_cost_no_time(folders: tuple[Path, Path], shape: str) -> None:
    size, blocks = HOLES[shape]
    made = folders[0] / "file"
    with made.open("wb") as file:
        for at in blocks:
            file.seek(at)
            file.write(os.urandom(BLOCK))
        file.truncate(size)
    begun = time.monotonic()

    report, _ = _copied(folders)

    assert report.end.status is RunStatus.SUCCEEDED
    assert time.monotonic() - begun < 20
    _same_where_there_is_data(made, folders[1] / "file")
    assert (folders[1] / "file").stat().st_blocks * 512 <= made.stat().st_blocks * 512 + BLOCK


def test_blocks_that_are_only_reserved_read_as_zeros(folders: tuple[Path, Path]) -> None:
    with (folders[0] / "file").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 3 << 20)
        file.write(b"begin")

    _copied(folders)

    _same_where_there_is_data(folders[0] / "file", folders[1] / "file")


# ---------------------------------------------------------------- links


def test_attack_58_names_of_one_file_stay_so_and_names_outside_do_not_matter(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    source, target = folders
    (source / "a").mkdir()
    (source / "b").mkdir()
    (source / "a" / "one").write_bytes(b"1")
    os.link(source / "a" / "one", source / "b" / "two")
    os.link(source / "a" / "one", tmp_path / "outside")
    (source / "alone").write_bytes(b"2")
    os.link(source / "alone", tmp_path / "outside too")

    report, _ = _copied(folders)

    assert report.counters.items == {"Scanned": 5, "Transferred": 5}
    assert (target / "a" / "one").samefile(target / "b" / "two")
    assert [(target / name).stat().st_nlink for name in ("a/one", "alone")] == [2, 1]
    # A name that is given to another file between two passes.
    (source / "b" / "two").unlink()
    (source / "b" / "two").write_bytes(b"new")
    _copied(folders)
    assert (target / "b" / "two").read_bytes() == b"new"
    assert (target / "a" / "one").read_bytes() == b"1"
    assert not (target / "a" / "one").samefile(target / "b" / "two")


TEXTS = {
    "loop": "loop", "up": "..", "self": ".", "dangling": "nowhere", "absolute": "/etc/passwd", "out": "../../../etc",
    "inside": "folder/file", "folder/back": "../folder", "one": "two", "two": "one",
}  # fmt: skip


def _linked(source: Path) -> None:
    (source / "folder").mkdir()
    (source / "folder" / "file").write_bytes(b"inside")
    for name, text in TEXTS.items():
        (source / name).symlink_to(text)


def test_links_are_copied_as_what_they_say(folders: tuple[Path, Path]) -> None:
    _linked(folders[0])

    report, _ = _copied(folders)

    assert report.counters.items == {"Scanned": len(TEXTS) + 2, "Transferred": len(TEXTS) + 2}
    assert {name: os.readlink(folders[1] / name) for name in TEXTS} == TEXTS
    assert oracle.folder(folders[1]) == oracle.folder(folders[0])


def test_attack_58_links_are_followed_within_the_root_only_and_not_for_ever(
    folders: tuple[Path, Path],
) -> None:
    _linked(folders[0])
    (folders[0].parent / "secret").write_bytes(b"secret")
    (folders[0] / "leak").symlink_to("../secret")

    _, told = _copied(folders, follow=True)

    assert (folders[1] / "inside").read_bytes() == b"inside"
    assert not (folders[1] / "inside").is_symlink()
    assert len(told) < 100
    for base, _, files in os.walk(folders[1]):
        for name in files:
            place = Path(base, name)
            assert place.is_symlink() or place.read_bytes() == b"inside", place


@contextmanager
def _swapping(patch: pytest.MonkeyPatch, root: Path, *script: Fault) -> Iterator[None]:
    def opened(spec: StoreSpec, store: Store) -> Store:
        return FaultStore(store, *script) if spec.location == str(root) else store

    with patch.context() as inner:
        between(inner, opened)
        yield


@pytest.mark.parametrize("moment", ["open", "list", "stat"])
@pytest.mark.parametrize("what", ["file", "folder"])
def test_attack_58_a_link_that_is_swapped_in_meanwhile_leads_nowhere(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, moment: str
) -> None:
    source, target = folders
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file").write_bytes(b"secret")
    (source / "folder").mkdir()
    (source / "folder" / "file").write_bytes(b"public")

    def swap(_: bytes) -> None:
        place = source / "folder" / "file" if what == "file" else source / "folder"
        place.rename(tmp_path / "moved")
        place.symlink_to(secret / "file" if what == "file" else secret)

    path = "folder" if moment == "list" else "folder/file"
    with _swapping(monkeypatch, source, Fault(moment, path, act=swap), Fault("names", path, act=swap)):
        report, told = _copied(folders)

    assert report.end.status in (RunStatus.FAILED, RunStatus.SUCCEEDED)
    assert all(row.outcome is not Outcome.FAILED or row.detail for row in told.values())
    for base, _, files in os.walk(target):
        for name in files:
            assert Path(base, name).is_symlink() or Path(base, name).read_bytes() == b"public"


@pytest.mark.parametrize("method", ["put", "make_folder", "describe"])
def test_attack_57_nothing_is_written_through_a_link_that_is_swapped_in_at_the_target(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    source, target = folders
    outside = tmp_path / "outside"
    (outside / "below").mkdir(parents=True)
    (outside / "file").write_bytes(b"mine")
    os.utime(outside, ns=(0, 0))
    (source / "folder" / "below").mkdir(parents=True)
    (source / "folder" / "file").write_bytes(b"theirs")
    before = oracle.folder(outside)

    def swap(_: bytes) -> None:
        if (target / "folder").is_dir() and not (target / "folder").is_symlink():
            (target / "folder").rename(tmp_path / "moved")
            (target / "folder").symlink_to(outside)

    with _swapping(monkeypatch, target, Fault(method, "folder/*", act=swap)):
        report, _ = _copied(folders)

    assert oracle.folder(outside) == before
    assert outside.stat().st_mtime_ns == 0
    assert report.end.status in (RunStatus.FAILED, RunStatus.SUCCEEDED)


# ---------------------------------------------------------------- what is no file


def test_attack_58_pipes_sockets_and_devices_are_told_and_never_opened(folders: tuple[Path, Path]) -> None:
    source, target = folders
    os.mkfifo(source / "pipe")
    if ROOT:
        os.mknod(source / "device", 0o600 | 0o020000, os.makedev(1, 5))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(source / "socket"))
        listening.listen()
        listening.setblocking(False)
        report, told = _copied(folders)
        with pytest.raises(BlockingIOError):
            listening.accept()

    assert not os.listdir(target)
    assert report.counters.items == {"Scanned": 2 + ROOT, "Unsupported": 2 + ROOT}
    assert {(row.outcome, row.code) for row in told.values()} == {(Outcome.UNSUPPORTED, "AZSM2021")}
    assert report.end.warning


def test_files_that_say_nothing_of_their_size_are_told_as_changed(tmp_path: Path) -> None:
    """As those of /proc: empty by `stat`, and with something to read."""
    (tmp_path / "target").mkdir()

    report, told = _copied((Path("/proc/sys/kernel/random"), tmp_path / "target"))

    assert report.counters.items["Failed"] == len([row for row in told.values() if row.kind.value == "F"])
    assert told[b"uuid"].code == "AZSM2071"
    assert not [name for name in os.listdir(tmp_path / "target") if (tmp_path / "target" / name).is_file()]


@pytest.mark.skipif(not ROOT, reason="mounts a file system")
def test_what_is_mounted_inside_belongs_to_the_tree(folders: tuple[Path, Path]) -> None:
    inside = folders[0] / "mounted"
    inside.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(inside)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("it takes the right to mount")
    try:
        (inside / "file").write_bytes(b"on another file system")
        (folders[0] / "file").write_bytes(b"here")
        # Inode numbers of two file systems may be the same, and are not of one file.
        os.link(inside / "file", inside / "twin")
        os.link(folders[0] / "file", folders[0] / "twin")
        report, _ = _copied(folders)
        assert report.end.status is RunStatus.SUCCEEDED
        assert oracle.folder(folders[1]) == oracle.folder(folders[0])
        assert (folders[1] / "mounted" / "file").samefile(folders[1] / "mounted" / "twin")
        assert not (folders[1] / "file").samefile(folders[1] / "mounted" / "file")
    finally:
        subprocess.run(["umount", str(inside)], check=True)


@pytest.mark.skipif(ROOT and shutil.which("setpriv") is None, reason="needs to give up rights")
def test_half_a_tree_that_may_not_be_read_is_told_item_by_item(folders: tuple[Path, Path]) -> None:
    source, target = folders
    for number in range(10):
        (source / f"{number}").write_bytes(b"%d" % number)
        (source / f"{number}").chmod(0o000 if number % 2 else 0o644)
        (source / f"folder {number}").mkdir()
        (source / f"folder {number}" / "x").write_bytes(b"x")
        (source / f"folder {number}").chmod(0o000 if number % 2 else 0o755)
    rights = "-dac_override,-dac_read_search"
    drop = ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}"] if ROOT else []

    done = subprocess.run(
        [*drop, sys.executable, "-m", "wherry.cli.main", "copy", str(source), str(target), "--workers", "1",
         "--log", str(target.parent / "log.tsv")],
        capture_output=True, text=True, check=False, cwd=target.parent,
    )  # fmt: skip

    for number in range(10):
        (source / f"folder {number}").chmod(0o755)
    assert done.returncode == 10, done.stderr
    rows = [line.split("\t") for line in (target.parent / "log.tsv").read_text().splitlines()]
    failed = {row[5]: row[2] for row in rows if row[1] == "Failed"}
    assert set(failed) == {f"{n}" for n in range(1, 10, 2)} | {f"folder {n}" for n in range(1, 10, 2)}
    assert {failed[f"{n}"] for n in range(1, 10, 2)} == {"AZSM2062"}
    assert {(target / f"{n}").exists() for n in range(1, 10, 2)} == {False}
    assert {(target / f"folder {n}" / "x").exists() for n in range(0, 10, 2)} == {True}


# ---------------------------------------------------------------- sizes, and a second pass


def test_sizes_around_those_of_parts_go_there_and_back(folders: tuple[Path, Path], azurite: Azurite) -> None:
    """And the second pass asks, and sends nothing."""
    source, target = folders
    for size in (0, 1, (8 << 20) - 1, 8 << 20, (8 << 20) + 1, (16 << 20) + 1):
        (source / str(size)).write_bytes(os.urandom(size))
        os.utime(source / str(size), ns=(0, -size * 10**9 + 123_456_789 if size else 2**32 * 10**9 + 1))
    client = azurite.container("sizes")
    place = _container(azurite, client)
    host, port = azurite.host.split(":")

    there = copy(StoreSpec("posix", str(source)), place, JobOptions(), workers=0)
    with faulty_wire((host, int(port))) as wire:
        detour = StoreSpec(
            "blob", place.location.replace(azurite.host, f"127.0.0.1:{wire.port}"), secret=place.secret
        )
        again = copy(StoreSpec("posix", str(source)), detour, JobOptions(), workers=0)
        asked = list(wire.seen)
    back = copy(place, StoreSpec("posix", str(target)), JobOptions(), workers=0)

    assert [report.end.status for report in (there, again, back)] == [RunStatus.SUCCEEDED] * 3
    assert oracle.folder(target) == oracle.folder(source)
    assert again.counters.items == {"Scanned": 6, "NoTransferNeeded": 6}
    assert again.counters.bytes.get("Transferred", 0) == 0
    assert asked
    assert not [line for line in asked if not line.startswith(("GET", "HEAD"))]


def test_a_second_pass_over_a_folder_writes_nothing(folders: tuple[Path, Path]) -> None:
    source, target = folders
    oracle.grow(source, 200, per_folder=20)
    (source / "link").symlink_to("nowhere")
    os.link(source / "folder 0000" / "file-000000.bin", source / "twin")
    _copied(folders)
    before = _change_times(target)

    report, told = _copied(folders)

    assert {row.outcome for row in told.values()} == {Outcome.NO_TRANSFER_NEEDED}
    assert report.counters.bytes.get("Transferred", 0) == 0
    assert _change_times(target) == before


def _change_times(root: Path) -> dict[str, int]:
    return {str(path): path.lstat().st_ctime_ns for path in root.rglob("*")}
