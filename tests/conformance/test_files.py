"""Whole files: written complete or not at all, under the condition that was named, and read as they are."""

from __future__ import annotations

import pytest

from tests.conformance.conftest import PART, Case
from wherry.model.entry import Kind
from wherry.model.errors import Changed, Conflict, NotFound, Unsupported
from wherry.stores.port import Content, Describes
from wherry.stores.wrap.fault import FaultyReader


def read_whole(content: Content) -> None:
    content.read(0, content.size)
    content.check()


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 5 * PART + 3])
def test_what_is_written_is_read(case: Case, size: int) -> None:
    data = bytes(range(256))[:size] if size < 256 else b"x" * size

    entry = case.put(b"folder/file", data)

    assert entry.kind is Kind.FILE
    assert entry.size == size
    assert case.data(b"folder/file") == data


def test_large_files_arrive_whole(case: Case) -> None:
    data = bytes(range(251)) * 5000 if not case.store.traits.put_limit else bytes(range(251)) * 3

    case.put(b"large", data)

    assert case.data(b"large") == data


def test_metadata_is_kept_to_the_nanosecond(case: Case) -> None:
    content = case.content(b"x", mode=0o4711, modified=-1_234_567_891)

    case.store.put(b"old", content, content.entry, None)

    entry = case.seen(b"old")
    assert (entry.mode, entry.uid, entry.gid) == case.kept(0o4711, 0, 0)
    assert entry.modified == -1_234_567_891


@pytest.mark.parametrize(
    "modified",
    [0, 1, -1, -2_000_000_000 * 10**9 + 7, 4_294_967_296 * 10**9 + 999_999_999, -11_644_473_600 * 10**9,
     253_402_300_799 * 10**9 + 999_999_999],
    ids=["1970", "just after", "just before", "1906", "2106", "1601", "9999"],
)  # fmt: skip
def test_attack_67_times_of_any_year_are_kept(case: Case, modified: int) -> None:
    content = case.content(b"x", modified=modified or 1)
    like = content.entry._replace(modified=modified)

    case.store.put(b"file", content, like, None)

    holds = case.store.traits.holds
    ends = (holds.earliest if modified < 0 else holds.latest) if abs(modified) > 10**19 else ()
    assert case.seen(b"file").modified in (modified, *ends)


def test_stat_and_listing_and_reader_agree(case: Case) -> None:
    case.put(b"file", b"data")

    listed = next(iter(case.store.list(b"")))
    reader = case.store.open(b"file")

    assert case.alike(listed, case.seen(b"file"))
    assert reader.entry().version == case.seen(b"file").version
    reader.close()


def test_nothing_is_there_to_begin_with(case: Case) -> None:
    assert case.store.stat(b"nothing") is None
    assert case.store.stat(b"no/thing") is None
    assert list(case.store.list(b"")) == []
    with pytest.raises(NotFound):
        case.store.open(b"nothing")


def test_a_folder_is_not_opened_as_a_file(case: Case) -> None:
    case.put(b"folder/file", b"")

    with pytest.raises((NotFound, Unsupported)):
        case.store.open(b"folder")


def test_an_existing_file_is_not_written_as_new(case: Case) -> None:
    case.put(b"file", b"first")

    with pytest.raises(Conflict):
        case.put(b"file", b"second")

    assert case.data(b"file") == b"first"
    assert list(case.tree()) == [b"file"]


def test_a_file_is_replaced_when_it_is_the_one_that_was_seen(case: Case) -> None:
    seen = case.put(b"file", b"first")

    case.put(b"file", b"second", seen)

    assert case.data(b"file") == b"second"
    assert list(case.tree()) == [b"file"]


def test_a_file_that_somebody_else_replaced_is_left_alone(case: Case) -> None:
    seen = case.put(b"file", b"first")
    case.put(b"file", b"other", seen)

    with pytest.raises(Conflict):
        case.put(b"file", b"mine!", seen)

    assert case.data(b"file") == b"other"
    assert list(case.tree()) == [b"file"]


def test_a_file_that_vanished_is_not_replaced(case: Case) -> None:
    seen = case.put(b"file", b"first")
    case.store.remove(b"file", seen)

    with pytest.raises(Conflict):
        case.put(b"file", b"second", seen)

    assert case.tree() == {}


