"""What both sides tell at a glance: no entries of what is alike, and nothing else changes in the walk."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Sequence
from typing import cast

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.engine.test_walk import NamedTree
from tests.unit.model.trees import TREES
from wherry.engine.walk import Walk
from wherry.model import names
from wherry.model.entry import Entry, Glance, Kind
from wherry.model.ledger import Span
from wherry.model.options import JobOptions
from wherry.model.plan import Attempt, Holds, Judge
from wherry.stores.port import Store


class _GlancingTree(NamedTree):
    """One that tells many items at a glance; files of `touched` have another size, those of `gone` are no more."""

    def __init__(self, paths: Iterable[bytes], touched: set[bytes], gone: set[bytes]) -> None:
        super().__init__(paths, "names")
        self.touched, self.gone = touched, gone

    def look(self, folder: bytes, found: Sequence[bytes]) -> list[Entry | None]:
        return [
            None if names.join(folder, name) in self.gone else self._entry(folder, name) for name in found
        ]

    def glance(self, folder: bytes, found: Sequence[bytes]) -> Glance:
        paths = [names.join(folder, name) for name in found]
        told = [
            (stat.S_IFDIR if path in self.inside else stat.S_IFREG, 1, 0, 0, int(path in self.touched))
            for path in paths
        ]
        return Glance(told, [7] * len(told), [9] * len(told))


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(TREES, st.data(), st.integers(1, 4), st.booleans())
def test_what_is_alike_at_a_glance_is_told_without_entries(tree, data, most, mirror):
    """Each file once, alike or in a pair; the others as without a glance, but for what is gone since."""
    some = st.sets(st.sampled_from(tree), max_size=3) if tree else st.just(set())
    touched, gone = data.draw(some), data.draw(some)
    gone = {path for path in gone if path in touched and not any(p.startswith(path + b"/") for p in tree)}
    stores = _GlancingTree(tree, set(), gone), _GlancingTree(tree, touched, gone)
    source, target = (cast("Store", one) for one in stores)
    judge = Judge(JobOptions(), Holds(names.NameRules()), Attempt())
    walk = Walk(source, target, Span(), lambda: None, all_of_target=mirror, judge=judge)
    walk.begin()
    alike, paired = [], []
    while (stretch := walk.next(most)) is not None:
        here = [names.join(stretch.folder, one.name) for one in stretch.alike]
        pairs = [
            (names.join(stretch.folder, source.name), source.kind) for source, _ in stretch.pairs if source
        ]
        assert max([*here, *(path for path, _ in pairs)]) == names.join(stretch.folder, stretch.last)
        assert len(here) + len(pairs) <= most
        assert Kind.FOLDER not in [kind for _, kind in pairs[:-1]]
        alike += here
        paired += pairs
        if pairs and pairs[-1][1] is Kind.FOLDER:
            assert pairs[-1][0] == names.join(stretch.folder, stretch.last)
            walk.enter(pairs[-1][0], in_source=True, in_target=True)

    folders = [path for path in tree if path in stores[0].inside]
    assert sorted(alike) == sorted(path for path in tree if path not in touched and path not in folders)
    assert sorted(paired) == sorted(
        [(path, Kind.FOLDER) for path in folders]
        + [(path, Kind.FILE) for path in touched - gone if path not in folders]
    )
