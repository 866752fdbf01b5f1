"""A source with a manifest shows what is listed, whatever the store inside can do, and tells what is not there."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.logged import LoggedRows
from wherry.engine.copy import copy
from wherry.model.entry import Entry, Kind
from wherry.model.errors import NotFound, Unsupported
from wherry.model.options import JobOptions
from wherry.stores.memory import MemoryStore
from wherry.stores.port import Content, ListsNames, Reader, Root, Store, StoreSpec
from wherry.stores.posix import PosixStore
from wherry.stores.registry import open_store
from wherry.stores.wrap import manifest
from wherry.stores.wrap.manifest import ManifestStore
from wherry.stores.wrap.manifest_file import sort

FILES = (
    "top", "docs/a", "docs/b", "docs/old/c", "docs/old/deep/d", "src/x", "src/y/z", "src-2", "empty/.keep", "zoo/1",
    "zoo/2",
)  # fmt: skip
LISTED = (
    "docs/", "docs/gone", "src/y/z", "src", "src-2", "zoo", "missing", "gone/deep/er", "top/inside", "docs/old/e/f",
)  # fmt: skip
SHOWN = {
    b"docs": Kind.FOLDER, b"docs/a": Kind.FILE, b"docs/b": Kind.FILE, b"docs/old": Kind.FOLDER,
    b"docs/old/c": Kind.FILE, b"docs/old/deep": Kind.FOLDER, b"docs/old/deep/d": Kind.FILE, b"src": Kind.FOLDER,
    b"src/y": Kind.FOLDER, b"src/y/z": Kind.FILE, b"src-2": Kind.FILE, b"zoo": Kind.FOLDER,
}  # fmt: skip
FAILING = {b"docs/gone", b"docs/old/e", b"missing", b"gone", b"top"}


class Plain:
    """A store with nothing but what every store has, its listing in an order or in none."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self.traits = inner.traits

    def probe(self) -> Root:
        return self._inner.probe()

    def list(self, folder: bytes) -> Iterable[Entry]:
        found = list(self._inner.list(folder))
        return found if self.traits.order == "bytes" else found[::-1]

    def stat(self, path: bytes) -> Entry | None:
        return self._inner.stat(path)

    def open(self, path: bytes) -> Reader:
        return self._inner.open(path)

    def put(self, path: bytes, content: Content, like: Entry, expect: Entry | None) -> None:
        raise AssertionError

    def remove(self, path: bytes, expect: Entry) -> None:
        raise AssertionError

    def close(self) -> None:
        self._inner.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    for file in FILES:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(file)
    return root


@pytest.fixture
def listed(tmp_path: Path) -> str:
    target = tmp_path / "sorted"
    sort(io.BytesIO("\n".join(LISTED).encode()), "list", target)
    return str(target)


def _memory(order: str, folders: str) -> Store:
    store = MemoryStore(order=order, folders=folders)  # type: ignore[arg-type]
    for file in FILES:
        store.seed(file.encode(), file.encode())
    return Plain(store)


@pytest.fixture(params=["posix", "sorted, few", "sorted, many", "unsorted, few", "unsorted, many", "markers"])
def store(
    request: pytest.FixtureRequest, folder: Path, listed: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ManifestStore]:
    if "many" in request.param:
        monkeypatch.setattr(manifest, "FEW", 0)
    if request.param == "posix":
        inner: Store = PosixStore(StoreSpec("posix", str(folder)))
    else:
        order = "none" if "unsorted" in request.param else "bytes"
        inner = _memory(order, "markers" if request.param == "markers" else "real")
    made = ManifestStore(inner, listed)
    yield made
    made.close()


def shown(store: Store, folder: bytes = b"") -> dict[bytes, Entry]:
    found: dict[bytes, Entry] = {}
    before = b""
    for entry in store.list(folder):
        path = folder + b"/" + entry.name if folder else entry.name
        assert path not in found
        assert store.traits.order == "none" or entry.name > before
        found[path], before = entry, entry.name
    for path, entry in list(found.items()):
        if entry.kind is Kind.FOLDER:
            found |= shown(store, path)
    return found


def test_what_is_listed_is_shown_with_its_folders(store: ManifestStore) -> None:
    found = shown(store)

    assert {path: entry.kind for path, entry in found.items() if path not in FAILING} == SHOWN
    assert {path for path in found if path not in SHOWN} == FAILING


def test_what_is_not_there_cannot_be_opened(store: ManifestStore) -> None:
    for path, entry in shown(store).items():
        if entry.kind is Kind.FILE and path not in FAILING:
            store.open(path).close()
    for path in FAILING:
        with pytest.raises(NotFound):
            store.open(path)


def test_what_is_not_listed_is_not_there(store: ManifestStore) -> None:
    for path in (b"empty", b"zoo/1", b"src/x", b"top", b"missing", b"docs/gone"):
        assert store.stat(path) is None
    for path, kind in SHOWN.items():
        entry = store.stat(path)
        assert entry is not None
        assert entry.kind is kind
    assert store.probe().identity


def test_it_is_only_read(store: ManifestStore) -> None:
    reader = store.open(b"src-2")
    with pytest.raises(Unsupported):
        store.put(b"new", Content(reader, reader.entry()), Entry(b"new", Kind.FILE), None)
    with pytest.raises(Unsupported):
        store.remove(b"src-2", reader.entry())
    reader.close()


def test_it_can_what_the_store_inside_can(folder: Path, listed: str) -> None:
    posix = ManifestStore(PosixStore(StoreSpec("posix", str(folder))), listed)
    plain = ManifestStore(_memory("bytes", "real"), listed)

    assert isinstance(posix, ListsNames)
    assert hasattr(posix, "read_link")
    assert not isinstance(plain, ListsNames)
    assert not hasattr(plain, "read_link")


def test_names_and_what_they_stand_for(folder: Path, listed: str) -> None:
    store = ManifestStore(PosixStore(StoreSpec("posix", str(folder))), listed)
    assert isinstance(store, ListsNames)

    for path, entry in [(b"", Entry(b"", Kind.FOLDER)), *shown(store).items()]:
        if entry.kind is Kind.FOLDER:
            wanted = sorted(store.names(path))
            assert store.look(path, wanted) == sorted(store.list(path), key=lambda one: one.name)
    assert store.look(b"", []) == []


def test_a_whole_copy_tells_what_it_did_not_find(folder: Path, listed: str, tmp_path: Path) -> None:
    rows = LoggedRows()
    source = StoreSpec("posix", str(folder), manifest=listed)
    target = StoreSpec("posix", str(tmp_path / "target"), create=True)

    report = copy(source, target, JobOptions(), workers=0, log=rows.take)

    assert {row.path: row.code for row in rows if row.outcome == "Failed"} == dict.fromkeys(
        FAILING, "AZSM2073"
    )
    assert report.end.code == "AZSM1046"
    made = {str(path.relative_to(tmp_path / "target")).encode() for path in (tmp_path / "target").rglob("*")}
    assert made == set(SHOWN)


def test_a_spec_opens_it(folder: Path, listed: str) -> None:
    store = open_store(StoreSpec("posix", str(folder), manifest=listed))

    assert isinstance(store, ManifestStore)
    store.close()