@pytest.mark.parametrize("extra", [-1, 1])
@pytest.mark.parametrize("replaces", [False, True])
@pytest.mark.parametrize("size", [5, 3 * PART])
def test_a_source_that_ends_early_or_goes_on_is_not_stored(
    case: Case, extra: int, replaces: bool, size: int
) -> None:
    seen = case.put(b"file", b"before") if replaces else None
    sound = case.content(b"s" * size)
    content = Content(FaultyReader(sound.reader, extra), sound.entry)

    with pytest.raises(Changed):
        case.store.put(b"file", content, content.entry, seen)

    assert {path: case.data(path) for path in case.tree()} == ({b"file": b"before"} if replaces else {})


def test_a_source_that_is_rewritten_meanwhile_is_not_stored(case: Case) -> None:
    case.source.seed(b"moving", b"12345", modified=7)
    reader = case.source.open(b"moving")
    content = Content(reader, reader.entry())
    case.source.describe(b"moving", reader.entry(), reader.entry())

    with pytest.raises(Changed):
        case.store.put(b"file", content, content.entry, None)

    assert case.tree() == {}


def test_an_empty_source_that_goes_on_for_ever_is_not_stored(case: Case) -> None:
    sound = case.content(b"")
    content = Content(FaultyReader(sound.reader, 1 << 40), sound.entry)

    with pytest.raises(Changed):
        case.store.put(b"file", content, content.entry, None)

    assert case.tree() == {}


def test_reading_goes_on_at_any_offset(case: Case) -> None:
    case.put(b"file", b"0123456789")
    reader = case.store.open(b"file")

    assert bytes(reader.read_at(7, 2)) == b"78"
    assert bytes(reader.read_at(7, 100)) == b"789"
    assert len(reader.read_at(10, 1)) == 0
    assert len(reader.read_at(1000, 1)) == 0
    reader.close()


def test_a_file_replaced_while_it_is_read_is_noticed(case: Case) -> None:
    seen = case.put(b"file", b"first")
    reader = case.store.open(b"file")
    content = Content(reader, seen)
    case.put(b"file", b"other", seen)

    with pytest.raises(Changed):
        read_whole(content)
    reader.close()


def test_removing_needs_the_version_that_was_seen(case: Case) -> None:
    seen = case.put(b"file", b"first")
    now = case.put(b"file", b"other", seen)

    with pytest.raises(Conflict):
        case.store.remove(b"file", seen)
    assert case.data(b"file") == b"other"

    case.store.remove(b"file", now)
    assert case.tree() == {}
    with pytest.raises(NotFound):
        case.store.remove(b"file", now)


def test_the_word_for_a_version_is_enough_to_remove_it(case: Case) -> None:
    seen = case.put(b"file", b"data")
    named = seen._replace(etag=seen.tag, size=0, modified=None, changed=None, inode=0)

    case.store.remove(b"file", named)

    assert case.tree() == {}


def test_metadata_alone_is_changed(case: Case) -> None:
    seen = case.put(b"file", b"data")
    store = case.store
    assert isinstance(store, Describes)
    like = seen._replace(mode=0o600, uid=12, gid=34, modified=1_500_000_000_000_000_001)

    store.describe(b"file", like, seen)

    entry = case.seen(b"file")
    assert (entry.mode, entry.uid, entry.gid) == case.kept(0o600, 12, 34)
    assert entry.modified == like.modified
    assert case.data(b"file") == b"data"
    with pytest.raises(Conflict):
        store.describe(b"file", like._replace(mode=0o644), seen)
    assert case.seen(b"file") == entry


def test_metadata_of_nothing_is_not_changed(case: Case) -> None:
    seen = case.put(b"file", b"data")
    case.store.remove(b"file", seen)
    store = case.store
    assert isinstance(store, Describes)

    with pytest.raises((NotFound, Conflict)):
        store.describe(b"file", seen, seen)
    with pytest.raises(NotFound):
        store.describe(b"file", seen, None)

    assert case.tree() == {}


def test_the_clock_is_not_ahead_of_later_writes(case: Case) -> None:
    root = case.store.probe()

    entry = case.put(b"file", b"")

    assert entry.changed is not None
    assert entry.changed >= root.clock


def test_the_same_place_has_the_same_identity(case: Case) -> None:
    assert case.store.probe().identity == case.open().probe().identity
