"""Finished work in the order of the walk, and its commits.

A **chapter** is a stretch of the walk: the rows, counters and put-off items of what was decided in it, with the
batch of deeds that it needs.  The pool does chapters in any order; they are committed in the order of the walk,
so that a commit never passes what is not finished.  Used by `span` and `slices` for each lease.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from wherry.engine.batch import BATCH_BYTES, BATCH_ITEMS, Batch
from wherry.engine.deeds import Deed
from wherry.engine.lease import LeaseClock, boot_id, boot_time
from wherry.engine.ledger import Ledger
from wherry.engine.pool import Pool
from wherry.model.errors import RunError
from wherry.model.ledger import Commit, Phase, Slice, Work, WorkItem, work_key
from wherry.model.names import parent
from wherry.model.options import JobOptions
from wherry.model.outcomes import Counters, Outcome, Row, encode_rows, segment_name
from wherry.model.plan import Attempt
from wherry.model.wire import Grant, Progress, SegmentName, Sighting
from wherry.stores.port import Store, StoreSpec, Syncs

COMMIT_ITEMS = 50_000
COMMIT_SECONDS = 30.0
# Of paths that are put off: a commit is one request, and its body has a limit.
COMMIT_BYTES = 4 * 1024 * 1024
FIRST_COMMIT_SECONDS = 1.0
_LOOK_SECONDS = 0.5


class Stopped(RunError):
    """Somebody asked to stop the run; what is committed stays."""

    def __init__(self) -> None:
        super().__init__("AZSM1045")

    def __reduce__(self) -> tuple[type[Stopped], tuple[()]]:
        return type(self), ()


@dataclass(slots=True)
class Desk:
    """All that the holder of a lease works with."""

    grant: Grant
    ledger: Ledger
    source_spec: StoreSpec
    target_spec: StoreSpec
    source: Store
    target: Store
    pool: Pool
    lease: LeaseClock
    attempt: Attempt

    @property
    def options(self) -> JobOptions:
        return self.grant.order.options

    def batch(self, deeds: tuple[Deed, ...]) -> Batch:
        """Deeds with all that a worker needs to do them."""
        places = (self.source_spec, self.target_spec)
        token = self.grant.token
        lease = f"{token.partition}/{token.epoch}/{token.lease}"
        return Batch(*places, self.options, self.lease.slot, lease, self.attempt, deeds)

    def confirm(self) -> None:
        """Tell the ledger that both places are still what they were; raises when they are not."""
        self.ledger.sight(self.grant.token, look(self.source, self.target))


def look(source: Store, target: Store) -> Sighting:
    """What is really at both places now."""
    near, far = source.probe(), target.probe()
    return Sighting(near.identity, far.identity, far.clock, boot_id() if target.traits.durable else "")


@dataclass(slots=True)
class Chapter:
    """A stretch of the walk.  `end` is the last path (or key) that it finishes, `room` how many deeds it takes."""

    room: int = BATCH_ITEMS
    end: bytes = b""
    counters: Counters = field(default_factory=Counters)
    rows: list[Row] = field(default_factory=list)
    deferred: list[WorkItem] = field(default_factory=list)
    deeds: list[Deed] = field(default_factory=list)
    size: int = 0
    weight: int = 0
    items: int = 0
    pending: Future[list[Row]] | None = None
    begun: float = field(default_factory=boot_time)

    @property
    def old(self) -> bool:
        return boot_time() - self.begun > FIRST_COMMIT_SECONDS

    @property
    def full(self) -> bool:
        batch = len(self.deeds) >= self.room or self.size >= BATCH_BYTES
        return batch or self.items >= 10 * BATCH_ITEMS or self.weight >= COMMIT_BYTES // 8

    def note(self, row: Row) -> None:
        """Log and count an item that ended."""
        self.rows.append(row)
        self.counters.row(row)

    def put_off(self, item: WorkItem) -> None:
        """Leave an item to a later phase."""
        self.deferred.append(item)
        self.weight += len(item.key) + len(item.path)

    def hand_out(self, deed: Deed, size: int) -> None:
        """Leave an item to the pool."""
        self.deeds.append(deed)
        self.size += size


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

    def close(self, chapter: Chapter) -> None:
        """Hand a chapter's deeds to the pool and wait while too many are under way."""
        desk = self._desk
        if chapter.deeds:
            chapter.pending = desk.pool.submit(desk.batch(tuple(chapter.deeds)))
        self._open.append(chapter)
        while len(self._open) > 2 * max(1, desk.pool.workers) + 2:
            self._finish_first()
        while self._open and (self._open[0].pending is None or self._open[0].pending.done()):
            self._finish_first()

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

        The first commits come quickly, so that progress shows, and any when others have nothing to do.
        """
        if not self._ready:
            return False
        commits = 0 if self._desk.lease.split else self._seq
        patience = min(COMMIT_SECONDS, FIRST_COMMIT_SECONDS * 2**commits)
        if self._ready_items >= COMMIT_ITEMS or boot_time() - self._committed_at >= patience:
            return True
        return sum(chapter.weight for chapter in self._ready) >= COMMIT_BYTES

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
            desk.target.sync()
        seq = self._seq + 1
        rows = [row for chapter in self._ready for row in chapter.rows]
        counters = Counters()
        for chapter in self._ready:
            counters.merge(chapter.counters)
        progress = Progress(Commit(seq, rest, parts), counters, self._keep(seq, rows), self._deferred())
        asked = boot_time()
        renewal = desk.ledger.commit(desk.grant.token, progress)
        desk.lease.extend(asked, renewal.ttl)
        desk.lease.split, desk.lease.stop = renewal.split, desk.lease.stop or renewal.stop
        self._seq, self.rest = seq, rest
        self._ready, self._ready_items, self._committed_at = [], 0, boot_time()

    def _keep(self, seq: int, rows: list[Row]) -> tuple[SegmentName, ...]:
        if not rows:
            return ()
        token = self._desk.grant.token
        segment = encode_rows(rows)
        name = segment_name(self._desk.grant.order.run, token.partition, token.epoch, seq, segment)
        self._desk.ledger.keep(token, name, segment)
        return (SegmentName(name, len(rows)),)

    def _deferred(self) -> tuple[WorkItem, ...]:
        """What is put off, each item once; folders in which something was written need their times again."""
        found: dict[tuple[Phase, bytes], WorkItem] = {}
        for chapter in self._ready:
            for item in chapter.deferred:
                known = found.get((item.phase, item.key))
                if known is None or item.counted:
                    found[item.phase, item.key] = item
            for path in _touched(chapter) if self._desk.target.traits.folders == "real" else ():
                item = WorkItem(Phase.FOLDERS, work_key(Phase.FOLDERS, path), path, counted=False, kind="D")
                found.setdefault((item.phase, item.key), item)
        return tuple(found.values())

    def _finish_first(self) -> None:
        chapter = self._open[0]
        while chapter.pending is not None:
            self._look()
            try:
                rows = self._desk.pool.result(chapter.pending, _LOOK_SECONDS)
            except TimeoutError:
                continue
            for row in rows:
                chapter.note(row)
                if row.outcome is Outcome.FAILED and self._deleting:
                    chapter.counters.scanned(row.size)
            chapter.pending = None
        self._open.popleft()
        self._ready.append(chapter)
        self._ready_items += chapter.items

    def _look(self) -> None:
        """Stop when the lease is over or somebody asked to."""
        self._desk.lease.fence()
        if self._desk.lease.stop:
            raise Stopped

    def abandon(self) -> None:
        """End the lease's writing and wait for what is in flight, so that nothing happens after it is given back."""
        if self._open:
            self._desk.lease.end()
        pending = [chapter.pending for chapter in self._open if chapter.pending is not None]
        if pending and not self._desk.pool.settle(pending):
            self._desk.lease.stuck = True


def _touched(chapter: Chapter) -> set[bytes]:
    written = (Outcome.TRANSFERRED, Outcome.DELETED)
    folders = {parent(row.path) for row in chapter.rows if row.outcome in written and row.kind.value != "D"}
    folders.update(parent(row.path) for row in chapter.rows if row.outcome is Outcome.DELETED)
    folders.update(
        parent(item.path) for item in chapter.deferred if item.phase is Phase.FOLDERS and item.counted
    )
    folders.discard(b"")
    return folders
