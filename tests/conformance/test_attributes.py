"""Extended attributes and POSIX ACLs: where a store holds them, all that was there comes back, and nothing else."""

from __future__ import annotations

import struct

import pytest

from tests.conformance.conftest import PART, Case
from wherry.model.entry import Attributes, Entry, Kind
from wherry.model.errors import Changed, NotFound
from wherry.stores.port import Content, Describes, HasAttributes, MakesFolders, Store, TakesParts, part_ids

LIKE = Entry(b"", Kind.FOLDER, modified=1_400_000_000_000_000_009, mode=0o2750, uid=7, gid=8)


def acl(*rows: tuple[int, int, int]) -> bytes:
    """An ACL as the system keeps it: tag, rights, id."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *row) for row in rows)


NOBODY = 0xFFFFFFFF
# Owner rw-, user 1000 r-x, group r--, mask r-x, others ---: the group bits of the mode are the mask.
ACCESS = acl((1, 6, NOBODY), (2, 5, 1000), (4, 4, NOBODY), (16, 5, NOBODY), (32, 0, NOBODY))
DEFAULT = acl((1, 7, NOBODY), (2, 7, 1001), (4, 5, NOBODY), (16, 7, NOBODY), (32, 0, NOBODY))

SOME: Attributes = (
    (b"user.a note", b"text"),
    (b"user.empty", b""),
    (b"user.not text", bytes(range(256))),
    ("user.\u00e9\u6f22".encode(), "\u00e9".encode()),
)


@pytest.fixture
def own(case: Case) -> HasAttributes:
    if not case.store.traits.holds.attributes:
        pytest.skip("it holds no attributes")
    assert isinstance(case.store, HasAttributes)
    return case.store


def describe(
    store: Store, path: bytes, like: Entry, seen: Entry | None, attributes: Attributes | None
) -> None:
    assert isinstance(store, Describes)
    store.describe(path, like, seen, attributes)


def folder(case: Case, path: bytes) -> None:
    if isinstance(case.store, MakesFolders) and case.store.traits.folders == "real":
        case.store.make_folder(path)
    else:
        case.put(path + b"/something", b"")


@pytest.mark.parametrize("size", [0, 5, 3 * PART, None])
def test_attributes_of_a_file_come_back(case: Case, own: HasAttributes, size: int | None) -> None:
    size = case.large if size is None else size
    if case.store.traits.put_limit and size > 10 * PART:
        pytest.skip("parts of a few bytes make that a matter of minutes")
    content = case.content(b"x" * size, attributes=SOME)

    case.store.put(b"file", content, content.entry, None)

    assert own.attributes(b"file") == tuple(sorted(SOME))
    reader = case.store.open(b"file")
    assert Content(reader, reader.entry()).attributes() == tuple(sorted(SOME))
    reader.close()
    assert case.seen(b"file").modified == content.entry.modified
    assert case.data(b"file") == b"x" * size


def test_an_acl_and_the_mode_beside_it_come_back(case: Case, own: HasAttributes) -> None:
    attributes = ((b"system.posix_acl_access", ACCESS), (b"user.x", b"y"))
    content = case.content(b"data", mode=0o650, attributes=attributes)

    case.store.put(b"file", content, content.entry, None)

    assert own.attributes(b"file") == attributes
    assert (case.seen(b"file").mode or 0) & 0o777 == 0o650


def test_a_file_without_attributes_has_none(case: Case, own: HasAttributes) -> None:
    case.put(b"file", b"data")

    assert own.attributes(b"file") == ()
    with pytest.raises(NotFound):
        own.attributes(b"nothing")


def test_a_file_that_replaces_another_has_its_own_attributes_alone(case: Case, own: HasAttributes) -> None:
    first = case.content(b"1", attributes=SOME)
    case.store.put(b"file", first, first.entry, None)
    second = case.content(b"2", attributes=((b"user.other", b"1"),))

    case.store.put(b"file", second, second.entry, case.seen(b"file"))

    assert own.attributes(b"file") == ((b"user.other", b"1"),)


def test_describing_gives_all_attributes_or_leaves_them(case: Case, own: HasAttributes) -> None:
    content = case.content(b"data", mode=0o640, attributes=SOME)
    case.store.put(b"file", content, content.entry, None)
    wanted = ((b"user.a note", b"another"), (b"user.new", b"1"))

    describe(case.store, b"file", content.entry._replace(mode=0o600), case.seen(b"file"), None)
    assert own.attributes(b"file") == tuple(sorted(SOME))
    describe(case.store, b"file", content.entry._replace(mode=0o444), case.seen(b"file"), wanted)
    assert own.attributes(b"file") == wanted
    assert (case.seen(b"file").mode, case.seen(b"file").modified) == (0o444, content.entry.modified)
    # One that its owner may not write, with an ACL that goes.
    acl_too = ((b"system.posix_acl_access", ACCESS), (b"user.more", b"1"))
    describe(case.store, b"file", content.entry._replace(mode=0o650), case.seen(b"file"), acl_too)
    assert own.attributes(b"file") == acl_too
    describe(case.store, b"file", content.entry._replace(mode=0o640), case.seen(b"file"), ())
    assert own.attributes(b"file") == ()
    assert case.seen(b"file").mode == 0o640
    assert case.data(b"file") == b"data"


def test_folders_have_attributes_and_two_acls(case: Case, own: HasAttributes) -> None:
    folder(case, b"folder")
    wanted = (
        (b"system.posix_acl_access", ACCESS),
        (b"system.posix_acl_default", DEFAULT),
        (b"user.of a folder", b"1"),
    )

    describe(case.store, b"folder", LIKE, case.store.stat(b"folder"), wanted)

    assert own.attributes(b"folder") == wanted
    assert case.seen(b"folder").modified == LIKE.modified
    assert case.seen(b"folder").sealed
    describe(case.store, b"folder", LIKE, case.seen(b"folder"), ())
    assert own.attributes(b"folder") == ()


def test_what_a_folder_gives_to_new_items_does_not_stay_with_them(case: Case, own: HasAttributes) -> None:
    folder(case, b"folder")
    case.put(b"folder/before", b"1")
    wanted = ((b"system.posix_acl_default", DEFAULT),)
    describe(case.store, b"folder", LIKE, case.store.stat(b"folder"), wanted)

    content = case.content(b"2", mode=0o664)
    case.store.put(b"folder/after", content, content.entry, None)
    size = 5 * PART if case.store.traits.put_limit else 300_000
    large = case.content(b"2" * size, mode=0o664, attributes=((b"user.x", b"1"),))
    case.store.put(b"folder/large", large, large.entry, None)

    assert own.attributes(b"folder/after") == ()
    assert own.attributes(b"folder/large") == ((b"user.x", b"1"),)
    assert case.seen(b"folder/after").mode == case.seen(b"folder/large").mode == 0o664


def test_a_file_of_parts_has_its_attributes(case: Case, own: HasAttributes) -> None:
    if not isinstance(case.store, TakesParts) or not case.store.traits.put_limit:
        pytest.skip("it takes no parts")
    content = case.content(b"p" * 3 * PART, attributes=SOME)
    parts = part_ids(b"large", content.entry, PART)
    for index, part in enumerate(parts):
        case.store.stage(b"large", part, content.read(index * PART, PART))

    case.store.publish(b"large", parts, content.entry, None, SOME)

    assert own.attributes(b"large") == tuple(sorted(SOME))


def test_attributes_that_are_taken_away_meanwhile_are_a_change(case: Case, own: HasAttributes) -> None:
    content = case.content(b"data", attributes=SOME)
    path = b"source-%d" % (next(case.serial) - 1)
    case.source.describe(path, content.entry, content.entry, ())

    with pytest.raises(Changed):
        case.store.put(b"file", content, content.entry, None)

    assert case.tree() == {}
