"""The store that fails on demand: it fails as told, remembers, and can no more than the one inside."""

from __future__ import annotations

import pytest

from wherry.model.entry import Entry, Kind
from wherry.model.errors import Changed, Unavailable
from wherry.stores.memory import MemoryStore
from wherry.stores.port import Content, HoldsLinks, MakesFolders, Store, Syncs, TakesParts
from wherry.stores.wrap.fault import Call, Fault, FaultStore

LIKE = Entry(b"", Kind.FILE, modified=1)


def content(data: bytes = b"data") -> Content:
    source = MemoryStore()
    source.seed(b"s", data)
    reader = source.open(b"s")
    return Content(reader, reader.entry())


def test_it_fails_before_or_after_the_effect() -> None:
    lost = Unavailable("lost")
    store = FaultStore(
        MemoryStore(), Fault("put", "a*", error=lost), Fault("put", "b", error=lost, after=True)
    )

    for path in (b"a1", b"b"):
        with pytest.raises(Unavailable):
            store.put(path, content(), LIKE, None)

    assert [entry.name for entry in store.list(b"")] == [b"b"]
    store.put(b"a1", content(), LIKE, None)
    assert store.count("put") == {b"b": 1, b"a1": 1}
    assert store.calls[0] == Call("put", b"a1", done=False)


def test_it_fails_at_the_call_that_was_named() -> None:
    store = FaultStore(MemoryStore(), Fault("stat", nth=2, times=2, error=Unavailable("x")))

    failures = []
    for number in range(5):
        try:
            store.stat(b"x")
        except Unavailable:
            failures.append(number)

    assert failures == [1, 2]


@pytest.mark.parametrize("extra", [-1, 1, 1 << 30])
def test_its_files_seem_longer_or_shorter(extra: int) -> None:
    inner = MemoryStore()
    entry = inner.seed(b"f", b"12345")
    reader = FaultStore(inner, Fault("open", extra=extra)).open(b"f")
    whole = Content(reader, entry)

    def read() -> None:
        whole.read(0, 5)
        whole.check()

    with pytest.raises(Changed):
        read()


def test_something_else_may_happen_at_that_moment() -> None:
    inner = MemoryStore()
    inner.seed(b"f", b"before")

    def rewrite(path: bytes) -> None:
        inner.seed(path, b"after")

    store = FaultStore(inner, Fault("open", act=rewrite))

    assert bytes(store.open(b"f").read_at(0, 9)) == b"after"


@pytest.mark.parametrize("capability", [MakesFolders, HoldsLinks, TakesParts, Syncs])
def test_it_can_what_the_one_inside_can(capability: type) -> None:
    inner = MemoryStore()
    store: Store = FaultStore(inner)

    assert isinstance(store, capability) == isinstance(inner, capability)


def test_capabilities_fail_too() -> None:
    store = FaultStore(MemoryStore(), Fault("make_folder", error=Unavailable("x")))
    assert isinstance(store, MakesFolders)

    with pytest.raises(Unavailable):
        store.make_folder(b"folder")
    store.make_folder(b"folder")

    assert store.stat(b"folder") is not None


def test_a_body_or_a_listing_breaks_off_in_the_middle() -> None:
    lost = Unavailable("reset")
    inner = MemoryStore()
    for path in (b"a", b"b", b"c", b"d"):
        inner.seed(path)
    store = FaultStore(inner, Fault("put", error=lost, halfway=True), Fault("list", error=lost, halfway=True))
    source = MemoryStore()
    source.seed(b"s", b"12345678")
    read = FaultStore(source).open(b"s")
    whole = Content(read, read.entry())

    with pytest.raises(Unavailable):
        store.put(b"e", whole, LIKE, None)
    assert inner.stat(b"e") is None
    listing = iter(store.list(b""))
    assert [next(listing).name, next(listing).name] == [b"a", b"b"]
    with pytest.raises(Unavailable):
        next(listing)


def test_bytes_are_damaged_once_on_their_way() -> None:
    inner = MemoryStore()
    entry = inner.seed(b"f", b"12345")
    reader = FaultStore(inner, Fault("open", damage=2)).open(b"f")
    assert [bytes(reader.read_at(0, 5)), bytes(reader.read_at(0, 5))] == [b"12245", b"12345"]

    store = FaultStore(inner, Fault("put", damage=0), Fault("stage", damage=1))
    store.put(b"g", content(b"data"), LIKE, None)
    assert isinstance(store, TakesParts)
    store.stage(b"h", "1", b"data")
    store.publish(b"h", ["1"], LIKE, None)
    assert (inner.paths()[b"g"], inner.paths()[b"h"]) == (b"eata", b"d`ta")
    assert [call.method for call in store.written] == ["put", "stage", "publish"]
    assert entry.size == 5


def test_another_answer_than_the_true_one() -> None:
    inner = MemoryStore()
    inner.seed(b"f", b"12345")
    store = FaultStore(inner, Fault("stat", change=lambda entry: entry._replace(etag="other")))

    seen = [store.stat(b"f"), store.stat(b"f")]

    assert [entry.etag == "other" for entry in seen if entry] == [True, False]
