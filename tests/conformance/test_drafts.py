"""Files that are written in ranges by several threads: nothing until they are whole, and then all at once."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conformance.conftest import Case
from tests.conformance.drafting import DATA, MODIFIED, RANGE, Files, complete, leftovers, own
from wherry.model.entry import Entry, Kind
from wherry.model.errors import Changed, Conflict
from wherry.stores.port import Content, HasAttributes, TakesRanges
from wherry.stores.wrap.fault import FaultyReader


def test_a_draft_is_nothing_until_it_is_finished(case: Case, drafts: TakesRanges, drafted: Content) -> None:
    draft = drafts.draft(b"large", drafted, drafted.entry, None)
    ranges = draft.ranges()

    assert ranges == [(at, min(RANGE, len(DATA) - at)) for at in range(0, len(DATA), RANGE)]
    for offset, size in reversed(ranges):
        draft.write(offset, size)
        assert own(case) == {}
    assert draft.ranges() == []
    draft.finish()
    draft.discard()

    assert case.tree() == {b"large": Kind.FILE}
    assert case.data(b"large") == DATA
    entry = case.seen(b"large")
    assert entry.modified == MODIFIED
    assert (entry.mode, entry.uid, entry.gid) == case.kept(drafted.entry.mode or 0, 0, 0)
    if isinstance(case.store, HasAttributes):
        assert case.store.attributes(b"large") == ()


def test_threads_write_one_draft(case: Case, drafts: TakesRanges, drafted: Content) -> None:
    draft = drafts.draft(b"large", drafted, drafted.entry, None)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda one: draft.write(*one), draft.ranges()))
    draft.finish()

    assert case.data(b"large") == DATA


def test_a_draft_replaces_what_was_seen_and_nothing_else(
    case: Case, drafts: TakesRanges, drafted: Content
) -> None:
    seen = case.put(b"large", b"before")
    with pytest.raises(Conflict):
        drafts.draft(b"large", drafted, drafted.entry, None)
    draft = drafts.draft(b"large", drafted, drafted.entry, seen)
    complete(draft)
    assert case.data(b"large") == DATA

    with pytest.raises(Conflict):
        drafts.draft(b"large", drafted, drafted.entry, seen)
    assert case.tree() == {b"large": Kind.FILE}


@pytest.mark.parametrize("replaces", [False, True])
def test_what_came_meanwhile_is_left_alone(
    case: Case, drafts: TakesRanges, drafted: Content, replaces: bool
) -> None:
    seen = case.put(b"large", b"before") if replaces else None
    draft = drafts.draft(b"large", drafted, drafted.entry, seen)
    for offset, size in draft.ranges():
        draft.write(offset, size)
    case.put(b"large", b"of somebody else", seen)

    with pytest.raises(Conflict):
        draft.finish()
    draft.discard()

    assert case.tree() == {b"large": Kind.FILE}
    assert case.data(b"large") == b"of somebody else"


def test_what_comes_at_the_last_moment_is_left_alone(
    case: Case, drafts: TakesRanges, drafted: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look before the rename is not what keeps it, but the rename itself."""
    draft = drafts.draft(b"large", drafted, drafted.entry, None)
    for offset, size in draft.ranges():
        draft.write(offset, size)
    case.put(b"large", b"of somebody else")
    monkeypatch.setattr(case.store, "_as_expected", lambda *_: None)

    with pytest.raises(Conflict):
        draft.finish()
    draft.discard()

    assert case.data(b"large") == b"of somebody else"
    assert leftovers(case) == 0


@pytest.mark.parametrize("extra", [-1, 1])
def test_a_source_that_ends_early_or_goes_on_makes_no_file(
    case: Case, drafts: TakesRanges, extra: int
) -> None:
    sound = case.content(DATA)
    content = Content(FaultyReader(sound.reader, extra), sound.entry)
    draft = drafts.draft(b"large", content, content.entry, None)

    with pytest.raises(Changed):
        complete(draft)
    draft.discard()

    assert case.tree() == {}


@pytest.mark.parametrize("deed", ["grow", "cut off", "rewrite", "touch"])
@pytest.mark.parametrize("begun", [0, 3, 5])
def test_a_source_that_changes_meanwhile_makes_no_file(
    case: Case, drafts: TakesRanges, files: Files, deed: str, begun: int
) -> None:
    content = files.content()
    draft = drafts.draft(b"large", content, content.entry, None)
    ranges = draft.ranges()
    for offset, size in ranges[:begun]:
        draft.write(offset, size)
    path = files.place / "file"
    if deed == "grow":
        path.write_bytes(DATA + b"more")
    elif deed == "cut off":
        os.truncate(path, len(DATA) - 1)
    elif deed == "rewrite":
        path.write_bytes(DATA[::-1])
    os.utime(path, ns=(MODIFIED, MODIFIED))

    with pytest.raises(Changed):
        complete(draft)
    draft.discard()

    assert case.tree() == {}


def test_holes_are_no_ranges_and_stay_holes(
    case: Case, drafts: TakesRanges, files: Files, tmp_path: Path
) -> None:
    with (files.place / "sparse").open("wb") as file:
        file.truncate(100 * RANGE + 7)
        for offset in (10 * RANGE, 10 * RANGE + RANGE // 2, 20 * RANGE - 2):
            file.seek(offset)
            file.write(b"data")
    content = files.content("sparse")

    draft = drafts.draft(b"sparse", content, content.entry, None)
    assert [offset // RANGE for offset, _ in draft.ranges()] == [10, 19, 20]
    complete(draft)

    there = os.stat(tmp_path / "root/sparse")
    assert there.st_size == 100 * RANGE + 7
    assert there.st_blocks <= os.stat(files.place / "sparse").st_blocks
    assert (tmp_path / "root/sparse").read_bytes() == (files.place / "sparse").read_bytes()


@pytest.mark.parametrize("size", [0, 50 * RANGE])
def test_a_file_without_data_has_no_ranges(case: Case, drafts: TakesRanges, files: Files, size: int) -> None:
    with (files.place / "hole").open("wb") as file:
        file.truncate(size)
    content = files.content("hole")

    draft = drafts.draft(b"hole", content, content.entry, None)
    assert draft.ranges() == []
    draft.finish()

    assert case.seen(b"hole").size == size


def test_attributes_come_with_a_draft(case: Case, drafts: TakesRanges) -> None:
    if not case.store.traits.holds.attributes:
        pytest.skip("it holds no attributes")
    wanted = ((b"user.x", b"1"), (b"user.y", b"2"))
    content = case.content(DATA, attributes=wanted, mode=0o444)

    complete(drafts.draft(b"large", content, content.entry, None))

    assert isinstance(case.store, HasAttributes)
    assert case.store.attributes(b"large") == wanted
    assert case.seen(b"large").mode == 0o444


def test_a_folder_is_no_place_for_a_draft(case: Case, drafts: TakesRanges, drafted: Content) -> None:
    case.folders(b"large/x")

    with pytest.raises(Conflict):
        drafts.draft(b"large", drafted, drafted.entry, None)
    with pytest.raises(Conflict):
        drafts.draft(b"large", drafted, drafted.entry, Entry(b"large", Kind.FILE))
