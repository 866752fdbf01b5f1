"""Sources that change while they are read, or read oddly: never a mixture on any target, always `Changed`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conformance.conftest import Case
from wherry.model.entry import Entry
from wherry.model.errors import Changed, Corrupt
from wherry.stores.port import Content, Reader, StoreSpec
from wherry.stores.posix import PosixStore

MODIFIED = 1_500_000_000_987_654_321


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[PosixStore]:
    (tmp_path / "files").mkdir()
    store = PosixStore(StoreSpec("posix", str(tmp_path / "files")))
    yield store
    store.close()


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"!")


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def rewrite(path: Path) -> None:
    """The same size, and the time put back."""
    with path.open("r+b") as file:
        file.write(b"?")
    os.utime(path, ns=(MODIFIED, MODIFIED))


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(MODIFIED, MODIFIED))
    other.rename(path)


def remove(path: Path) -> None:
    path.unlink()


DEEDS: list[Callable[[Path], None]] = [grow, cut_off, empty, rewrite, replace, remove]


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("replaces", [False, True])
def test_a_file_that_changes_after_it_was_opened_is_not_stored(
    case: Case,
    folder: PosixStore,
    tmp_path: Path,
    deed: Callable[[Path], None],
    large: bool,
    replaces: bool,
) -> None:
    seen = case.put(b"file", b"before") if replaces else None
    path = tmp_path / "files/file"
    path.write_bytes(b"s" * (case.large if large else 5))
    os.utime(path, ns=(MODIFIED, MODIFIED))
    listed = folder.stat(b"file")
    assert listed is not None
    reader = folder.open(b"file")
    content = Content(reader, listed)
    assert reader.entry().version == listed.version
    deed(path)

    with pytest.raises(Changed):
        case.store.put(b"file", content, listed, seen)
    reader.close()

    assert {path: case.data(path) for path in case.tree()} == ({b"file": b"before"} if replaces else {})


@pytest.mark.parametrize("deed", [grow, cut_off, empty, rewrite, replace])
def test_a_file_that_changes_before_it_is_opened_is_not_stored(
    case: Case, folder: PosixStore, tmp_path: Path, deed: Callable[[Path], None]
) -> None:
    path = tmp_path / "files/file"
    path.write_bytes(b"s" * 100)
    os.utime(path, ns=(MODIFIED, MODIFIED))
    listed = folder.stat(b"file")
    assert listed is not None
    deed(path)
    reader = folder.open(b"file")

    with pytest.raises(Changed):
        case.store.put(b"file", Content(reader, listed), listed, None)
    reader.close()

    assert case.tree() == {}


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("deed", [grow, cut_off, empty])
def test_a_file_of_another_size_is_not_stored_even_unchecked(
    case: Case, folder: PosixStore, tmp_path: Path, deed: Callable[[Path], None], large: bool
) -> None:
    path = tmp_path / "files/file"
    path.write_bytes(b"s" * (case.large if large else 5))
    reader = folder.open(b"file")
    content = Content(reader, reader.entry(), check=False)
    deed(path)

    with pytest.raises(Changed):
        case.store.put(b"file", content, content.entry, None)
    reader.close()

    assert case.tree() == {}


class OddReader:
    """Gives a few bytes at a time, or more than it was asked for."""

    def __init__(self, inner: Reader, most: int, more: int = 0) -> None:
        self._inner = inner
        self._most = most
        self._more = more

    def read_at(self, offset: int, size: int) -> bytes:
        piece = bytes(self._inner.read_at(offset, min(size, self._most)))
        return piece + b"!" * self._more if piece else piece

    def fileno(self) -> None:
        return None

    def entry(self) -> Entry:
        return self._inner.entry()

    def close(self) -> None:
        self._inner.close()


@pytest.mark.parametrize("size", [0, 1, 7, 200])
def test_a_reader_that_gives_little_at_a_time_gives_all(case: Case, size: int) -> None:
    data = bytes(range(256))[:size]
    sound = case.content(data)
    content = Content(OddReader(sound.reader, 3), sound.entry)

    case.store.put(b"file", content, content.entry, None)

    assert case.data(b"file") == data


def test_a_reader_that_gives_more_than_it_was_asked_for_is_not_believed(case: Case) -> None:
    sound = case.content(b"0123456789")
    content = Content(OddReader(sound.reader, 4, more=100), sound.entry)

    with pytest.raises((Corrupt, Changed)):
        case.store.put(b"file", content, content.entry, None)

    assert case.tree() == {}


def test_what_is_known_of_an_open_file_is_as_of_its_last_read(folder: PosixStore, tmp_path: Path) -> None:
    path = tmp_path / "files/file"
    path.write_bytes(b"data")
    reader = folder.open(b"file")
    before = reader.entry()
    grow(path)

    assert reader.read_at(0, 4) == b"data"
    assert reader.entry().version != before.version
    assert reader.entry().size == 5
    reader.close()
