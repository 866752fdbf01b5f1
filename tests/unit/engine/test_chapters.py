"""What waits behind a large file for its commit stays little, whatever it is."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from typing import Any

import pytest

from tests.unit.engine.stage import LazyTeam, fresh_places, order_of
from wherry.engine import chapters
from wherry.engine.chapter import Chapter
from wherry.engine.chapters import Chapters, Desk
from wherry.engine.deeds import Both, Deed
from wherry.engine.lease import LeaseClocks
from wherry.engine.ledger import LocalLedger
from wherry.model.entry import Alike, Entry, Kind
from wherry.model.ledger import Phase, Span, WorkItem
from wherry.model.options import JobOptions
from wherry.model.plan import Attempt, Do, Judge
from wherry.stores.memory import MemoryStore

LARGE = Entry(b"large", Kind.FILE, 1 << 40)
SMALL = Entry(b"small", Kind.FILE, 1)


class _Waited(LazyTeam):
    """A team that tells how much waits when somebody has to wait for its work."""

    waited = False

    def do(self, *_: Any) -> Future[list[Any]]:
        team = self

        class Later(Future[list[Any]]):
            def result(self, timeout: float | None = None) -> list[Any]:
                if not self.done():
                    team.waited = True
                    self.set_result([])
                return super().result(0)

        return Later()


@pytest.fixture
def team() -> _Waited:
    traits = MemoryStore().traits
    return _Waited(traits, traits)


@pytest.fixture
def open_chapters(team: _Waited) -> Iterator[Chapters]:
    near, far = (MemoryStore(place) for place in fresh_places())
    order, clocks = order_of(fresh_places()), LeaseClocks()
    clock = clocks.take()
    clock.forever()
    clocks.close()
    judge = Judge(JobOptions(), far.traits.holds, Attempt())
    both = Both(near, far, judge, clock.fence, clock.note, team)
    with closing(LocalLedger()) as ledger:
        ledger.open(order)
        grant = ledger.lease(order)
        assert grant is not None
        made = Chapters(Desk(grant, ledger, both, clock), Span())
        made.close(_of_a_large_file())
        yield made


def _of_a_large_file() -> Chapter:
    chapter = Chapter(end=b"large", items=1)
    chapter.hand_out(Deed(Do.TRANSFER, b"large", LARGE), LARGE.size)
    return chapter


def test_equal_files_behind_a_large_one_are_not_gathered_for_ever(open_chapters, team, monkeypatch):
    monkeypatch.setattr(chapters, "COMMIT_ITEMS", 1000)
    closed = 0
    while not team.waited and closed < 100:
        chapter = Chapter(end=b"small", items=100)
        chapter.settle(b"", [Alike(SMALL.name, SMALL.size)] * 100)
        open_chapters.close(chapter)
        closed += 1
    assert closed == 20


def test_what_is_put_off_behind_a_large_file_still_fits_into_a_commit(open_chapters, team, monkeypatch):
    monkeypatch.setattr(chapters, "COMMIT_BYTES", 10_000)
    closed = 0
    while not team.waited and closed < 100:
        chapter = Chapter(end=b"small", items=1)
        path = b"%01000d" % closed
        if closed % 2:
            chapter.transferred(path, [SMALL])
        else:
            chapter.put_off(WorkItem(Phase.LATE, path, path))
        open_chapters.close(chapter)
        closed += 1
    assert closed == 6
