"""Files that are written in ranges by several threads: whole and visible at the end, and gone on with after trouble."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conformance.conftest import Case
from wherry.model.entry import Entry, Kind
from wherry.model.errors import Changed, Conflict, LeaseLost, StoreError, Unavailable
from wherry.stores import posix_draft
from wherry.stores.port import Content, Draft, HasAttributes, Store, StoreSpec, TakesRanges
from wherry.stores.posix import PosixStore
from wherry.stores.wrap.fault import FaultyReader

RANGE = 1 << 16
DATA = b"".join(b"%07d\n" % number for number in range(40_000))  # five ranges, the last one short
MODIFIED = 1_500_000_000_987_654_321


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posix_draft, "RANGE_SIZE", RANGE)


@pytest.fixture
def drafts(case: Case) -> TakesRanges:
    if not isinstance(case.store, TakesRanges):
        pytest.skip("it takes no ranges")
    return case.store


def own(case: Case) -> dict[bytes, Kind]:
    return {path: kind for path, kind in case.tree().items() if kind is not Kind.SPECIAL}


def leftovers(case: Case) -> int:
    return sum(kind is Kind.SPECIAL for kind in case.tree().values())


def complete(draft: Draft) -> None:
    for offset, size in draft.ranges():
        draft.write(offset, size)
    draft.finish()


class Files:
    """A folder as the source, whose files the kernel can copy from."""

    def __init__(self, place: Path) -> None:
        self.place = place
        place.mkdir()
        self.store = PosixStore(StoreSpec("posix", str(place)))

    def content(self, name: str = "file", check: bool = True) -> Content:
        reader = self.store.open(name.encode())
        return Content(reader, reader.entry(), check)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path / "files")
    (made.place / "file").write_bytes(DATA)
    os.utime(made.place / "file", ns=(MODIFIED, MODIFIED))
    return made


@pytest.fixture(params=["memory", "folder"])
def content(request: pytest.FixtureRequest, case: Case, files: Files) -> Content:
    return files.content() if request.param == "folder" else case.content(DATA, modified=MODIFIED)


def test_a_draft_is_nothing_until_it_is_finished(case: Case, drafts: TakesRanges, content: Content) -> None:
    draft = drafts.draft(b"large", content, content.entry, None)
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
    assert (entry.mode, entry.uid, entry.gid) == case.kept(content.entry.mode or 0, 0, 0)
    if isinstance(case.store, HasAttributes):
        assert case.store.attributes(b"large") == ()


def test_threads_write_one_draft(case: Case, drafts: TakesRanges, content: Content) -> None:
    draft = drafts.draft(b"large", content, content.entry, None)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda one: draft.write(*one), draft.ranges()))
    draft.finish()

    assert case.data(b"large") == DATA


def test_a_draft_replaces_what_was_seen_and_nothing_else(
    case: Case, drafts: TakesRanges, content: Content
) -> None:
    seen = case.put(b"large", b"before")
    with pytest.raises(Conflict):
        drafts.draft(b"large", content, content.entry, None)
    draft = drafts.draft(b"large", content, content.entry, seen)
    complete(draft)
    assert case.data(b"large") == DATA

    with pytest.raises(Conflict):
        drafts.draft(b"large", content, content.entry, seen)
    assert case.tree() == {b"large": Kind.FILE}


@pytest.mark.parametrize("replaces", [False, True])
def test_what_came_meanwhile_is_left_alone(
    case: Case, drafts: TakesRanges, content: Content, replaces: bool
) -> None:
    seen = case.put(b"large", b"before") if replaces else None
    draft = drafts.draft(b"large", content, content.entry, seen)
    for offset, size in draft.ranges():
        draft.write(offset, size)
    case.put(b"large", b"of somebody else", seen)

    with pytest.raises(Conflict):
        draft.finish()
    draft.discard()

    assert case.tree() == {b"large": Kind.FILE}
    assert case.data(b"large") == b"of somebody else"


def test_what_comes_at_the_last_moment_is_left_alone(
    case: Case, drafts: TakesRanges, content: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look before the rename is not what keeps it, but the rename itself."""
    draft = drafts.draft(b"large", content, content.entry, None)
    for offset, size in draft.ranges():
        draft.write(offset, size)
    case.put(b"large", b"of somebody else")
    monkeypatch.setattr(case.store, "_as_expected", lambda *_: None)

    with pytest.raises(Conflict):
        draft.finish()
    draft.discard()

    assert case.data(b"large") == b"of somebody else"
    assert leftovers(case) == 0


