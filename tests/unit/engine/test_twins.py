"""A file and a folder of one name, as a container may hold them: the walk never goes back behind its cursor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, cast

import pytest

from wherry.engine import level as levels
from wherry.engine.walk import Walk
from wherry.model import names
from wherry.model.entry import Entry, Kind
from wherry.model.errors import NotFound
from wherry.model.ledger import Span
from wherry.model.plan import Holds
from wherry.stores.port import Store, Traits

Tree = dict[bytes, list[tuple[bytes, Kind]]]
FILE, FOLDER = Kind.FILE, Kind.FOLDER
TWINS = {b"": [(b"a", FOLDER), (b"a", FILE), (b"b", FILE)], b"a": [(b"x", FILE)]}
PLAIN = {b"": [(b"a", FOLDER), (b"b", FILE)], b"a": [(b"x", FILE)]}
ALONE = {b"": [(b"a", FILE), (b"b", FILE)]}


class _Listed:
    """As much of a store as a walk asks for."""

    def __init__(self, tree: dict[bytes, list[tuple[bytes, Kind]]]) -> None:
        self._tree = tree
        self.traits = Traits(Holds(names.NameRules()), order="bytes", folders="markers")

    def list(self, folder: bytes) -> Iterable[Entry]:
        if folder not in self._tree:
            raise NotFound("no such folder")
        return [Entry(name, kind) for name, kind in self._tree[folder]]


class Seen(NamedTuple):
    """A pair as it was walked, and whether a cursor may stand after it."""

    path: bytes
    source: Entry | None
    target: Entry | None
    finished: bool
    may_stop: bool


def _walked(walk: Walk) -> list[Seen]:
    """All pairs, each in a stretch of its own."""
    walk.begin()
    found = []
    while (stretch := walk.next(1)) is not None:
        ((source, target),) = stretch.pairs
        entry = source or target
        assert entry is not None
        path = names.join(stretch.folder, entry.name)
        found.append(Seen(path, source, target, stretch.finished, not walk.amid))
        sides = [one is not None and one.kind is FOLDER for one in (source, target)]
        if any(sides):
            walk.enter(path, in_source=sides[0], in_target=sides[1])
    return found


def _walk(source: Tree, target: Tree, cursor: bytes | None = None) -> Walk:
    return Walk(
        cast("Store", _Listed(source)), cast("Store", _Listed(target)), Span(cursor=cursor), lambda: None
    )


@pytest.fixture(autouse=True, params=[2, 1000])
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of what is read at once falls between twins, or it does not."""
    monkeypatch.setattr(levels, "BLOCK", request.param)


def _told(found: list[Seen]) -> list[tuple[bytes, str, str]]:
    def kind(entry: Entry | None) -> str:
        return entry.kind.value if entry else ""

    return [(seen.path, kind(seen.source), kind(seen.target)) for seen in found]


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (TWINS, TWINS, [(b"a", "F", "F"), (b"a", "D", "D"), (b"a/x", "F", "F"), (b"b", "F", "F")]),
        (TWINS, ALONE, [(b"a", "F", "F"), (b"a", "D", ""), (b"a/x", "F", ""), (b"b", "F", "F")]),
        (PLAIN, TWINS, [(b"a", "", "F"), (b"a", "D", "D"), (b"a/x", "F", "F"), (b"b", "F", "F")]),
        (ALONE, TWINS, [(b"a", "F", "F"), (b"a", "", "D"), (b"a/x", "", "F"), (b"b", "F", "F")]),
        ({b"": []}, TWINS, [(b"a", "", "F"), (b"a", "", "D"), (b"a/x", "", "F"), (b"b", "", "F")]),
    ],
)
def test_each_is_paired_with_its_kind_and_the_folder_comes_last(source, target, expected):
    found = _walked(_walk(source, target))
    assert _told(found) == expected
    assert [seen.path for seen in found if seen.may_stop] == [b"a", b"a/x", b"b"]


@pytest.mark.parametrize("cursor", [b"a", b"a/x", b"b"])
def test_a_successor_finds_the_rest_and_nothing_twice(cursor):
    whole = _told(_walked(_walk(PLAIN, TWINS)))
    found = _walked(_walk(PLAIN, TWINS, cursor))
    fresh = _told([seen for seen in found if not seen.finished])
    assert fresh == [told for told in whole if names.parts(told[0]) > names.parts(cursor)]
