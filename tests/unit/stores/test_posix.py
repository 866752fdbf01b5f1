"""Folders of this machine: nothing is opened that should not be, nothing is left behind, nothing is touched."""

from __future__ import annotations

import os
import socket
import stat
import threading
import time
from pathlib import Path

import pytest

from tests.unit.stores.conftest import LIKE, Make, content, given, root_only
from wherry.model.entry import Entry, Kind
from wherry.model.errors import Changed, Conflict, LeaseLost, Unsupported
from wherry.stores.port import Content

# ---------------------------------------------------------------- what is no file


def test_attack_58_pipes_sockets_and_devices_are_told_apart_and_refused_without_waiting(
    make: Make, tmp_path: Path
) -> None:
    store = make()
    os.mkfifo(tmp_path / "root/pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(tmp_path)
        try:
            listener.bind("root/socket")
        finally:
            os.chdir(here)

        kinds = {entry.name: entry.kind for entry in store.list(b"")}
        before = os.listdir("/proc/self/fd")
        for name in (b"pipe", b"socket"):
            with pytest.raises(Unsupported):
                store.open(name)

        assert kinds == {b"pipe": Kind.SPECIAL, b"socket": Kind.SPECIAL}
        assert os.listdir("/proc/self/fd") == before


def test_what_waits_in_a_pipe_is_not_taken(make: Make, tmp_path: Path) -> None:
    store = make()
    os.mkfifo(tmp_path / "root/pipe")
    both = os.open(tmp_path / "root/pipe", os.O_RDWR | os.O_NONBLOCK)
    os.write(both, b"for somebody else")

    with pytest.raises(Unsupported):
        store.open(b"pipe")

    assert os.read(both, 100) == b"for somebody else"
    os.close(both)


def test_a_pipe_in_place_of_a_file_is_left_alone(make: Make, tmp_path: Path) -> None:
    store = make()
    os.mkfifo(tmp_path / "root/pipe")

    with pytest.raises(Conflict):
        store.put(b"pipe", given(make, b"x"), LIKE, None)

    assert stat.S_ISFIFO(os.stat(tmp_path / "root/pipe").st_mode)


# ---------------------------------------------------------------- nothing is left, nothing is touched


def test_reading_leaves_the_source_as_it_was(make: Make, tmp_path: Path) -> None:
    store = make()
    (tmp_path / "root/folder").mkdir()
    (tmp_path / "root/folder/file").write_bytes(b"data")
    for path in (tmp_path / "root/folder/file", tmp_path / "root/folder", tmp_path / "root"):
        os.utime(path, ns=(1, 10**18))

    def times() -> list[tuple[int, int, int]]:
        found = [os.stat(tmp_path / "root" / one) for one in ("", "folder", "folder/file")]
        return [(one.st_atime_ns, one.st_mtime_ns, one.st_ctime_ns) for one in found]

    before = times()
    for entry in store.list(b"folder"):
        whole = content(store, b"folder/" + entry.name)
        assert bytes(whole.read(0, 4)) == b"data"
        whole.check()
        whole.reader.close()

    assert times() == before


def test_a_file_that_fails_half_way_is_taken_back(make: Make, tmp_path: Path) -> None:
    store = make()
    whole = given(make, b"12345")
    short = Content(whole.reader, whole.entry._replace(size=9))

    with pytest.raises(Changed):
        store.put(b"new", short, LIKE, None)

    assert os.listdir(tmp_path / "root") == []


def test_a_late_writer_leaves_what_its_successor_wrote(make: Make, tmp_path: Path) -> None:
    """The lease ends in the middle of a large file, a successor writes it anew, the late one wakes up."""
    store_of_source = make("given")
    (tmp_path / "given/large").write_bytes(os.urandom(3 << 20))
    (tmp_path / "root").mkdir()
    asked = []

    def fence() -> None:
        asked.append(1)
        if len(asked) == 2:
            (tmp_path / "root/large").unlink()
            (tmp_path / "root/large").write_bytes(b"of the successor")
        if len(asked) >= 2:
            raise LeaseLost("over")

    late = make(fence=fence)
    with pytest.raises(LeaseLost):
        late.put(b"large", content(store_of_source, b"large"), LIKE, None)

    assert (tmp_path / "root/large").read_bytes() == b"of the successor"
    assert os.listdir(tmp_path / "root") == ["large"]


def test_leftovers_are_told_as_such_and_go_from_a_target_when_they_are_old(
    make: Make, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    store = make()
    fresh, old = root / (".wherry-" + "0" * 16), root / (".wherry-" + "1" * 16)
    others = [".wherry-", ".wherry-" + "0" * 15, ".wherry-" + "0" * 16 + "x", ".wherry-" + "G" * 16]
    for name in [fresh, old, *(root / other for other in others)]:
        name.write_bytes(b"")
    with pytest.MonkeyPatch.context() as patch:
        now = time.time()
        patch.setattr("wherry.stores.posix_source.time.time", lambda: now + 2 * 86_400)
        patch.setattr(store, "_target", False)
        listed = {os.fsdecode(entry.name): entry.kind for entry in store.list(b"")}
        assert {name for name, kind in listed.items() if kind is Kind.SPECIAL} == {fresh.name, old.name}
        assert {name for name, kind in listed.items() if kind is Kind.FILE} == set(others)
        assert old.exists()
        os.utime(fresh)
        patch.setattr(store, "_target", True)
        list(store.list(b""))

    assert not old.exists()
    assert not fresh.exists()
    assert sorted(os.listdir(root)) == sorted(others)


def test_a_folder_of_another_spelling_is_not_taken_for_the_one_to_be_made(make: Make) -> None:
    """As on a file system where case does not count: `dir` is found, but its name is `DIR`."""
    store = make()
    store.make_folder(b"DIR")
    there = store.stat(b"DIR")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wherry.stores.posix.os.mkdir", lambda *_, **__: _exists())
        patch.setattr(store, "stat", lambda _path: there)
        store.make_folder(b"DIR")
        with pytest.raises(Conflict, match="another spelling"):
            store.make_folder(b"dir")


def _exists() -> None:
    raise FileExistsError(17, "File exists")


def test_a_folder_that_holds_only_old_leftovers_can_be_removed(make: Make, tmp_path: Path) -> None:
    store = make()
    store.make_folder(b"folder")
    (tmp_path / "root/folder" / (".wherry-" + "a" * 16)).write_bytes(b"")
    seen = store.stat(b"folder")
    assert seen is not None
    with pytest.raises(Conflict):
        store.remove(b"folder", seen)

    with pytest.MonkeyPatch.context() as patch:
        now = time.time()
        patch.setattr("wherry.stores.posix_source.time.time", lambda: now + 2 * 86_400)
        store.remove(b"folder", seen)

    assert os.listdir(tmp_path / "root") == []


@pytest.mark.parametrize("size", [6, 1 << 20])
def test_new_files_are_nobody_elses_until_they_are_done(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    store = make()
    modes = []

    def watched(target: int, data: bytes | memoryview, offset: int) -> None:
        modes.append(stat.S_IMODE(os.stat(tmp_path / "root/new").st_mode))
        os.pwrite(target, data, offset)
        modes.append(stat.S_IMODE(os.stat(tmp_path / "root/new").st_mode))

    monkeypatch.setattr("wherry.stores.posix.write_at", watched)
    monkeypatch.setattr("wherry.stores.posix_copy.write_at", watched)
    monkeypatch.setattr("wherry.stores.posix_copy.os.copy_file_range", lambda *_: 0)
    whole = given(make, b"s" * size)
    store.put(b"new", whole, whole.entry._replace(mode=0o666), None)

    assert set(modes) == {0o600}
    assert stat.S_IMODE(os.stat(tmp_path / "root/new").st_mode) == 0o666
    assert os.stat(tmp_path / "root/new").st_size == size


@pytest.mark.parametrize("size", [6, 1 << 20])
def test_a_file_that_is_written_to_after_it_was_opened_is_not_stored(
    make: Make, tmp_path: Path, size: int
) -> None:
    store = make()
    whole = given(make, b"s" * size)
    with (tmp_path / "given/given").open("r+b") as file:
        file.write(b"T")
    os.utime(tmp_path / "given/given", ns=(1, whole.entry.modified or 0))

    with pytest.raises(Changed):
        store.put(b"new", whole, LIKE, None)

    assert os.listdir(tmp_path / "root") == []


@root_only
def test_the_owner_is_right_whatever_a_folder_gives_to_new_files(
    make: Make, tmp_path: Path, source: Content
) -> None:
    store = make()
    folder = Entry(b"", Kind.FOLDER, mode=0o755, uid=0, gid=0, modified=1)
    store.make_folder(b"folder")
    store.put(b"folder/plain", source, LIKE._replace(uid=0, gid=0), None)
    store.describe(b"folder", folder._replace(mode=0o2755, gid=77), store.stat(b"folder"))

    store.put(b"folder/in a folder of a group", source, LIKE._replace(uid=0, gid=0), None)
    store.put(b"folder/of somebody", source, LIKE._replace(uid=5, gid=77), None)
    store.put(b"folder/of the group", source, LIKE._replace(uid=0, gid=77), None)

    owners = {one.name: (one.uid, one.gid) for one in store.list(b"folder")}
    assert owners == {
        b"plain": (0, 0),
        b"in a folder of a group": (0, 0),
        b"of somebody": (5, 77),
        b"of the group": (0, 77),
    }


def test_a_sparse_source_cut_off_meanwhile_is_not_padded(make: Make, tmp_path: Path) -> None:
    store_of_source = make("given")
    with (tmp_path / "given/sparse").open("wb") as file:
        file.truncate(64 << 20)
    reader = store_of_source.open(b"sparse")
    whole = Content(reader, reader.entry(), check=False)
    os.truncate(tmp_path / "given/sparse", 1 << 20)
    store = make()

    with pytest.raises(Changed):
        store.put(b"sparse", whole, LIKE, None)

    assert os.listdir(tmp_path / "root") == []


def test_more_folders_than_are_kept_open(make: Make, tmp_path: Path, source: Content) -> None:
    store = make()
    before = len(os.listdir("/proc/self/fd"))
    for number in range(100):
        store.make_folder(b"%d" % number)
        store.put(b"%d/file" % number, source, LIKE, None)
    for number in range(100):
        assert store.stat(b"%d/file" % number) is not None

    assert len(os.listdir("/proc/self/fd")) < before + 20


def test_closing_closes_all_descriptors_of_all_threads(make: Make, tmp_path: Path, source: Content) -> None:
    before = set(os.listdir("/proc/self/fd"))
    store = make("closing")
    store.make_folder(b"a")
    done, go = threading.Event(), threading.Event()

    def work() -> None:
        store.stat(b"a/x")
        done.set()
        go.wait(10)

    thread = threading.Thread(target=work)
    thread.start()
    done.wait(10)
    store.stat(b"a/x")
    listing = iter(store.list(b"a"))
    del listing
    store.close()
    after = set(os.listdir("/proc/self/fd"))
    go.set()
    thread.join(10)

    assert after <= before


def test_what_is_durable_can_be_told(make: Make, source: Content) -> None:
    store = make()
    store.put(b"file", source, LIKE, None)

    store.sync()

    assert store.traits.durable


def test_without_the_right_to_give_files_away_no_set_user_id_is_kept(
    make: Make, tmp_path: Path, source: Content
) -> None:
    store = make()
    store._owner = False

    store.put(b"file", source, LIKE._replace(mode=0o6755, uid=77, gid=77), None)

    found = os.stat(tmp_path / "root/file")
    assert stat.S_IMODE(found.st_mode) == 0o755
    assert (found.st_uid, found.st_gid) == (os.geteuid(), os.getegid())
