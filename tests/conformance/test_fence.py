"""A holder whose lease is over changes nothing: the fence is asked before each change."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conformance.conftest import PART, Case
from wherry.model.entry import Entry, Kind
from wherry.model.errors import LeaseLost
from wherry.stores.port import Describes, HoldsLinks, MakesFolders, Store, TakesParts

FOLDER = Entry(b"", Kind.FOLDER, mode=0o755, modified=3)
LINK = Entry(b"", Kind.LINK, mode=0o777, modified=3)


def changes(case: Case) -> dict[str, Callable[[Store], None]]:
    """Every change that this store can make, ready to be made once."""
    file, folder = case.seen(b"file"), case.seen(b"folder")
    small, large = case.content(b"s"), case.content(b"l" * 3 * PART)
    store = case.store
    found: dict[str, Callable[[Store], None]] = {
        "new": lambda s: s.put(b"new", small, small.entry, None),
        "new and large": lambda s: s.put(b"large", large, large.entry, None),
        "replace": lambda s: s.put(b"file", small, small.entry, file),
        "remove": lambda s: s.remove(b"file", file),
    }
    if isinstance(store, Describes):
        found["describe"] = lambda s: s.describe(b"file", small.entry, file)  # type: ignore[attr-defined]
        found["describe folder"] = lambda s: s.describe(b"folder", FOLDER, folder)  # type: ignore[attr-defined]
    if isinstance(store, MakesFolders):
        found["make folder"] = lambda s: s.make_folder(b"made")  # type: ignore[attr-defined]
    if isinstance(store, HoldsLinks):
        found["make symlink"] = lambda s: s.make_symlink(b"link", b"text", LINK, None)  # type: ignore[attr-defined]
        found["replace by symlink"] = lambda s: s.make_symlink(b"file", b"text", LINK, file)  # type: ignore[attr-defined]
    if isinstance(store, HoldsLinks) and store.traits.holds.hard_links:
        found["make link"] = lambda s: s.make_link(b"other", b"file", None)  # type: ignore[attr-defined]
    if isinstance(store, TakesParts) and store.traits.put_limit:
        store.stage(b"parts", "only", b"12345")
        like = small.entry._replace(size=5)
        found["publish"] = lambda s: s.publish(b"parts", ["only"], like, None)  # type: ignore[attr-defined]
    return found


def state(case: Case) -> list[tuple[bytes, Entry, bytes]]:
    return [
        (path, case.seen(path), case.data(path) if kind is Kind.FILE else b"")
        for path, kind in sorted(case.tree().items())
    ]


def test_nothing_changes_when_the_lease_is_over(case: Case) -> None:
    case.put(b"file", b"before")
    case.put(b"folder/file", b"inside")
    before = state(case)

    def over() -> None:
        raise LeaseLost("over")

    late = case.open(over)
    for what, change in changes(case).items():
        with pytest.raises(LeaseLost):
            change(late)
        assert state(case) == before, what


def test_the_fence_is_asked_for_each_change(case: Case) -> None:
    case.put(b"file", b"before")
    case.put(b"folder/file", b"inside")
    asked = []
    store = case.open(lambda: asked.append(1))
    due = changes(case)
    # Each change starts from the same state but those that take the file away or put another one there.
    for what in ("replace", "remove", "describe", "replace by symlink"):
        due.pop(what, None)

    for what, change in due.items():
        asked.clear()
        change(store)
        assert asked, what


def test_reading_asks_nothing(case: Case) -> None:
    case.put(b"folder/file", b"data")

    def over() -> None:
        raise LeaseLost("over")

    reading = case.open(over)

    assert [entry.name for entry in reading.list(b"folder")] == [b"file"]
    assert reading.stat(b"folder/file") is not None
    reader = reading.open(b"folder/file")
    assert bytes(reader.read_at(0, 10)) == b"data"
    reader.close()
    reading.probe()
