"""Nothing leads out of a root, and no root lies where none may lie."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.stores.conftest import LIKE, Make
from wherry.model.entry import Kind
from wherry.model.errors import Conflict, NotFound, StoreError, Unsafe, Unsupported
from wherry.stores.port import Content
from wherry.stores.posix_fd import FOLDER, Opener, has_openat2, openat2

# ---------------------------------------------------------------- links on the way


@pytest.mark.parametrize("text", ["../outside", "inside", "/", "self"])
def test_attack_57_a_link_in_the_path_is_never_followed(
    make: Make, tmp_path: Path, source: Content, text: str
) -> None:
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


def test_attack_57_a_folder_swapped_for_a_link_leads_nowhere(
    make: Make, tmp_path: Path, source: Content
) -> None:
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


def test_attack_58_a_file_swapped_for_a_link_is_not_followed(
    make: Make, tmp_path: Path, source: Content
) -> None:
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
def test_attack_57_paths_that_are_none_are_refused(
    make: Make, tmp_path: Path, source: Content, path: bytes
) -> None:
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


@pytest.mark.skipif(not has_openat2(), reason="an old kernel, or a sandbox that lacks it")
@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize(
    "path",
    [b"..", b"../outside/file", b"folder/../../outside/file", b"/etc/passwd", b"out/file", b"folder/up/../outside/file",
     b"absolute", b"magic/etc/passwd", b"folder/up/outside/file"],
)  # fmt: skip
def test_attack_57_the_kernel_itself_keeps_what_is_opened_beneath(
    tmp_path: Path, path: bytes, follow: bool
) -> None:
    """Nothing here looks at the path first."""
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_bytes(b"secret")
    links = {"out": "../outside", "folder/up": "../..", "absolute": "/etc/passwd", "magic": "/proc/self/root"}
    for name, text in links.items():
        (root / name).symlink_to(text)
    opened = os.open(root, FOLDER)
    try:
        with pytest.raises(OSError) as refused:  # noqa: PT011 - by its number
            os.close(openat2(opened, path, os.O_RDONLY, follow))
    finally:
        os.close(opened)
    assert refused.value.errno in (errno.EXDEV, errno.ELOOP)


@pytest.mark.parametrize("modern", [True, False], ids=["openat2", "by parts"])
@pytest.mark.parametrize("follow", [False, True])
def test_attack_57_a_parent_that_is_swapped_all_the_time_leads_nowhere(
    tmp_path: Path, modern: bool, follow: bool
) -> None:
    """Somebody turns a folder into a link and back as fast as possible, while what is in it is opened."""
    root = tmp_path / "root"
    for folder, data in ((root / "way/deep", b"public"), (tmp_path / "outside/deep", b"secret")):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(data)
    (root / "link").symlink_to("../outside")
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            os.rename(root / "way", root / "kept")
            os.rename(root / "link", root / "way")
            os.rename(root / "way", root / "link")
            os.rename(root / "kept", root / "way")

    opened, seen = os.open(root, FOLDER), set[str]()
    opener, thread = Opener(opened, modern, follow), threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(500):
            try:
                file = opener.open(b"way/deep/file", os.O_RDONLY)
            except OSError:
                continue
            seen.add(os.read(file, 100).decode())
            os.close(file)
    finally:
        done.set()
        thread.join(60)
        os.close(opened)
    assert "secret" not in seen


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
