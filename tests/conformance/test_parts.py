"""Large files in parts, where a store takes them: staged, found again, published."""

from __future__ import annotations

import pytest

from tests.conformance.conftest import PART, Case
from wherry.model.entry import Entry, Kind
from wherry.model.errors import Conflict, StoreError
from wherry.stores.port import Describes, MakesFolders, TakesParts, part_ids, part_size

DATA = bytes(range(200))


@pytest.fixture
def parts(case: Case) -> TakesParts:
    if not case.store.traits.put_limit:
        pytest.skip("it takes files whole")
    assert isinstance(case.store, TakesParts)
    return case.store


def pieces(case: Case) -> tuple[Entry, dict[str, bytes]]:
    entry = case.content(DATA).entry
    size = part_size(len(DATA), case.store.traits)
    assert size == PART
    ids = part_ids(b"large", entry, size)
    return entry, {part: DATA[at * size : (at + 1) * size] for at, part in enumerate(ids)}


def test_parts_are_invisible_until_they_are_published(case: Case, parts: TakesParts) -> None:
    entry, all_parts = pieces(case)

    for part, data in all_parts.items():
        parts.stage(b"large", part, data)
    assert case.tree() == {}
    assert parts.staged(b"large") == {part: len(data) for part, data in all_parts.items()}

    parts.publish(b"large", all_parts, entry, None)

    assert case.data(b"large") == DATA
    assert case.seen(b"large").modified == entry.modified
    assert parts.staged(b"large") == {}


def test_another_attempt_goes_on_with_what_is_there(case: Case, parts: TakesParts) -> None:
    entry, all_parts = pieces(case)
    half = dict(list(all_parts.items())[: len(all_parts) // 2])
    for part, data in half.items():
        parts.stage(b"large", part, data)

    again = case.open()
    assert isinstance(again, TakesParts)
    there = again.staged(b"large")
    assert set(there) == set(half)
    for part, data in all_parts.items():
        if there.get(part) != len(data):
            again.stage(b"large", part, data)
    again.publish(b"large", all_parts, entry, None)

    assert case.data(b"large") == DATA


def test_a_part_sent_twice_is_one_part(case: Case, parts: TakesParts) -> None:
    entry, all_parts = pieces(case)
    for _ in range(2):
        for part, data in all_parts.items():
            parts.stage(b"large", part, data)

    parts.publish(b"large", all_parts, entry, None)

    assert case.data(b"large") == DATA


def test_nothing_is_published_when_a_part_is_missing(case: Case, parts: TakesParts) -> None:
    entry, all_parts = pieces(case)
    ids = list(all_parts)
    for part in ids[1:]:
        parts.stage(b"large", part, all_parts[part])

    with pytest.raises(StoreError):
        parts.publish(b"large", ids, entry, None)

    assert case.tree() == {}


def test_publishing_names_what_it_expects(case: Case, parts: TakesParts) -> None:
    seen = case.put(b"large", b"before")
    entry, all_parts = pieces(case)
    for part, data in all_parts.items():
        parts.stage(b"large", part, data)

    with pytest.raises(Conflict):
        parts.publish(b"large", all_parts, entry, None)
    assert case.data(b"large") == b"before"

    parts.publish(b"large", all_parts, entry, seen)
    assert case.data(b"large") == DATA


def test_another_version_shares_no_part(case: Case, parts: TakesParts) -> None:
    entry, all_parts = pieces(case)

    assert not set(all_parts) & set(part_ids(b"large", entry._replace(modified=1), PART))
    assert not set(all_parts) & set(part_ids(b"other", entry, PART))
    assert len({len(part) for part in all_parts}) == 1


@pytest.mark.parametrize("data", [b"", b"small", DATA])
def test_parts_of_a_version_that_was_given_up_are_in_nobodys_way(
    case: Case, parts: TakesParts, data: bytes
) -> None:
    _, all_parts = pieces(case)
    for part, piece in list(all_parts.items())[1:]:
        parts.stage(b"large", part, piece)

    case.put(b"large", data)

    assert case.data(b"large") == data


def test_parts_of_a_file_that_was_given_up_leave_room_for_a_folder(case: Case, parts: TakesParts) -> None:
    entry, all_parts = pieces(case)
    for part, piece in all_parts.items():
        parts.stage(b"large", part, piece)

    if isinstance(parts, MakesFolders):
        parts.make_folder(b"large")
    assert isinstance(parts, Describes)
    like = entry._replace(kind=Kind.FOLDER, size=0, mode=0o750)
    parts.describe(b"large", like, case.store.stat(b"large"))

    assert case.tree() == {b"large": Kind.FOLDER}
    assert case.seen(b"large").mode == 0o750


def test_what_was_staged_for_nothing_is_nothing(parts: TakesParts) -> None:
    assert parts.staged(b"never") == {}
