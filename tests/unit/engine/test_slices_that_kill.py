"""Items of the later phases that end whoever works on them fail alone, and the rest is done."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import pytest

from tests.unit.engine.stage import LazyTeam, fresh_places, order_of, work_off
from wherry.engine import deeds, worker
from wherry.engine.deeds import Deed
from wherry.engine.ledger import LocalLedger
from wherry.engine.pool import Pool
from wherry.engine.processes import WorkerDied
from wherry.engine.team import Team
from wherry.model.entry import Kind
from wherry.model.options import CopyMode, JobOptions
from wherry.model.plan import Do
from wherry.stores.memory import MemoryStore


def _run(
    places: tuple[str, str], poison: Callable[[Deed], bool], monkeypatch: pytest.MonkeyPatch
) -> dict[str, int]:
    order = order_of(places, JobOptions(mode=CopyMode.MIRROR))
    real = deeds.do

    def do(both, deed):
        if poison(deed):
            raise WorkerDied("poison")
        return real(both, deed)

    monkeypatch.setattr(deeds, "do", do)
    with closing(LocalLedger()) as ledger, closing(Pool(0)) as pool:
        ledger.open(order)
        work_off(order, ledger, pool, lost=lambda _: True, leases=300)
        return ledger.counters().items


@pytest.fixture
def places() -> tuple[str, str]:
    made = fresh_places()
    source, target = MemoryStore(made[0]), MemoryStore(made[1])
    for name in (b"a", b"b", b"c"):
        source.seed(b"d/" + name, name)
        source.make_link(b"d/%s-too" % name, b"d/" + name, None)
        source.seed(b"f-" + name, kind=Kind.FOLDER)
        target.seed(b"gone-" + name, b"1")
    return made


@pytest.mark.parametrize("team", [Team, LazyTeam])
@pytest.mark.parametrize(
    ("do", "path", "failed"),
    [(Do.LINK_GROUP, b"d/b", 2), (Do.DELETE, b"gone-b", 1), (Do.FINISH, b"f-b", 1)],
)
def test_it_fails_alone(places, team, do, path, failed, monkeypatch):
    monkeypatch.setattr(worker, "Team", team)
    counts = _run(places, lambda deed: deed.do is do and path in (deed.path, *deed.paths), monkeypatch)
    items = len(MemoryStore(places[0]).paths())
    deleted = 3 - (do is Do.DELETE)
    assert counts["Failed"] == failed
    assert counts["Deleted"] == deleted
    assert counts["Scanned"] == counts["Failed"] + counts["Transferred"] == items + (do is Do.DELETE)
