"""Names and their order, as they are in the store and not as a library would like them."""

from __future__ import annotations

import pytest

from tests.conformance.conftest import Case
from wherry.model.entry import Kind
from wherry.model.errors import NotFound
from wherry.stores.port import ListsNames, MakesFolders

ORDER = [
    b"a", b"a-b", b"a.txt", b"a/x", b"A", b"\xc3\xa9", b"e\xcc\x81",
    "\uff5e".encode(), "\U0001f600".encode(), b"b", b"b0", b"b!",
]  # fmt: skip
AWKWARD = [
    b"blank in it", b" leading", b"trailing ", b"%2F", b"%00", b"100%", b"#hash", b"what?", b"a+b", b"a&b", b"a;b=c",
    b"a'b", b'a"b', b"<a>", b"back\\slash", b"~", b"-rf", b"CON", b"a:b", b"*", b"[x]", b"{y}", b"$(z)", b"|",
    b"dot.", b".hidden", b"..three", b"...", b"new\nline", b"tab\there", b"return\r", b"\x1b[31m", b"\x01",
    "\u202egnp".encode(), "a\u200db".encode(), "\U0001f469\u200d\U0001f680".encode(), b"not\xffutf8", b"\xed\xa0\x80",
    b"l" * 255, "\u00e9".encode() * 127, b".wherry-of-mine", b"LPT1", b"a::$DATA", b"`id`", b"a && b", b"=1+1",
    b"<script>alert(1)</script>", b"%0a%0d", b"a,b\tc", b"cut \xc3", b"\xf4\x90\x80\x80", b"\xc0\xaf", b"\xe2\x80\xae",
    "\u0130\u0131\u017f".encode(), "\u1e9e\u00df".encode(), "\ufb01".encode(), b"-", b"--help", b"a" * 254 + b".",
    b"\xef\xbf\xbe", b"\x7f",
]  # fmt: skip


def test_listings_hold_each_name_once_in_the_order_that_is_declared(case: Case) -> None:
    for path in ORDER:
        if path != b"a/x" or case.store.traits.folders == "markers":
            case.put(path, path)
    wanted = [name for name in ORDER if b"/" not in name]

    listed = [entry.name for entry in case.store.list(b"") if entry.name != b"a" or entry.kind is Kind.FILE]

    assert sorted(listed) == sorted(wanted)
    if case.store.traits.order == "bytes":
        assert listed == sorted(wanted)


def test_a_file_and_a_folder_of_one_name_are_two_entries(case: Case) -> None:
    if case.store.traits.folders == "real":
        pytest.skip("it cannot hold both")
    case.put(b"a", b"file")
    case.put(b"a/x", b"inside")

    kinds = [entry.kind for entry in case.store.list(b"") if entry.name == b"a"]

    if kinds == [Kind.FILE]:
        pytest.skip("this store shows the file only")
    assert sorted(kinds) == [Kind.FOLDER, Kind.FILE]


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_names_are_kept_or_known_to_be_impossible(case: Case, name: bytes) -> None:
    rules = case.store.traits.holds.names
    if rules.problem(name):
        assert rules.problem(b"folder/" + name + b"/file") == rules.problem(name)
        return

    case.put(name + b"/" + name, name)

    assert [path for path, kind in case.tree().items() if kind is Kind.FILE] == [name + b"/" + name]
    assert case.data(name + b"/" + name) == name
    case.store.remove(name + b"/" + name, case.seen(name + b"/" + name))
    assert case.store.stat(name + b"/" + name) is None


def test_names_that_no_target_of_this_kind_can_hold_are_known(case: Case) -> None:
    rules = case.store.traits.holds.names
    if rules.unit == "bytes":
        if rules.part_length:
            assert rules.problem(b"n" * 256) == "AZSM2023"
        return
    longest = rules.path_length

    assert rules.problem(b"n" * longest) is None
    assert rules.problem(b"n" * (longest + 1)) == "AZSM2024"
    assert rules.problem("\U0001f600".encode() * (longest // 2 + 1)) == "AZSM2024"
    assert rules.problem(b"/".join([b"x"] * (rules.levels + 1))) == "AZSM2025"
    assert rules.problem(b"ends in dot./file") == "AZSM2022"


def test_the_longest_path_is_kept(case: Case) -> None:
    rules = case.store.traits.holds.names
    most = rules.path_length or 5000
    path = b"/".join([b"p" * 200] * 40)[:most].rstrip(b"/")

    case.put(path, b"deep")

    assert case.data(path) == b"deep"


def test_a_listing_may_be_left_half_way(case: Case) -> None:
    for number in range(10):
        case.put(b"%03d" % number, b"")
    listing = iter(case.store.list(b""))
    first = next(listing)
    del listing

    assert first.name in {b"%03d" % number for number in range(10)}
    assert len(list(case.store.list(b""))) == 10


def test_two_listings_at_once(case: Case) -> None:
    for number in range(5):
        case.put(b"%d" % number, b"")

    pairs = list(zip(case.store.list(b""), case.store.list(b""), strict=True))

    assert all(one == other for one, other in pairs)


def test_many_entries_over_many_pages(case: Case) -> None:
    names = [b"file-%02d" % number for number in range(8)] + [
        b"folder-%02d/x" % number for number in range(8)
    ]
    for name in names:
        case.put(name, b"")

    listed = [entry.name for entry in case.store.list(b"")]

    assert sorted(listed) == sorted(name.partition(b"/")[0] for name in names)


@pytest.fixture
def names_of(case: Case) -> ListsNames:
    if not isinstance(case.store, ListsNames):
        pytest.skip("it lists no names apart from entries")
    return case.store


def test_names_and_looks_tell_what_a_listing_tells(case: Case, names_of: ListsNames) -> None:
    for path in (b"folder/b", b"folder/a", b"folder/in/x", b"folder/not\xffutf8", b"folder/.hidden"):
        case.put(path, path)

    found = list(names_of.names(b"folder"))

    assert sorted(found) == [b".hidden", b"a", b"b", b"in", b"not\xffutf8"]
    looked = names_of.look(b"folder", [*sorted(found), b"gone"])
    assert looked == [*sorted(case.store.list(b"folder"), key=lambda entry: entry.name), None]
    assert names_of.look(b"folder", []) == []


def test_a_folder_without_names_or_none_at_all(case: Case, names_of: ListsNames) -> None:
    assert list(names_of.names(b"")) == []
    assert names_of.look(b"", [b"x", b"y"]) == [None, None]
    case.put(b"file", b"")
    for path in (b"nothing", b"file", b"no/thing"):
        with pytest.raises(NotFound):
            names_of.names(path)


def test_a_folder_made_anew_is_looked_at_anew(case: Case, names_of: ListsNames) -> None:
    case.put(b"folder/one", b"1")
    assert list(names_of.names(b"folder")) == [b"one"]
    other = case.open()
    other.remove(b"folder/one", case.seen(b"folder/one"))
    if (left := other.stat(b"folder")) is not None:
        other.remove(b"folder", left)
    if isinstance(other, MakesFolders) and other.traits.folders == "real":
        other.make_folder(b"folder")
    content = case.content(b"2")
    other.put(b"folder/two", content, content.entry, None)

    (seen,) = names_of.look(b"folder", [b"two"])
    assert seen is not None
    assert seen == case.seen(b"folder/two")
    assert list(names_of.names(b"folder")) == [b"two"]
