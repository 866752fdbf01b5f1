"""Finished work in the order of the walk, and its commits.

Chapters are done in any order, by threads or on the short way; they are committed in the order of the walk, so that a
commit never passes what is not finished.  Used by `span` and `slices` for each lease.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import wait
from dataclasses import dataclass, field

from wherry.engine import deeds
from wherry.engine.chapter import CHAPTER_ITEMS, COMMIT_BYTES, FIRST_COMMIT_SECONDS, Chapter
from wherry.engine.deeds import Both, Deed
from wherry.engine.lease import Effort, LeaseClock, boot_time
from wherry.engine.ledger import Ledger
from wherry.engine.places import concerning, look
from wherry.engine.team import HEAVY, Team
from wherry.model import names
from wherry.model.errors import RunError
from wherry.model.ledger import Commit, Phase, Slice, Work, WorkItem, work_key
from wherry.model.options import JobOptions
from wherry.model.outcomes import Counters, Outcome, Row
from wherry.model.plan import Do
from wherry.model.wire import Grant, Progress, SegmentName
from wherry.stores.lane import Lane
from wherry.stores.port import Store, Syncs

COMMIT_ITEMS = 50_000
COMMIT_SECONDS = 30.0
_LOOK_SECONDS = 0.5
# How many files go the short way at once: a slow target takes its time for them.
_PARCEL = 64
_OPEN_CHAPTERS = 4


class Stopped(RunError):
    """Somebody asked to stop the run; what is committed stays."""

    def __init__(self) -> None:
        super().__init__("AZSM1045")

    def __reduce__(self) -> tuple[type[Stopped], tuple[()]]:
        return type(self), ()


@dataclass(slots=True)
class Desk:
    """All that the worker of a lease works with.  `logged` False: nobody reads the log."""

    grant: Grant
    ledger: Ledger
    both: Both
    lease: LeaseClock
    logged: bool = True
    lane: Lane | None = None
    effort: Effort = field(default_factory=Effort)

    @property
    def options(self) -> JobOptions:
        return self.grant.order.options

    @property
    def source(self) -> Store:
        return self.both.source

    @property
    def target(self) -> Store:
        return self.both.target

    @property
    def team(self) -> Team:
        return self.both.team

    @property
    def room(self) -> int:
        """How many deeds at most to put into a chapter."""
        # What goes slowly is taken in small pieces, between which there are commits.
        quick = self.lane is not None and not self.both.limited
        return CHAPTER_ITEMS if quick else min(CHAPTER_ITEMS, self.team.room)

    def confirm(self) -> None:
        """Tell the ledger that both places are still what they were; raises when they are not."""
        self.ledger.sight(self.grant.token, look(self.source, self.target))

    def do(self, deed: Deed) -> list[Row]:
        """Carry one deed out, as long as the lease lasts: the target asks the fence before each change."""
        return deeds.do(self.both, deed)


class Chapters:
    """The chapters of one lease that are not committed yet."""

    def __init__(self, desk: Desk, work: Work) -> None:
        self._desk = desk
        self.rest: Work | None = work
        # A deletion that failed was never an item of the source but must be seen: it is scanned and failed.
        self._deleting = isinstance(work, Slice) and work.phase is Phase.DELETE
        self._open: deque[Chapter] = deque()
        self._ready: list[Chapter] = []
        self._ready_items = 0
        self._seq = 0
        self._committed_at = boot_time()
        # A process has done other leases before, and another may begin where this one has ended.
        self._computed = time.process_time()

    def close(self, chapter: Chapter) -> None:
        """Have a chapter's deeds done, by the team or here, and wait while too many are under way."""
        self._look()
        self._open.append(chapter)
        if chapter.plain:
            self._send(chapter)
        if chapter.parcels and not chapter.under_way:
            self._land(chapter)
        if chapter.deeds:
            self._begin(chapter)
        while self._crowded():
            self._finish_first()
        while self._open and self._is_over(self._open[0]):
            self._finish_first()

    @staticmethod
    def _is_over(chapter: Chapter) -> bool:
        return (chapter.load is None or chapter.load.done()) and not chapter.under_way

    def _crowded(self) -> bool:
        """Whether more deeds are under way than need be, or too much waits behind the first ones for its commit."""
        waiting = self._open
        if len(waiting) <= _OPEN_CHAPTERS:
            return False
        if sum(len(chapter.deeds) for chapter in waiting) > 2 * self._desk.team.width:
            return True
        items = sum(chapter.items for chapter in waiting)
        return items > 2 * COMMIT_ITEMS or sum(chapter.weight for chapter in waiting) > COMMIT_BYTES

    def _begin(self, chapter: Chapter) -> None:
        desk, light = self._desk, chapter.deeds
        if not desk.team.local:
            chapter.load = desk.team.do(light, desk.do, _heft)
            return
        heavy = [deed for deed in light if _heft(deed) >= HEAVY]
        if heavy:
            chapter.load = desk.team.do(heavy, desk.do, _heft)
            light = [deed for deed in light if _heft(deed) < HEAVY]
        begun = time.perf_counter()
        for deed in light:
            for row in desk.do(deed):
                self._note(chapter, row)
        desk.effort.writing += time.perf_counter() - begun

    def _send(self, chapter: Chapter) -> None:
        """Let plain files take the short way."""
        desk = self._desk
        if desk.lane is None:
            return
        begun = time.perf_counter()
        for folder, entries in chapter.plain:
            at = 0
            while at < len(entries):
                self._look()
                # A limit that is told while this goes on is kept file by file.
                some = 1 if desk.both.limited else _PARCEL
                parcel = entries[at : at + some]
                at += some
                if desk.both.pacer is not None:
                    desk.both.pacer.take(sum([entry.size for entry in parcel]))
                chapter.parcels.append(desk.lane.send(folder, parcel))
        desk.effort.writing += time.perf_counter() - begun

    def _land(self, chapter: Chapter) -> None:
        """Wait for what is on the short way; what is left there becomes deeds."""
        while self._desk.lane and chapter.under_way:
            self._look()
            self._desk.lane.wait()
        for parcel in chapter.parcels:
            for number in sorted(parcel.left, reverse=True):
                entry = parcel.entries.pop(number)
                chapter.deeds.append(Deed(Do.TRANSFER, names.join(parcel.folder, entry.name), entry))
            if parcel.entries:
                chapter.transferred(parcel.folder, parcel.entries)
        chapter.parcels = []

    def drain(self) -> None:
        """Wait for all that was handed out."""
        while self._open:
            self._finish_first()

    def finish(self, rest: Callable[[bytes], Work]) -> None:
        """Wait for all that was handed out and commit the end, and what is due on the way; `rest` of a last path."""
        while self._open:
            self._finish_first()
            if self._open and self.due():
                self.commit(rest(self._ready[-1].end))
        self.commit(None)

    def due(self) -> bool:
        """Whether enough is finished, or enough time has passed, for a commit.

        The first commits come quickly, so that progress shows.
        """
        if not self._ready:
            return False
        patience = min(COMMIT_SECONDS, FIRST_COMMIT_SECONDS * 2**self._seq)
        if self._desk.lease.ending:
            patience = min(patience, FIRST_COMMIT_SECONDS)
        if self._ready_items >= COMMIT_ITEMS or boot_time() - self._committed_at >= patience:
            return True
        return sum(chapter.weight for chapter in self._ready) >= COMMIT_BYTES

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._open

    @property
    def end(self) -> bytes | None:
        """The last path or key that is finished but not committed."""
        return self._ready[-1].end if self._ready else None

    def commit(self, rest: Work | None, parts: tuple[Work, ...] = ()) -> None:
        """Make all finished chapters count, leaving `rest`; what was written is durable before."""
        desk = self._desk
        self._look()
        if rest is None:
            desk.confirm()
        if isinstance(desk.target, Syncs) and desk.target.traits.durable:
            with concerning("target", desk.target):
                desk.target.sync()
        seq = self._seq + 1
        counters = Counters()
        for chapter in self._ready:
            counters.merge(chapter.counters)
        progress = Progress(Commit(seq, rest, parts), counters, self._keep(seq), self._deferred())
        desk.ledger.commit(desk.grant.token, progress)
        self._seq, self.rest = seq, rest
        self._ready, self._ready_items, self._committed_at = [], 0, boot_time()

    def _keep(self, seq: int) -> tuple[SegmentName, ...]:
        lines = b"".join([line for chapter in self._ready for line in chapter.lines])
        if not lines:
            return ()
        return (self._desk.ledger.keep(self._desk.grant.token, seq, lines),)

    def _deferred(self) -> tuple[WorkItem, ...]:
        """What is put off, each item once; folders in which something was written need their times again."""
        # A dry run tells of writing and has written nothing.
        real = self._desk.target.traits.folders == "real" and not self._desk.options.dry_run
        found: dict[tuple[Phase, bytes], WorkItem] = {}
        for chapter in self._ready:
            for item in chapter.deferred:
                known = found.get((item.phase, item.key))
                if known is None or item.counted:
                    found[item.phase, item.key] = item
            for path in chapter.touched if real else ():
                item = WorkItem(Phase.FOLDERS, work_key(Phase.FOLDERS, path), path, counted=False, kind="D")
                found.setdefault((item.phase, item.key), item)
        return tuple(found.values())

    def _finish_first(self) -> None:
        chapter = self._open[0]
        self._await(chapter)
        if chapter.parcels:
            chapter.deeds = []
            self._land(chapter)
            self._begin(chapter)
            self._await(chapter)
        self._open.popleft()
        self._ready.append(chapter)
        self._ready_items += chapter.items
        self._tell(chapter)

    def _await(self, chapter: Chapter) -> None:
        """Wait for its deeds."""
        while chapter.load is not None:
            self._look()
            try:
                rows = chapter.load.result(_LOOK_SECONDS)
            except TimeoutError:
                if not chapter.load.done():
                    continue
                # It ended meanwhile, or the error is its own.
                rows = chapter.load.result()
            for row in rows:
                self._note(chapter, row)
            chapter.load = None

    def _note(self, chapter: Chapter, row: Row) -> None:
        chapter.note(row)
        more = self._deleting or row.path.endswith(names.SEPARATOR)
        if row.outcome is Outcome.FAILED and more:
            chapter.counters.scanned(row.size)

    def _tell(self, chapter: Chapter) -> None:
        """Show what is done although it is not committed."""
        effort, counters = self._desk.effort, chapter.counters
        effort.items += counters.settled
        effort.bytes += sum(counters.bytes.get(name, 0) for name in ("Transferred", "NoTransferNeeded"))
        effort.computing = time.process_time() - self._computed
        effort.threads = self._desk.team.width
        self._desk.lease.tell(effort)

    def _look(self) -> None:
        """Stop when the lease is over or somebody asked to."""
        self._desk.lease.fence()
        if self._desk.lease.stop:
            raise Stopped

    def abandon(self) -> None:
        """End the lease's writing and wait for what is in flight, so that nothing happens after it is given back."""
        loads = [chapter.load for chapter in self._open if chapter.load is not None]
        if loads or any(chapter.under_way for chapter in self._open):
            self._desk.lease.end()
        if loads:
            self._desk.team.close()
            wait(loads)
        if self._desk.lane:
            self._desk.lane.close()


def _heft(deed: Deed) -> int:
    return deed.source.size if deed.source is not None else 0
