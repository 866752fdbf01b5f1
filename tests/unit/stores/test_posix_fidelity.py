"""What a copy from folder to folder keeps: holes, times of any year, attributes of all that may be had."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.unit.stores.conftest import LIKE, Make, content, given, root_only
from wherry.model import losses
from wherry.model.entry import Entry, Kind
from wherry.model.errors import StoreError
from wherry.model.options import JobOptions
from wherry.model.plan import Attempt, Do, Judge
from wherry.stores.port import Content
from wherry.stores.posix_attributes import Unheld, attributes_of
from wherry.stores.posix_fd import permissions

TIB = 1 << 40
MIB = 1 << 20

# ---------------------------------------------------------------- holes


def holes(path: Path, size: int, pieces: dict[int, bytes]) -> None:
    """A file of this size with these bytes at these places and holes between."""
    with path.open("wb") as file:
        file.truncate(size)
        for offset, data in pieces.items():
            file.seek(offset)
            file.write(data)


def copied(make: Make, tmp_path: Path, name: str) -> os.stat_result:
    whole = content(make("given"), os.fsencode(name))
    try:
        make().put(os.fsencode(name), whole, whole.entry, None)
    finally:
        whole.reader.close()
    return os.stat(tmp_path / "root" / name)


@pytest.mark.parametrize(
    ("size", "pieces"),
    [
        (9 * MIB, {2 * MIB: b"in the middle", 4 * MIB: b"and here"}),
        (9 * MIB, {0: b"only at the beginning"}),
        (9 * MIB, {9 * MIB - 3: b"end"}),
        (9 * MIB, {}),
        (9 * MIB + 1, {MIB: b"x" * 5000}),
        (100_000, {}),
        (100_000, {50_000: b"small"}),
    ],
)
def test_holes_stay_holes(make: Make, tmp_path: Path, size: int, pieces: dict[int, bytes]) -> None:
    make("given")
    holes(tmp_path / "given/sparse", size, pieces)

    now = copied(make, tmp_path, "sparse")

    assert now.st_size == size
    assert now.st_blocks <= os.stat(tmp_path / "given/sparse").st_blocks
    assert (tmp_path / "root/sparse").read_bytes() == (tmp_path / "given/sparse").read_bytes()


def test_a_tebibyte_of_holes_takes_no_time(make: Make, tmp_path: Path) -> None:
    make("given")
    pieces = {0: b"first", TIB // 2: b"second", TIB - 5: b"third"}
    holes(tmp_path / "given/huge", TIB, pieces)

    started = time.process_time()
    now = copied(make, tmp_path, "huge")

    assert time.process_time() - started < 2
    assert now.st_size == TIB
    assert now.st_blocks * 512 < MIB
    with (tmp_path / "root/huge").open("rb") as file:
        for offset, data in pieces.items():
            file.seek(offset)
            assert file.read(len(data)) == data


def test_zeros_that_were_written_are_written(make: Make, tmp_path: Path) -> None:
    make("given")
    (tmp_path / "given/zeros").write_bytes(bytes(3 * MIB))

    now = copied(make, tmp_path, "zeros")

    assert now.st_blocks * 512 >= 3 * MIB
    assert (tmp_path / "root/zeros").read_bytes() == bytes(3 * MIB)


# ---------------------------------------------------------------- times


@pytest.mark.parametrize(
    "modified",
    [0, 1, -1, -1_234_567_891, -2_000_000_000 * 10**9 + 7, 4_294_967_296 * 10**9 + 999_999_999],
    ids=["1970", "just after", "just before", "1969", "1906", "2106"],
)
def test_attack_67_times_of_any_year_are_kept_to_the_nanosecond(
    make: Make, tmp_path: Path, source: Content, modified: int
) -> None:
    store = make()
    store.put(b"file", source, LIKE._replace(modified=modified), None)
    store.make_folder(b"folder")
    store.describe(
        b"folder", Entry(b"", Kind.FOLDER, mode=0o755, modified=modified), store.stat(b"folder"), ()
    )
    store.make_symlink(b"link", b"nowhere", Entry(b"", Kind.LINK, modified=modified), None)

    assert {entry.name: entry.modified for entry in store.list(b"")} == dict.fromkeys(
        (b"file", b"folder", b"link"), modified
    )
    for name in ("file", "folder", "link"):
        assert os.lstat(tmp_path / "root" / name).st_mtime_ns == modified


@root_only
def test_owner_and_time_of_a_link_are_its_own(make: Make, tmp_path: Path, source: Content) -> None:
    store = make()
    store.put(b"file", source, LIKE._replace(uid=1, gid=2, modified=3), None)
    before = os.stat(tmp_path / "root/file")

    store.make_symlink(b"link", b"file", Entry(b"", Kind.LINK, modified=12345, uid=7, gid=8), None)
    seen = store.stat(b"link")
    assert seen is not None
    assert (seen.modified, seen.uid, seen.gid) == (12345, 7, 8)
    store.describe(b"link", seen._replace(modified=-5, uid=9, gid=10), seen, ())

    now = os.lstat(tmp_path / "root/link")
    assert (now.st_mtime_ns, now.st_uid, now.st_gid) == (-5, 9, 10)
    assert os.stat(tmp_path / "root/file") == before


# ---------------------------------------------------------------- attributes


@root_only
def test_what_only_root_may_read_is_kept_and_labels_are_not(make: Make, tmp_path: Path) -> None:
    make("given")
    path = tmp_path / "given/file"
    path.write_bytes(b"data")
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    os.chown(path, 5, 6)
    os.setxattr(path, b"security.capability", capability)
    os.setxattr(path, b"trusted.note", b"secret")
    os.setxattr(path, b"security.selinux", b"of this machine")

    copied(make, tmp_path, "file")

    assert attributes_of(os.fsencode(tmp_path / "root/file")) == (
        (b"security.capability", capability),
        (b"trusted.note", b"secret"),
    )
    with pytest.raises(OSError, match=os.strerror(errno.ENODATA)):
        os.getxattr(tmp_path / "root/file", b"security.selinux")


def test_a_large_attribute_is_kept_or_refused_by_name(make: Make, tmp_path: Path) -> None:
    store = make()
    whole = given(make, b"data")
    big = (b"user.big", b"v" * 65_536)
    content_of = Content(whole.reader, whole.entry)
    content_of.attributes = lambda: (big,)  # type: ignore[method-assign]

    refused = None
    try:
        store.put(b"file", content_of, LIKE, None)
    except Unheld as error:
        refused = error

    if refused is None:
        assert store.attributes(b"file") == (big,)
    else:
        assert refused.code == "AZSM2027"
        assert "user.big" in str(refused)
        assert os.listdir(tmp_path / "root") == []


def test_a_file_system_without_attributes_is_known(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bytes:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    whole = given(make, b"data")
    for call in ("getxattr", "setxattr", "listxattr", "removexattr"):
        monkeypatch.setattr(f"wherry.stores.posix_attributes.os.{call}", refuse)
    store = make()

    assert not store.traits.holds.attributes
    store.put(b"file", whole, LIKE, None)
    store.describe(b"file", LIKE, store.stat(b"file"), ((b"user.x", b"y"),))
    assert store.attributes(b"file") == ()


def test_an_attribute_that_cannot_be_set_fails_the_item_and_leaves_nothing(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    store = make()
    whole = given(make, b"data")
    os.setxattr(tmp_path / "given/given", b"user.x", b"1")
    whole = given(make, b"data")
    monkeypatch.setattr("wherry.stores.posix_attributes.os.setxattr", refuse)

    with pytest.raises(StoreError, match=r"user\.x"):
        store.put(b"file", whole, LIKE, None)

    assert os.listdir(tmp_path / "root") == []


GIVEN_AWAY = """
import ctypes, sys
from wherry.stores.memory import MemoryStore
from wherry.stores.port import Content, StoreSpec
from wherry.stores.posix import PosixStore
libc, none = ctypes.CDLL(None, use_errno=True), (ctypes.c_uint32 * 6)()
assert libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), none) == 0
try:
    open(sys.argv[1] + "/read-only", "ab")
    raise SystemExit("it may still write what it may not")
