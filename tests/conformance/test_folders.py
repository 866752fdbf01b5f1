"""Folders: real ones and markers, unfinished and finished, empty ones."""

from __future__ import annotations

import pytest

from tests.conformance.conftest import Case
from wherry.model.entry import Entry, Kind
from wherry.model.errors import Conflict, NotFound
from wherry.stores.port import Describes, MakesFolders

LIKE = Entry(b"", Kind.FOLDER, modified=1_400_000_000_000_000_009, mode=0o2750, uid=7, gid=8)


def finish(case: Case, path: bytes) -> None:
    assert isinstance(case.store, Describes)
    case.store.describe(path, LIKE, case.store.stat(path))


def make(case: Case, path: bytes) -> None:
    """A folder as a run makes it before it puts anything into it."""
    if isinstance(case.store, MakesFolders) and case.store.traits.folders == "real":
        case.store.make_folder(path)
    else:
        case.put(path + b"/something", b"")


def test_a_folder_is_unfinished_until_it_has_its_metadata(case: Case) -> None:
    make(case, b"folder")
    assert not case.seen(b"folder").sealed

    finish(case, b"folder")

    entry = case.seen(b"folder")
    assert entry.kind is Kind.FOLDER
    assert entry.sealed
    assert (entry.mode, entry.uid, entry.gid) == case.kept(0o2750, 7, 8)
    assert entry.modified == LIKE.modified


def test_marker_and_prefix_are_one_entry(case: Case) -> None:
    make(case, b"folder")
    case.put(b"folder/file", b"")
    finish(case, b"folder")
    for name in (b"folder-a", b"folder.b", b"folder0", b"a", b"z"):
        case.put(name, b"")

    listed = list(case.store.list(b""))

    assert [entry.name for entry in listed].count(b"folder") == 1
    assert case.alike(next(entry for entry in listed if entry.name == b"folder"), case.seen(b"folder"))


def test_an_empty_folder_is_kept(case: Case) -> None:
    if case.store.traits.folders == "real":
        make(case, b"empty")
    finish(case, b"empty")

    assert case.tree() == {b"empty": Kind.FOLDER}
    assert list(case.store.list(b"empty")) == []
    assert case.seen(b"empty").sealed


def test_a_folder_that_is_not_there_is_not_listed(case: Case) -> None:
    case.put(b"file", b"")

    for path in (b"nothing", b"file", b"no/thing"):
        with pytest.raises(NotFound):
            list(case.store.list(path))


def test_making_a_folder_again_leaves_it_as_it_is(case: Case) -> None:
    if not isinstance(case.store, MakesFolders):
        pytest.skip("folders need not be made here")
    case.store.make_folder(b"folder")
    finish(case, b"folder")
    before = case.seen(b"folder")

    case.store.make_folder(b"folder")

    assert case.seen(b"folder") == before


def test_a_folder_needs_its_parent_where_folders_are_real(case: Case) -> None:
    if case.store.traits.folders != "real":
        pytest.skip("folders need not exist here")
    content = case.content(b"x")

    try:
        case.store.put(b"no/file", content, content.entry, None)
    except NotFound:
        assert case.tree() == {}
    else:
        # Or the service makes it on its own, as a real folder.
        assert case.tree() == {b"no": Kind.FOLDER, b"no/file": Kind.FILE}


def test_an_empty_folder_is_removed_and_no_other(case: Case) -> None:
    make(case, b"folder")
    file = case.put(b"folder/file", b"")
    finish(case, b"folder")
    if case.store.stat(b"folder/something"):
        case.store.remove(b"folder/something", case.seen(b"folder/something"))
    folder = case.seen(b"folder")

    if case.store.traits.folders == "real":
        with pytest.raises(Conflict):
            case.store.remove(b"folder", folder)
    case.store.remove(b"folder/file", file)
    case.store.remove(b"folder", folder)

    assert case.tree() == {}


def test_a_finished_folder_gets_other_metadata(case: Case) -> None:
    make(case, b"folder")
    finish(case, b"folder")
    store = case.store
    assert isinstance(store, Describes)

    store.describe(b"folder", LIKE._replace(mode=0o700, modified=5), case.seen(b"folder"))

    entry = case.seen(b"folder")
    assert (entry.mode, entry.modified) == (0o700, 5)


def test_the_root_is_a_folder_that_is_always_there(case: Case) -> None:
    assert case.seen(b"").kind is Kind.FOLDER
    finish(case, b"")
    finish(case, b"")
    assert case.tree() == {}


def test_a_folder_made_anew_holds_new_files(case: Case) -> None:
    case.put(b"folder/one", b"1")
    case.store.remove(b"folder/one", case.seen(b"folder/one"))
    if (left := case.store.stat(b"folder")) is not None:
        case.store.remove(b"folder", left)

    case.put(b"folder/two", b"2")

    assert [path for path, kind in case.tree().items() if kind is Kind.FILE] == [b"folder/two"]
