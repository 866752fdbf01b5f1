"""The short way for small files keeps every promise of the long one, or leaves a file to it."""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.stores.conftest import Make, root_only
from wherry.model.entry import Entry, Kind
from wherry.model.errors import LeaseLost
from wherry.stores.lane import HasLane, Lane
from wherry.stores.memory import MemoryStore
from wherry.stores.posix import PosixStore

MODIFIED = 1_500_000_000_123_456_789
NOBODY = 0xFFFFFFFF
DEFAULT = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *row)
    for row in ((1, 7, NOBODY), (2, 7, 1001), (4, 5, NOBODY), (16, 7, NOBODY), (32, 0, NOBODY))
)


class Way:
    """Both ends of a lane, and what was listed at the source."""

    def __init__(self, make: Make, tmp_path: Path, fence: Callable[[], None] = lambda: None) -> None:
        self.source = make("given")
        self.target: PosixStore = make("root", fence=fence)
        self.given = tmp_path / "given"
        self.root = tmp_path / "root"

    def file(self, name: str, data: bytes = b"data", mode: int = 0o640) -> Path:
        path = self.given / name
        path.write_bytes(data)
        path.chmod(mode)
        os.utime(path, ns=(MODIFIED, MODIFIED))
        return path

    def lane(self) -> Lane:
        made = self.target.lane(self.source)
        assert made is not None
        return made

    def copy(self, folder: bytes = b"", entries: list[Entry] | None = None) -> list[bytes]:
        """Copy what is listed; the names of what is left."""
        listed = entries if entries is not None else list(self.source.list(folder))
        return [listed[number].name for number in self.lane().send(folder, listed).left]


@pytest.fixture
def way(make: Make, tmp_path: Path) -> Way:
    return Way(make, tmp_path)


def test_files_arrive_with_their_metadata(way: Way) -> None:
    for size in (0, 1, 4096, 4097, 200_000):
        way.file(f"{size}", os.urandom(size), mode=0o751)
    assert isinstance(way.target, HasLane)

    assert way.copy() == []

    for path in way.given.iterdir():
        there, here = way.root / path.name, path.stat()
        assert there.read_bytes() == path.read_bytes()
        now = there.stat()
        assert (now.st_mode, now.st_mtime_ns) == (here.st_mode, MODIFIED)
        assert (now.st_uid, now.st_gid) == (here.st_uid, here.st_gid)


def test_what_is_there_already_is_left_alone(way: Way) -> None:
    way.file("one")
    way.file("two")
    (way.root / "one").write_bytes(b"of somebody else")
    (way.root / "two").symlink_to("../given/two")

    assert way.copy() == [b"one", b"two"]

    assert (way.root / "one").read_bytes() == b"of somebody else"
    assert (way.root / "two").is_symlink()


def test_another_version_is_left_and_nothing_of_it_is_there(way: Way) -> None:
    for name in ("grown", "cut", "rewritten", "replaced", "gone", "linked", "piped", "sound"):
        way.file(name, b"12345678")
    listed = list(way.source.list(b""))
    (way.given / "grown").write_bytes(b"123456789")
    os.truncate(way.given / "cut", 7)
    (way.given / "rewritten").write_bytes(b"87654321")
    os.utime(way.given / "rewritten", ns=(MODIFIED, MODIFIED))
    (way.given / "new").write_bytes(b"12345678")
    os.utime(way.given / "new", ns=(MODIFIED, MODIFIED))
    (way.given / "new").rename(way.given / "replaced")
    (way.given / "gone").unlink()
    (way.given / "linked").unlink()
    (way.given / "linked").symlink_to("sound")
    (way.given / "piped").unlink()
    os.mkfifo(way.given / "piped")
    pipe = os.open(way.given / "piped", os.O_RDWR | os.O_NONBLOCK)
    os.write(pipe, b"12345678")

    left = way.copy(entries=listed)

    assert left == [entry.name for entry in listed if entry.name != b"sound"]
    assert os.listdir(way.root) == ["sound"]
    # What waits in a pipe is for somebody else.
    assert os.read(pipe, 100) == b"12345678"
    os.close(pipe)


