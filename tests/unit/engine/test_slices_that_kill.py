"""Items of the later phases that end whoever works on them fail alone, and the rest is done."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from wherry.engine.batch import Batch
from wherry.engine.deeds import Deed
from wherry.engine.ledger import LocalLedger
from wherry.engine.pool import Pool
from wherry.engine.processes import WorkerDied
from wherry.engine.worker import perform
from wherry.model.entry import Kind
from wherry.model.options import CopyMode, JobOptions
from wherry.model.plan import Do
from wherry.model.wire import Place, RunOrder
from wherry.stores.memory import MemoryStore
from wherry.stores.port import StoreSpec

_serial = itertools.count()


def _run(
    places: tuple[str, str], poison: Callable[[Deed], bool], monkeypatch: pytest.MonkeyPatch
) -> dict[str, int]:
    options = JobOptions(mode=CopyMode.MIRROR)
    order = RunOrder("run", Place("memory", places[0]), Place("memory", places[1]), options)
    ledger, pool = LocalLedger(), Pool(0)
    ledger.open(order)
    near, far = (StoreSpec("memory", place) for place in places)
    real = pool.submit

    def submit(batch: Batch):
        if any(poison(deed) for deed in batch.deeds):
            raise WorkerDied("poison")
        return real(batch)

    monkeypatch.setattr(pool, "submit", submit)
    for _ in range(300):
        grant = ledger.lease(order)
        if grant is None:
            return ledger.counters().items
        lease = pool.lease()
        lease.forever()
        try:
            perform(grant, ledger, near, far, pool, lease)
        except WorkerDied:
            ledger.release(grant.token, lost=True)
        finally:
            lease.close()
    raise AssertionError("it goes on for ever")


@pytest.fixture
def places() -> tuple[str, str]:
    number = next(_serial)
    made = f"killing-source-{number}", f"killing-target-{number}"
    source, target = MemoryStore(made[0]), MemoryStore(made[1])
    for name in (b"a", b"b", b"c"):
        source.seed(b"d/" + name, name)
        source.make_link(b"d/%s-too" % name, b"d/" + name, None)
        source.seed(b"f-" + name, kind=Kind.FOLDER)
        target.seed(b"gone-" + name, b"1")
    return made


@pytest.mark.parametrize(
    ("do", "path", "failed"),
    [(Do.LINK_GROUP, b"d/b", 2), (Do.DELETE, b"gone-b", 1), (Do.FINISH, b"f-b", 1)],
)
def test_it_fails_alone(places, do, path, failed, monkeypatch):
    counts = _run(places, lambda deed: deed.do is do and path in (deed.path, *deed.paths), monkeypatch)
    items = len(MemoryStore(places[0]).paths())
    deleted = 3 - (do is Do.DELETE)
    assert counts["Failed"] == failed
    assert counts["Deleted"] == deleted
    assert counts["Scanned"] == counts["Failed"] + counts["Transferred"] == items + (do is Do.DELETE)