def test_a_later_attempt_goes_on_where_an_earlier_one_ended(
    case: Case, drafts: TakesRanges, content: Content
) -> None:
    if not case.store.traits.holds.attributes:
        pytest.skip("it has no place for the progress")
    first = drafts.draft(b"large", content, content.entry, None)
    ranges = first.ranges()
    first.write(*ranges[1])
    first.write(*ranges[4])
    first.discard()
    assert own(case) == {}
    assert leftovers(case) == 1

    late = case.open()
    assert isinstance(late, TakesRanges)
    second = late.draft(b"large", content, content.entry, None)
    assert second.ranges() == [ranges[0], ranges[2], ranges[3]]
    complete(second)

    assert case.tree() == {b"large": Kind.FILE}
    assert case.data(b"large") == DATA
    assert isinstance(case.store, HasAttributes)
    assert case.store.attributes(b"large") == ()


def test_what_an_earlier_attempt_could_not_write_after_all_is_written_anew(
    case: Case, drafts: TakesRanges, content: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not case.store.traits.holds.attributes:
        pytest.skip("it has no place for the progress")
    first = drafts.draft(b"large", content, content.entry, None)
    first.write(*first.ranges()[0])
    first.discard()

    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr("wherry.stores.posix_draft.os.fsync", fail)
        second = drafts.draft(b"large", content, content.entry, None)
        assert len(second.ranges()) == 4
        with pytest.raises(Unavailable):
            complete(second)
        second.discard()
    assert case.tree() == {}

    third = drafts.draft(b"large", content, content.entry, None)
    assert len(third.ranges()) == 5
    complete(third)
    assert case.data(b"large") == DATA


def test_a_range_that_was_broken_off_is_written_again(
    case: Case, drafts: TakesRanges, content: Content
) -> None:
    first = drafts.draft(b"large", content, content.entry, None)
    ranges = first.ranges()
    first.write(*ranges[0])
    # Half of a range is none, and so is one that reaches into another.
    first.write(ranges[1][0], 10)
    first.write(ranges[2][0], ranges[2][1] + 1)
    assert first.ranges() == ranges[1:]
    with pytest.raises(StoreError):
        first.finish()
    first.discard()

    complete(drafts.draft(b"large", content, content.entry, None))

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


def test_two_attempts_at_once_do_not_share_a_draft(case: Case, drafts: TakesRanges, content: Content) -> None:
    first = drafts.draft(b"large", content, content.entry, None)
    first.write(*first.ranges()[0])
    other = case.open()
    assert isinstance(other, TakesRanges)

    second = other.draft(b"large", content, content.entry, None)
    assert len(second.ranges()) == 5
    complete(second)
    for offset, size in first.ranges():
        first.write(offset, size)
    with pytest.raises(Conflict):
        first.finish()
    first.discard()

    assert case.tree() == {b"large": Kind.FILE}
    assert case.data(b"large") == DATA


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


def test_a_draft_whose_lease_is_over_changes_nothing_and_is_gone_on_with(
    case: Case, drafts: TakesRanges, content: Content
) -> None:
    over: list[bool] = []

    def fence() -> None:
        if over:
            raise LeaseLost("over")

    late: Store = case.open(fence)
    assert isinstance(late, TakesRanges)
    draft = late.draft(b"large", content, content.entry, None)
    ranges = draft.ranges()
    draft.write(*ranges[0])
    over.append(True)
    for deed in (lambda: draft.write(*ranges[1]), draft.finish):
        with pytest.raises((LeaseLost, StoreError)):
            deed()
    with pytest.raises(LeaseLost):
        late.draft(b"other", content, content.entry, None)
    draft.discard()
    assert own(case) == {}

    successor = drafts.draft(b"large", content, content.entry, None)
    if case.store.traits.holds.attributes:
        assert successor.ranges() == ranges[1:]
    complete(successor)
    assert case.data(b"large") == DATA


def test_nothing_stays_of_a_draft_that_came_to_nothing(
    case: Case, drafts: TakesRanges, content: Content
) -> None:
    before = os.listdir("/proc/self/fd")
    draft = drafts.draft(b"large", content, content.entry, None)
    draft.discard()
    draft.discard()

    assert case.tree() == {}
    assert os.listdir("/proc/self/fd") == before


def test_a_draft_that_somebody_works_on_is_never_taken_for_a_leftover(
    case: Case, drafts: TakesRanges, content: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = drafts.draft(b"large", content, content.entry, None)
    draft.write(*draft.ranges()[0])
    monkeypatch.setattr("wherry.stores.posix_source._STALE_SECONDS", -10)

    assert leftovers(case) == 1
    assert leftovers(case) == 1
    complete(draft)
    assert case.data(b"large") == DATA

    second = drafts.draft(b"other", content, content.entry, None)
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


def test_a_folder_is_no_place_for_a_draft(case: Case, drafts: TakesRanges, content: Content) -> None:
    case.folders(b"large/x")

    with pytest.raises(Conflict):
        drafts.draft(b"large", content, content.entry, None)
    with pytest.raises(Conflict):
        drafts.draft(b"large", content, content.entry, Entry(b"large", Kind.FILE))
