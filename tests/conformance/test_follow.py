"""A source whose links are followed: what stays beneath the root is what it leads to, all else stays a link."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wherry.model.entry import Entry, Kind
from wherry.model.errors import StoreError
from wherry.stores.port import Content, StoreSpec
from wherry.stores.posix import PosixStore


@pytest.fixture(params=[True, False], ids=["openat2", "by parts"])
def follow(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., PosixStore]]:
    made: list[PosixStore] = []

    def open_it(follow: bool = True) -> PosixStore:
        spec = StoreSpec("posix", str(tmp_path / "root"), beneath=str(tmp_path), follow=follow)
        made.append(PosixStore(spec, modern=request.param))
        return made[-1]

    (tmp_path / "root/folder/inner").mkdir(parents=True)
    (tmp_path / "root/folder/file").write_bytes(b"data")
    (tmp_path / "root/folder/inner/deep").write_bytes(b"deep")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_bytes(b"secret")
    yield open_it
    for store in made:
        store.close()


def tree(store: PosixStore) -> dict[bytes, Kind]:
    found: dict[bytes, Kind] = {}

    def walk(folder: bytes) -> None:
        for entry in store.list(folder):
            path = folder + b"/" + entry.name if folder else entry.name
            found[path] = entry.kind
            assert store.stat(path) == entry
            assert store.look(folder, [entry.name]) == [entry]
            assert len(found) < 1000
            if entry.kind is Kind.FOLDER:
                walk(path)

    walk(b"")
    return found


def data(store: PosixStore, path: bytes) -> bytes:
    seen = store.stat(path)
    assert seen is not None
    reader = store.open(path)
    try:
        content = Content(reader, seen)
        return bytes(content.whole())
    finally:
        reader.close()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("folder/file", Kind.FILE),
        ("folder/../folder/./file", Kind.FILE),
        ("folder/inner/../file", Kind.FILE),
        ("way/file", Kind.FILE),
        ("folder", Kind.FOLDER),
        ("folder/", Kind.FOLDER),
        ("folder/inner/..", Kind.FOLDER),
        ("pipe", Kind.SPECIAL),
        ("nowhere", Kind.LINK),
        ("folder/file/", Kind.LINK),
        ("folder/file/x", Kind.LINK),
        ("link", Kind.LINK),
        ("first", Kind.LINK),
        (".", Kind.LINK),
        ("folder/../../outside/secret", Kind.LINK),
        ("../outside/secret", Kind.LINK),
        ("../outside", Kind.LINK),
        ("../root/folder/file", Kind.LINK),
        ("out/secret", Kind.LINK),
        ("/etc/passwd", Kind.LINK),
        ("/proc/self/cwd", Kind.LINK),
    ],
)
def test_a_link_is_what_it_leads_to(
    follow: Callable[..., PosixStore], tmp_path: Path, text: str, kind: Kind
) -> None:
    root = tmp_path / "root"
    os.mkfifo(root / "pipe")
    (root / "way").symlink_to("folder")
    (root / "out").symlink_to("../outside")
    (root / "first").symlink_to("second")
    (root / "second").symlink_to("first")
    os.symlink(text, root / "link")
    store = follow()

    seen = store.stat(b"link")

    assert seen is not None
    assert seen.name == b"link"
    assert seen.kind is kind
    assert store.look(b"", [b"link"]) == [seen]
    assert seen in list(store.list(b""))
    if kind is Kind.FILE:
        real = store.stat(b"folder/file")
        assert real is not None
        assert seen == real._replace(name=b"link")
        assert data(store, b"link") == b"data"
    elif kind is Kind.FOLDER:
        assert list(store.list(b"link")) == list(store.list(b"folder"))
        assert sorted(store.names(b"link")) == [b"file", b"inner"]
        assert data(store, b"link/inner/deep") == b"deep"
    else:
        with pytest.raises(StoreError):
            store.open(b"link")
    if kind is Kind.LINK:
        assert os.fsdecode(store.read_link(b"link")) == text
        with pytest.raises(StoreError):
            list(store.list(b"link/x"))


def test_an_absolute_link_is_left_wherever_it_leads(
    follow: Callable[..., PosixStore], tmp_path: Path
) -> None:
    (tmp_path / "root/absolute").symlink_to(tmp_path / "root/folder")

    seen = follow().stat(b"absolute")

    assert seen is not None
    assert seen.kind is Kind.LINK


def test_a_walk_ends_whatever_links_there_are(follow: Callable[..., PosixStore], tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "up").symlink_to("folder/inner")
    (root / "folder/inner/up").symlink_to("..")
    (root / "folder/inner/self").symlink_to(".")
    (root / "folder/inner/root").symlink_to("../..")
    (root / "folder/inner/file").symlink_to("../file")

    found = tree(follow())

    assert found[b"folder/inner/up"] is Kind.LINK
    assert found[b"folder/inner/self"] is Kind.LINK
    assert found[b"folder/inner/root"] is Kind.LINK
    assert found[b"folder/inner/file"] is Kind.FILE
    # By way of the link, the folder above is another one than those on the way, but in it they are the same again.
    assert found[b"up/up"] is Kind.FOLDER
    assert found[b"up/up/inner"] is Kind.FOLDER
    assert found[b"up/up/inner/up"] is Kind.LINK
    assert found[b"up/root"] is Kind.LINK


def test_what_is_not_asked_to_follow_does_not(follow: Callable[..., PosixStore], tmp_path: Path) -> None:
    (tmp_path / "root/way").symlink_to("folder")
    store = follow(follow=False)

    assert tree(store)[b"way"] is Kind.LINK
    with pytest.raises(StoreError):
        store.stat(b"way/file")


def test_attack_58_a_link_that_is_turned_elsewhere_leads_nowhere(
    follow: Callable[..., PosixStore], tmp_path: Path
) -> None:
    link = tmp_path / "root/way"
    link.symlink_to("folder")
    store = follow()
    assert [entry.name for entry in store.list(b"way")] == [b"file", b"inner"]
    link.unlink()
    link.symlink_to("../outside")

    late = follow()
    seen = late.stat(b"way")
    assert seen is not None
    assert seen.kind is Kind.LINK
    deeds: list[Callable[[], object]] = [
        lambda: late.open(b"way/secret"),
        lambda: late.stat(b"way/secret"),
        lambda: list(late.list(b"way")),
        lambda: late.attributes(b"way/secret"),
        lambda: late.look(b"way", [b"secret"]),
    ]
    for deed in deeds:
        with pytest.raises(StoreError):
            deed()


def test_attributes_are_those_of_what_it_leads_to(follow: Callable[..., PosixStore], tmp_path: Path) -> None:
    (tmp_path / "root/link").symlink_to("folder/file")
    os.setxattr(tmp_path / "root/folder/file", b"user.x", b"1")
    store = follow()

    assert store.attributes(b"link") == ((b"user.x", b"1"),)
    reader = store.open(b"link")
    assert reader.attributes() == ((b"user.x", b"1"),)
    reader.close()


def test_nothing_stays_open(follow: Callable[..., PosixStore], tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "way").symlink_to("folder")
    (root / "round").symlink_to("folder/inner/../../way/inner/../file")
    (root / "out").symlink_to("folder/../../outside")
    store = follow()
    tree(store)
    before = os.listdir("/proc/self/fd")

    tree(store)
    assert data(store, b"round") == b"data"
    with pytest.raises(StoreError):
        store.open(b"out")

    assert os.listdir("/proc/self/fd") == before


def test_a_target_follows_nothing(tmp_path: Path) -> None:
    (tmp_path / "root/folder").mkdir(parents=True)
    (tmp_path / "root/way").symlink_to("folder")
    store = PosixStore(StoreSpec("posix", str(tmp_path / "root"), create=True, follow=True))
    seen: Entry | None = store.stat(b"way")

    assert seen is not None
    assert seen.kind is Kind.LINK
    with pytest.raises(StoreError):
        store.make_folder(b"way/new")
    store.close()