def test_attributes_and_holes_are_left_to_the_long_way(way: Way) -> None:
    os.setxattr(way.file("attributed"), b"user.x", b"1")
    with (way.given / "sparse").open("wb") as file:
        file.truncate(100_000)

    assert way.copy() == [b"attributed", b"sparse"]
    assert os.listdir(way.root) == []


def test_labels_of_this_machine_keep_no_file_off_the_short_way(
    way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As every file has them where SELinux is at work; the target's own policy labels the copy."""
    real = os.listxattr
    monkeypatch.setattr(os, "listxattr", lambda item: ["security.selinux", *real(item)])
    way.file("one")
    os.setxattr(way.file("two"), b"user.x", b"1")

    assert way.copy() == [b"two"]

    assert (way.root / "one").read_bytes() == b"data"


def test_what_a_folder_gives_to_new_files_does_not_stay_with_them(way: Way) -> None:
    os.setxattr(way.root, b"system.posix_acl_default", DEFAULT)
    way.file("one", mode=0o664)

    assert way.copy() == []

    assert os.listxattr(way.root / "one") == []
    assert stat.S_IMODE(os.stat(way.root / "one").st_mode) == 0o664


@root_only
def test_owners_and_their_rights_are_kept(way: Way) -> None:
    path = way.file("one")
    os.chown(path, 12, 34)
    path.chmod(0o6755)

    assert way.copy() == []

    now = os.stat(way.root / "one")
    assert (now.st_uid, now.st_gid, stat.S_IMODE(now.st_mode)) == (12, 34, 0o6755)


def test_without_the_right_to_give_files_away_no_set_user_id_is_kept(way: Way) -> None:
    way.file("one", mode=0o6755)
    way.target._owner = False

    assert way.copy() == []

    assert stat.S_IMODE(os.stat(way.root / "one").st_mode) == 0o755


def test_nothing_is_written_when_the_lease_is_over(make: Make, tmp_path: Path) -> None:
    passed = []

    def fence() -> None:
        passed.append(1)
        if len(passed) > 2:
            raise LeaseLost("over")

    (tmp_path / "root").mkdir()
    way = Way(make, tmp_path, fence)
    for number in range(4):
        way.file(f"{number}")
    before = len(os.listdir("/proc/self/fd"))

    with pytest.raises(LeaseLost):
        way.copy()

    assert sorted(os.listdir(way.root)) == ["0", "1"]
    assert len(os.listdir("/proc/self/fd")) <= before + 2


def test_a_file_that_cannot_be_finished_is_taken_back(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "three", "two"):
        way.file(name)
    real = os.write

    def write(descriptor: int, data: bytes) -> int:
        into = os.readlink(f"/proc/self/fd/{descriptor}")
        return real(descriptor, data[:2] if into == f"{way.root}/three" else data)

    monkeypatch.setattr("wherry.stores.posix.os.write", write)

    # The others are tried the long way, too: it knows what a full disk means.
    assert way.copy() == [b"three", b"two"]
    assert os.listdir(way.root) == ["one"]


def test_a_file_of_which_the_last_step_fails_is_taken_back(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    way.file("one")
    real = os.close

    def close(descriptor: int) -> None:
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        real(descriptor)
        if name == f"{way.root}/one":
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr("wherry.stores.posix.os.close", close)

    assert way.copy() == [b"one"]
    assert os.listdir(way.root) == []


def test_attributes_that_cannot_be_taken_away_fail_one_file(
    way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.setxattr(way.root, b"system.posix_acl_default", DEFAULT)
    way.file("one")

    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr("wherry.stores.posix_attributes.os.removexattr", refuse)

    assert way.copy() == [b"one"]
    assert os.listdir(way.root) == []


def test_a_folder_that_is_not_there_leaves_all(way: Way) -> None:
    (way.given / "folder").mkdir()
    way.file("folder/one")
    listed = list(way.source.list(b"folder"))

    assert way.copy(b"folder", listed) == [b"one"]
    way.target.make_folder(b"folder")
    assert way.copy(b"folder", listed) == []
    assert [entry.kind for entry in way.target.list(b"folder")] == [Kind.FILE]


def test_there_is_no_short_way_from_a_store_of_another_kind(way: Way) -> None:
    assert way.target.lane(MemoryStore()) is None
