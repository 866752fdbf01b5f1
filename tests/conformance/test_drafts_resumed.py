"""Drafts after trouble: gone on with when they can be believed, in nobody's way when not."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.conformance.conftest import Case
from tests.conformance.drafting import DATA, RANGE, Files, complete, leftovers, own
from wherry.model.entry import Kind
from wherry.model.errors import Conflict, LeaseLost, StoreError, Unavailable
from wherry.stores import posix_draft
from wherry.stores.port import Content, HasAttributes, Store, TakesRanges


def test_a_later_attempt_goes_on_where_an_earlier_one_ended(
    case: Case, drafts: TakesRanges, drafted: Content
) -> None:
    if not case.store.traits.holds.attributes:
        pytest.skip("it has no place for the progress")
    first = drafts.draft(b"large", drafted, drafted.entry, None)
    ranges = first.ranges()
    first.write(*ranges[1])
    first.write(*ranges[4])
    first.discard()
    assert own(case) == {}
    assert leftovers(case) == 1

    late = case.open()
    assert isinstance(late, TakesRanges)
    second = late.draft(b"large", drafted, drafted.entry, None)
    assert second.ranges() == [ranges[0], ranges[2], ranges[3]]
    complete(second)

    assert case.tree() == {b"large": Kind.FILE}
    assert case.data(b"large") == DATA
    assert isinstance(case.store, HasAttributes)
    assert case.store.attributes(b"large") == ()


def test_what_an_earlier_attempt_could_not_write_after_all_is_written_anew(
    case: Case, drafts: TakesRanges, drafted: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not case.store.traits.holds.attributes:
        pytest.skip("it has no place for the progress")
    first = drafts.draft(b"large", drafted, drafted.entry, None)
    first.write(*first.ranges()[0])
    first.discard()

    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr("wherry.stores.posix_draft.os.fsync", fail)
        second = drafts.draft(b"large", drafted, drafted.entry, None)
        assert len(second.ranges()) == 4
        with pytest.raises(Unavailable):
            complete(second)
        second.discard()
    assert case.tree() == {}

    third = drafts.draft(b"large", drafted, drafted.entry, None)
    assert len(third.ranges()) == 5
    complete(third)
    assert case.data(b"large") == DATA


def test_a_range_that_was_broken_off_is_written_again(
    case: Case, drafts: TakesRanges, drafted: Content
) -> None:
    first = drafts.draft(b"large", drafted, drafted.entry, None)
    ranges = first.ranges()
    first.write(*ranges[0])
    # Half of a range is none, and so is one that reaches into another.
    first.write(ranges[1][0], 10)
    first.write(ranges[2][0], ranges[2][1] + 1)
    assert first.ranges() == ranges[1:]
    with pytest.raises(StoreError):
        first.finish()
    first.discard()

    complete(drafts.draft(b"large", drafted, drafted.entry, None))

    assert case.data(b"large") == DATA


@pytest.mark.parametrize("other", ["version", "path", "boot", "owner", "link"])
def test_what_another_version_has_left_is_not_believed(
    case: Case, drafts: TakesRanges, tmp_path: Path, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if other == "owner" and os.geteuid() != 0:
        pytest.skip("only root may give files away")
    content = case.content(DATA)
    first = drafts.draft(b"large", content, content.entry, None)
    ranges = first.ranges()
    first.write(*ranges[0])
    first.discard()
    (draft,) = (path for path, kind in case.tree().items() if kind is Kind.SPECIAL)
    there = tmp_path / "root" / os.fsdecode(draft)
    path = b"large"
    if other == "version":
        content = case.content(DATA[::-1])
    elif other == "path":
        path = b"other"
    elif other == "boot":
        monkeypatch.setattr(posix_draft, "_boot", lambda: "another")
    elif other == "owner":
        os.chown(there, 12, 34)
    else:
        os.link(there, tmp_path / "victim")

    second = drafts.draft(path, content, content.entry, None)

    assert second.ranges() == ranges
    complete(second)
    assert case.data(path) == bytes(content.read(0, content.size))
    if other == "link":
        # What has another name, which may be of anything, was not written to.
        assert (tmp_path / "victim").read_bytes() == DATA[:RANGE]


def test_two_attempts_at_once_do_not_share_a_draft(case: Case, drafts: TakesRanges, drafted: Content) -> None:
    first = drafts.draft(b"large", drafted, drafted.entry, None)
    first.write(*first.ranges()[0])
    other = case.open()
    assert isinstance(other, TakesRanges)

    second = other.draft(b"large", drafted, drafted.entry, None)
    assert len(second.ranges()) == 5
    complete(second)
    for offset, size in first.ranges():
        first.write(offset, size)
    with pytest.raises(Conflict):
        first.finish()
    first.discard()

    assert case.tree() == {b"large": Kind.FILE}
    assert case.data(b"large") == DATA


def test_what_stands_in_a_draft_that_is_not_believed_does_not_show_in_holes(
    case: Case, drafts: TakesRanges, files: Files, tmp_path: Path
) -> None:
    with (files.place / "sparse").open("wb") as file:
        file.truncate(10 * RANGE)
        file.seek(5 * RANGE)
        file.write(b"data")
    content = files.content("sparse")
    first = drafts.draft(b"sparse", content, content.entry, None)
    (draft,) = case.tree()
    first.discard()
    (tmp_path / "root" / os.fsdecode(draft)).touch(mode=0o600)
    (tmp_path / "root" / os.fsdecode(draft)).write_bytes(b"rubbish" * 2 * RANGE)
    complete(drafts.draft(b"sparse", content, content.entry, None))

    assert case.tree() == {b"sparse": Kind.FILE}
    assert case.data(b"sparse") == (files.place / "sparse").read_bytes()


def test_a_draft_whose_lease_is_over_changes_nothing_and_is_gone_on_with(
    case: Case, drafts: TakesRanges, drafted: Content
) -> None:
    over: list[bool] = []

    def fence() -> None:
        if over:
            raise LeaseLost("over")

    late: Store = case.open(fence)
    assert isinstance(late, TakesRanges)
    draft = late.draft(b"large", drafted, drafted.entry, None)
    ranges = draft.ranges()
    draft.write(*ranges[0])
    over.append(True)
    for deed in (lambda: draft.write(*ranges[1]), draft.finish):
        with pytest.raises((LeaseLost, StoreError)):
            deed()
    with pytest.raises(LeaseLost):
        late.draft(b"other", drafted, drafted.entry, None)
    draft.discard()
    assert own(case) == {}

    successor = drafts.draft(b"large", drafted, drafted.entry, None)
    if case.store.traits.holds.attributes:
        assert successor.ranges() == ranges[1:]
    complete(successor)
    assert case.data(b"large") == DATA


def test_nothing_stays_of_a_draft_that_came_to_nothing(
    case: Case, drafts: TakesRanges, drafted: Content
) -> None:
    before = os.listdir("/proc/self/fd")
    draft = drafts.draft(b"large", drafted, drafted.entry, None)
    draft.discard()
    draft.discard()

    assert case.tree() == {}
    assert os.listdir("/proc/self/fd") == before


def test_a_draft_that_somebody_works_on_is_never_taken_for_a_leftover(
    case: Case, drafts: TakesRanges, drafted: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = drafts.draft(b"large", drafted, drafted.entry, None)
    draft.write(*draft.ranges()[0])
    monkeypatch.setattr("wherry.stores.posix_source._STALE_SECONDS", -10)

    assert leftovers(case) == 1
    assert leftovers(case) == 1
    complete(draft)
    assert case.data(b"large") == DATA

    second = drafts.draft(b"other", drafted, drafted.entry, None)
    second.write(*second.ranges()[0])
    second.discard()
    assert leftovers(case) == 0


def test_ranges_of_the_largest_file_are_few(case: Case, drafts: TakesRanges, files: Files) -> None:
    size = 8 << 40
    with (files.place / "huge").open("wb") as file:
        file.truncate(size)
        for offset in (0, size // 2, size - 5):
            file.seek(offset)
            file.write(b"data!")
    content = files.content("huge")

    draft = drafts.draft(b"huge", content, content.entry, None)
    assert len(draft.ranges()) == 3
    draft.write(*draft.ranges()[0])
    draft.discard()
    again = drafts.draft(b"huge", content, content.entry, None)
    if case.store.traits.holds.attributes:
        assert len(again.ranges()) == 2
    complete(again)

    assert case.seen(b"huge").size == size
    case.store.remove(b"huge", case.seen(b"huge"))
    assert case.store.stat(b"huge") is None
