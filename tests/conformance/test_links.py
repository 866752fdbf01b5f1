"""Symbolic and hard links, where a store holds them."""

from __future__ import annotations

import pytest

from tests.conformance.conftest import Case
from wherry.model.entry import Entry, Kind
from wherry.model.errors import Conflict, NotFound, StoreError, Unsupported
from wherry.stores.port import HoldsLinks

LIKE = Entry(b"", Kind.LINK, modified=1_300_000_000_000_000_003, mode=0o777, uid=5, gid=6)


@pytest.fixture
def links(case: Case) -> HoldsLinks:
    if not isinstance(case.store, HoldsLinks):
        holds = case.store.traits.holds
        assert (holds.symlinks, holds.hard_links) == (False, False)
        pytest.skip("it holds no links")
    return case.store


@pytest.fixture
def hard(case: Case, links: HoldsLinks) -> HoldsLinks:
    if not case.store.traits.holds.hard_links:
        with pytest.raises(Unsupported):
            links.make_link(b"other", b"file", None)
        pytest.skip("it holds no hard links")
    return links


@pytest.mark.parametrize("text", [b"file", b"../out", b"/etc/passwd", b"nowhere", b"with\nline", b"\xff"])
def test_a_symbolic_link_says_what_it_said(case: Case, links: HoldsLinks, text: bytes) -> None:
    links.make_symlink(b"link", text, LIKE, None)

    entry = case.seen(b"link")
    assert entry.kind is Kind.LINK
    assert (entry.uid, entry.gid) == case.kept(0, 5, 6)[1:]
    assert entry.modified == LIKE.modified
    assert links.read_link(b"link") == text
    with pytest.raises(StoreError):
        case.store.open(b"link")


def test_a_symbolic_link_replaces_what_was_seen_and_nothing_else(case: Case, links: HoldsLinks) -> None:
    seen = case.put(b"name", b"data")
    with pytest.raises(Conflict):
        links.make_symlink(b"name", b"text", LIKE, None)

    links.make_symlink(b"name", b"text", LIKE, seen)

    assert links.read_link(b"name") == b"text"
    with pytest.raises(Conflict):
        links.make_symlink(b"name", b"other", LIKE, seen)
    assert case.tree() == {b"name": Kind.LINK}


def test_a_link_is_not_read_from_a_file(case: Case, links: HoldsLinks) -> None:
    case.put(b"file", b"")

    with pytest.raises(StoreError):
        links.read_link(b"file")
    with pytest.raises(NotFound):
        links.read_link(b"nothing")


def test_hard_links_are_one_file(case: Case, hard: HoldsLinks) -> None:
    case.put(b"one/file", b"data")
    case.put(b"two/x", b"")

    hard.make_link(b"two/same", b"one/file", None)

    first, second = case.seen(b"one/file"), case.seen(b"two/same")
    assert (first.device, first.inode, first.links) == (second.device, second.inode, 2)
    assert second.links == 2
    assert case.data(b"two/same") == b"data"


def test_a_hard_link_replaces_what_was_seen_and_nothing_else(case: Case, hard: HoldsLinks) -> None:
    case.put(b"file", b"data")
    seen = case.put(b"name", b"other")
    with pytest.raises(Conflict):
        hard.make_link(b"name", b"file", None)

    hard.make_link(b"name", b"file", seen)

    assert case.data(b"name") == b"data"
    hard.make_link(b"name", b"file", case.seen(b"name"))
    assert case.tree() == {b"file": Kind.FILE, b"name": Kind.FILE}
    with pytest.raises(Conflict):
        hard.make_link(b"name", b"file", seen)


def test_all_names_of_a_file_can_be_removed_as_they_were_seen(case: Case, hard: HoldsLinks) -> None:
    case.put(b"one", b"data")
    hard.make_link(b"two", b"one", None)
    seen = {name: case.seen(name) for name in (b"one", b"two")}

    for name, entry in seen.items():
        case.store.remove(name, entry)

    assert case.tree() == {}


def test_a_link_is_removed_and_not_what_it_says(case: Case, links: HoldsLinks) -> None:
    case.put(b"file", b"data")
    links.make_symlink(b"link", b"file", LIKE, None)

    case.store.remove(b"link", case.seen(b"link"))

    assert case.tree() == {b"file": Kind.FILE}
