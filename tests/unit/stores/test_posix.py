"""Folders of this machine: nothing leads out of the root, nothing is opened that should not be, nothing is left."""

from __future__ import annotations

import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wherry.model.entry import Entry, Kind
from wherry.model.errors import Changed, Conflict, LeaseLost, NotFound, StoreError, Unsafe, Unsupported
from wherry.stores.port import Content, StoreSpec, no_fence
from wherry.stores.posix import PosixStore

LIKE = Entry(b"", Kind.FILE, mode=0o600, modified=11)
Make = Callable[..., PosixStore]


@pytest.fixture(params=[True, False], ids=["openat2", "by parts"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    opened: list[PosixStore] = []

    def made(folder: str = "root", fence: Callable[[], None] = no_fence, **more: object) -> PosixStore:
        spec = StoreSpec("posix", str(tmp_path / folder), beneath=str(tmp_path), create=True)
        for name, value in more.items():
            object.__setattr__(spec, name, value)
        opened.append(PosixStore(spec, fence, modern=request.param))
        return opened[-1]

    yield made
    for store in opened:
        store.close()


def content(store: PosixStore, path: bytes) -> Content:
    reader = store.open(path)
    return Content(reader, reader.entry())


@pytest.fixture
def source(make: Make, tmp_path: Path) -> Content:
    store = make("source")
    (tmp_path / "source/file").write_bytes(b"data")
    return content(store, b"file")


# ---------------------------------------------------------------- links on the way


@pytest.mark.parametrize("text", ["../outside", "inside", "/", "self"])
def test_a_link_in_the_path_is_never_followed(make: Make, tmp_path: Path, source: Content, text: str) -> None:
    store = make()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_bytes(b"secret")
    (tmp_path / "root/inside").mkdir()
    (tmp_path / "root/inside/file").write_bytes(b"own")
    (tmp_path / "root/self").symlink_to(text)
    seen = store.stat(b"self")
    assert seen is not None
    deeds: list[Callable[[], object]] = [
        lambda: list(store.list(b"self")),
        lambda: store.stat(b"self/file"),
        lambda: store.open(b"self/file"),
        lambda: store.put(b"self/new", source, LIKE, None),
        lambda: store.put(b"self/file", source, LIKE, seen),
        lambda: store.remove(b"self/file", seen),
        lambda: store.make_folder(b"self/folder"),
        lambda: store.describe(b"self/file", LIKE, seen),
        lambda: store.make_symlink(b"self/link", b"x", LIKE, None),
        lambda: store.make_link(b"self/link", b"self/file", None),
        lambda: store.read_link(b"self/link"),
    ]

    for deed in deeds:
        with pytest.raises(Unsafe):
            deed()

    assert sorted(os.listdir(tmp_path / "outside")) == ["file"]
    assert sorted(os.listdir(tmp_path / "root/inside")) == ["file"]
    assert (tmp_path / "outside/file").read_bytes() == b"secret"


def test_a_folder_swapped_for_a_link_leads_nowhere(make: Make, tmp_path: Path, source: Content) -> None:
    store = make()
    (tmp_path / "outside").mkdir()
    store.make_folder(b"folder")
    store.put(b"folder/one", source, LIKE, None)
    (tmp_path / "root/folder").rename(tmp_path / "root/moved")
    (tmp_path / "root/folder").symlink_to("../outside")

    late = make()
    with pytest.raises(Unsafe):
        late.put(b"folder/two", source, LIKE, None)

    assert os.listdir(tmp_path / "outside") == []


def test_a_file_swapped_for_a_link_is_not_followed(make: Make, tmp_path: Path, source: Content) -> None:
    store = make()
    (tmp_path / "victim").write_bytes(b"victim")
    (tmp_path / "root/file").symlink_to("../victim")
    seen = store.stat(b"file")
    assert seen is not None
    assert seen.kind is Kind.LINK

    with pytest.raises(Unsupported):
        store.open(b"file")
    with pytest.raises(Conflict):
        store.put(b"file", source, LIKE, None)
    store.put(b"file", source, LIKE, seen)

    assert (tmp_path / "victim").read_bytes() == b"victim"
    assert (tmp_path / "root/file").read_bytes() == b"data"


@pytest.mark.parametrize(
    "path", [b"..", b"../x", b"a/..", b"a/../../x", b"/etc/passwd", b".", b"a/.", b"a//b", b"a/"]
)
def test_paths_that_are_none_are_refused(make: Make, tmp_path: Path, source: Content, path: bytes) -> None:
    store = make()
    store.make_folder(b"a")

    for deed in (lambda: store.put(path, source, LIKE, None), lambda: store.make_folder(path)):
        try:
            deed()
        except StoreError:
            continue
        # Two slashes are one; whatever it was, it stayed below the root.
        assert path == b"a//b"

    assert sorted(os.listdir(tmp_path)) == ["root", "source"]


# ---------------------------------------------------------------- roots


def test_a_root_outside_is_refused(make: Make, tmp_path: Path) -> None:
    (tmp_path / "allowed").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "allowed/way").symlink_to("../other")
    (tmp_path / "allowed/inside").mkdir()
    (tmp_path / "allowed/round").symlink_to("inside")
    allowed = str(tmp_path / "allowed")

    for folder in ("other", "allowed/way", "allowed/../other", "allowed/way/new", "allowed-not"):
        with pytest.raises(Unsafe):
            make(folder, beneath=allowed)
    with pytest.raises(Unsafe):
        make("allowed", beneath=allowed, subpath=b"way")
    with pytest.raises(Unsafe):
        make("allowed/inside", beneath=allowed, subpath=b"..")

    assert make("allowed/round", beneath=allowed).probe().identity.endswith("allowed/inside")
    assert os.listdir(tmp_path / "other") == []


@pytest.mark.parametrize(
    "place", ["/etc", "/proc", "/sys", "/dev", "/proc/self", "/etc/ssl", "/dev/shm/..", "/"]
)
def test_places_of_the_system_are_refused(make: Make, place: str) -> None:
    with pytest.raises(Unsafe):
        make("", location=place, beneath="/", create=False)


def test_places_that_the_owner_names_are_refused(make: Make, tmp_path: Path) -> None:
    (tmp_path / "data/state").mkdir(parents=True)
    refused = (str(tmp_path / "data/state"),)

    for folder in ("data/state", "data/state/below", "data"):
        with pytest.raises(Unsafe):
            make(folder, refused=refused)

    make("data/else", refused=refused)


def test_a_root_is_made_only_for_a_target(make: Make, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        make("missing", create=False)
    assert not (tmp_path / "missing").exists()

    store = make("new/and", subpath=b"deeper/still")

    assert (tmp_path / "new/and/deeper/still").is_dir()
    assert list(store.list(b"")) == []


def test_another_folder_at_the_same_path_has_another_identity(make: Make, tmp_path: Path) -> None:
    store = make()
    before = store.probe().identity
    (tmp_path / "root").rename(tmp_path / "away")
    with pytest.raises(NotFound):
        make(create=False).probe()
    (tmp_path / "root").mkdir()

    assert store.probe().identity != before


# ---------------------------------------------------------------- what is no file


def test_pipes_sockets_and_devices_are_never_opened(make: Make, tmp_path: Path) -> None:
    store = make()
    os.mkfifo(tmp_path / "root/pipe")
    heard: list[bool] = []

    def write() -> None:
        with (tmp_path / "root/pipe").open("wb"):
            heard.append(True)

    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(tmp_path)
        try:
            listener.bind("root/socket")
        finally:
            os.chdir(here)
        writer = threading.Thread(target=write, daemon=True)
        writer.start()

        kinds = {entry.name: entry.kind for entry in store.list(b"")}
        for name in (b"pipe", b"socket"):
            with pytest.raises(Unsupported):
                store.open(name)

        assert kinds == {b"pipe": Kind.SPECIAL, b"socket": Kind.SPECIAL}
        assert not heard
    with (tmp_path / "root/pipe").open("rb"):
        writer.join(10)
    assert heard


def test_a_pipe_in_place_of_a_file_is_left_alone(make: Make, tmp_path: Path) -> None:
    store = make()
    os.mkfifo(tmp_path / "root/pipe")

    with pytest.raises(Conflict):
        store.put(b"pipe", _of(make, b"x"), LIKE, None)

    assert stat.S_ISFIFO(os.stat(tmp_path / "root/pipe").st_mode)


def _of(make: Make, data: bytes) -> Content:
    store = make("given")
    file = store.stat(b"given")
    if file is None:
        descriptor = os.open(b"given", os.O_CREAT | os.O_WRONLY, dir_fd=store._root)
        os.write(descriptor, data)
        os.close(descriptor)
    return content(store, b"given")


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
    whole = _of(make, b"12345")
    short = Content(whole.reader, whole.entry._replace(size=9))

    with pytest.raises(Changed):
        store.put(b"new", short, LIKE, None)

    assert os.listdir(tmp_path / "root") == []


def test_a_late_writer_leaves_what_its_successor_wrote(make: Make, tmp_path: Path) -> None:
    """The lease ends in the middle of a large file, a successor writes it anew, the late one wakes up."""
    given = make("given")
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
        late.put(b"large", content(given, b"large"), LIKE, None)

    assert (tmp_path / "root/large").read_bytes() == b"of the successor"
    assert os.listdir(tmp_path / "root") == ["large"]


def test_leftovers_are_invisible_and_go_when_they_are_old(make: Make, tmp_path: Path) -> None:
    root = tmp_path / "root"
    store = make()
    fresh, old = root / (".wherry-" + "0" * 16), root / (".wherry-" + "1" * 16)
    others = [".wherry-", ".wherry-" + "0" * 15, ".wherry-" + "0" * 16 + "x", ".wherry-" + "G" * 16]
    for name in [fresh, old, *(root / other for other in others)]:
        name.write_bytes(b"")
    with pytest.MonkeyPatch.context() as patch:
        now = time.time()
        patch.setattr("wherry.stores.posix.time.time", lambda: now + 2 * 86_400)
        patch.setattr(store, "_target", False)
        assert [entry.name for entry in store.list(b"")] == sorted(map(os.fsencode, others))
        assert old.exists()
        os.utime(fresh)
        patch.setattr(store, "_target", True)
        list(store.list(b""))

    assert not old.exists()
    assert not fresh.exists()
    assert sorted(os.listdir(root)) == sorted(others)


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
        patch.setattr("wherry.stores.posix.time.time", lambda: now + 2 * 86_400)
        store.remove(b"folder", seen)

    assert os.listdir(tmp_path / "root") == []


def test_new_files_are_nobody_elses_until_they_are_done(make: Make, tmp_path: Path) -> None:
    store = make()
    modes = []

    class Watching:
        def __init__(self, inner: Content) -> None:
            self.inner = inner.reader

        def read_at(self, offset: int, size: int) -> bytes | memoryview:
            modes.append(stat.S_IMODE(os.stat(tmp_path / "root/new").st_mode))
            return self.inner.read_at(offset, size)

        def fileno(self) -> None:
            return None

        def entry(self) -> Entry:
            return self.inner.entry()

        def close(self) -> None:
            self.inner.close()

    whole = _of(make, b"secret")
    store.put(b"new", Content(Watching(whole), whole.entry), whole.entry._replace(mode=0o666), None)

    assert set(modes) == {0o600}
    assert stat.S_IMODE(os.stat(tmp_path / "root/new").st_mode) == 0o666


def test_holes_stay_holes(make: Make, tmp_path: Path) -> None:
    given = make("given")
    with (tmp_path / "given/sparse").open("wb") as file:
        file.truncate(64 << 20)
        file.seek(20 << 20)
        file.write(b"in the middle")
        file.seek(40 << 20)
        file.write(b"and here")
    store = make()
    whole = content(given, b"sparse")

    store.put(b"sparse", whole, whole.entry, None)

    copied = os.stat(tmp_path / "root/sparse")
    assert copied.st_size == 64 << 20
    assert copied.st_blocks * 512 < 1 << 20
    assert (tmp_path / "root/sparse").read_bytes() == (tmp_path / "given/sparse").read_bytes()


def test_a_sparse_source_cut_off_meanwhile_is_not_padded(make: Make, tmp_path: Path) -> None:
    given = make("given")
    with (tmp_path / "given/sparse").open("wb") as file:
        file.truncate(64 << 20)
    reader = given.open(b"sparse")
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