except PermissionError:
    pass
memory, wanted = MemoryStore(), ((b"user.x", b"1"),)
memory.seed(b"file", b"data", mode=0o444, attributes=wanted)
store = PosixStore(StoreSpec("posix", sys.argv[1], create=True))
reader = memory.open(b"file")
like = reader.entry()
store.put(b"file", Content(reader, like), like, None)
assert store.attributes(b"file") == wanted
store.describe(b"file", like, store.stat(b"file"), ((b"user.y", b"2"),))
assert store.attributes(b"file") == ((b"user.y", b"2"),)
assert store.open(b"file").attributes() == ((b"user.y", b"2"),)
"""


@root_only
def test_an_owner_without_other_rights_gives_attributes_to_what_he_may_not_write(tmp_path: Path) -> None:
    """In a process of its own, which gives its rights away."""
    (tmp_path / "read-only").touch(mode=0o444)

    done = subprocess.run(
        [sys.executable, "-c", GIVEN_AWAY, tmp_path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(os.stat(tmp_path / "file").st_mode) == 0o444


def test_reading_attributes_changes_no_time(make: Make, tmp_path: Path) -> None:
    store = make("given")
    (tmp_path / "given/file").write_bytes(b"data")
    os.setxattr(tmp_path / "given/file", b"user.x", b"1")
    os.utime(tmp_path / "given/file", ns=(1, 2))
    before = os.stat(tmp_path / "given/file")

    assert store.attributes(b"file") == ((b"user.x", b"1"),)
    assert content(store, b"file").attributes() == ((b"user.x", b"1"),)

    now = os.stat(tmp_path / "given/file")
    assert (now.st_atime_ns, now.st_mtime_ns, now.st_ctime_ns) == (
        before.st_atime_ns,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )


# ---------------------------------------------------------------- bits that lend rights


def confined() -> None:
    raise PermissionError(errno.EPERM, "a confined service may not lend rights")


def test_who_may_not_lend_rights_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert permissions.__wrapped__() == 0o7777
    monkeypatch.setattr(os, "fchmod", lambda *_: confined())
    assert permissions.__wrapped__() == 0o1777


@root_only
def test_what_lends_rights_is_copied_without_and_only_once(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chmod = os.chmod

    def seccomp(item: Any, mode: int, **more: Any) -> None:
        if mode & 0o6000:
            confined()
        chmod(item, mode, **more)

    for module in ("posix_copy", "posix_source"):
        monkeypatch.setattr(f"wherry.stores.{module}.permissions", lambda: 0o1777)
    make("given")
    (tmp_path / "given/tool").write_bytes(b"tool")
    chmod(tmp_path / "given/tool", 0o4755)
    monkeypatch.setattr(os, "chmod", seccomp)

    assert stat.S_IMODE(copied(make, tmp_path, "tool").st_mode) == 0o755

    source, target = make("given"), make()
    entry, present = source.stat(b"tool"), target.stat(b"tool")
    assert entry
    assert present
    judge = Judge(JobOptions(), target.traits.holds, Attempt())
    assert judge.compare_file(entry, present).do is Do.NOTHING
    assert losses.of(entry, target.traits.holds, JobOptions().preserve, ()) == ["mode"]
