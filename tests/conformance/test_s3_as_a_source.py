"""S3 as a source: listings are bare, so each item is looked at before anything is planned."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.buckets import BucketServer
from tests.conformance.conftest import PART, QUICK, Case
from tests.conformance.s3_wire import bad_wire, reply
from tests.faulty_wire import Trouble
from wherry.model.entry import Entry, Kind
from wherry.model.errors import NotFound
from wherry.stores.port import HasAttributes, HoldsLinks, StoreSpec
from wherry.stores.registry import open_source, open_store
from wherry.stores.s3.store import S3Store
from wherry.stores.wrap import looked
from wherry.stores.wrap.looked import LookedStore


@pytest.fixture
def spec(bucket_server: BucketServer) -> StoreSpec:
    return bucket_server.spec(bucket_server.bucket("source"), b"below")


@pytest.fixture
def case(spec: StoreSpec) -> Iterator[Case]:
    made = Case(lambda fence: S3Store(spec, fence, QUICK, part=PART, page=5))
    yield made
    for store in made.opened:
        store.close()


@pytest.fixture
def source(case: Case, spec: StoreSpec) -> Iterator[LookedStore]:
    store = open_source(spec)
    assert isinstance(store, LookedStore)
    yield store
    store.close()


def store_of(case: Case) -> S3Store:
    assert isinstance(case.store, S3Store)
    return case.store


def test_a_listing_tells_what_a_look_tells(case: Case, source: LookedStore) -> None:
    store = store_of(case)
    for name in (b"file", b"folder/x", b"both", b"both/x", b"\xc3\xa9"):
        case.put(name, name)
    link = Entry(b"", Kind.LINK, modified=3, mode=0o777, uid=1, gid=2)
    store.make_symlink(b"link", b"file", link, None)
    store.describe(b"folder", Entry(b"", Kind.FOLDER, modified=5, mode=0o750), None, ((b"user.a", b"1"),))

    listed = list(source.list(b""))

    assert not source.traits.bare
    assert sorted((one.name, one.kind) for one in listed) == [
        (b"both", Kind.FOLDER), (b"both", Kind.FILE), (b"file", Kind.FILE), (b"folder", Kind.FOLDER),
        (b"link", Kind.LINK), (b"\xc3\xa9", Kind.FILE),
    ]  # fmt: skip
    for entry in listed:
        if entry.name != b"both":
            assert entry == source.stat(entry.name)
    assert isinstance(source, HasAttributes)
    assert isinstance(source, HoldsLinks)
    assert source.read_link(b"link") == b"file"
    assert source.attributes(b"folder") == ((b"user.a", b"1"),)


def test_a_folder_that_is_not_there_is_told_at_once(source: LookedStore) -> None:
    with pytest.raises(NotFound):
        source.list(b"nothing")


def test_many_items_are_looked_at_a_few_at_a_time(
    case: Case, source: LookedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looked, "_AHEAD", 4)
    for number in range(20):
        case.put(b"%02d" % number, b"")
    asked: list[bytes] = []
    told = source._inner.told

    def count(folder: bytes, entry: Entry) -> Entry | None:
        asked.append(entry.name)
        return told(folder, entry)

    monkeypatch.setattr(source._inner, "told", count)
    listing = iter(source.list(b""))

    assert next(listing).name == b"00"
    assert len(asked) <= 4
    assert [entry.name for entry in listing] == [b"%02d" % number for number in range(1, 20)]
    assert threading.active_count() > 1


def test_what_goes_meanwhile_is_gone_and_what_may_not_be_looked_at_stays(
    bucket_server: BucketServer, spec: StoreSpec
) -> None:
    with bad_wire(bucket_server, spec) as (case, wire):
        for name in (b"fine", b"gone", b"locked"):
            case.put(name, b"data")
        wire.troubles += [
            Trouble(r"^HEAD \S*/gone ", "reply", times=99, reply=reply("404 Not Found")),
            Trouble(r"^HEAD \S*/locked ", "reply", times=99, reply=reply("403 Forbidden")),
        ]
        source = LookedStore(store_of(case))

        listed = {entry.name: entry.modified for entry in source.list(b"")}

        assert set(listed) == {b"fine", b"locked"}
        assert listed[b"fine"] is not None
        assert listed[b"locked"] is None
        source.close()


def test_other_stores_need_no_look() -> None:
    spec = StoreSpec("memory", "no-look")

    assert type(open_source(spec)) is type(open_store(spec))
