"""The ledger of a run: partitions, leases, commits and phases as pure functions.

A run is a set of **partitions**.  Each is either a `Span` (a part of the source's tree, walked in order) or a
`Slice` (a range of the run's work list: items that an earlier phase put off).  An agent **leases** a partition,
works through it in order, and **commits** what it finished: counters, names of log segments, items put off,
parts given away, and the `rest` that is still to do.  Nothing else is remembered of a run: what a crash loses
is the work since the last commit, and the successor finds that on the target.

Invariants, checked by `commit` and by the property tests:

- the rest and the parts given away by a commit lie inside what the partition had to do, and do not overlap;
- an epoch of a partition belongs to one lease for ever; a commit by any other is refused;
- a commit is applied once: its repetition gets the answer that the first one got;
- a partition whose work may have been begun by an earlier lease is `revisited`, and so are its parts.

Times are seconds on the clock of whoever keeps the ledger.  Stored by `control.services` for runs of the
control plane and by `engine.ledger` for `wherry copy`; both decide by these functions and by nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import pairwise

from wherry.model import names
from wherry.model.errors import LeaseLost, UsageError

STALL_SECONDS = 300.0
MAX_PARTS = 256
LOSSES_BEFORE_ISOLATION = 3
LOSSES_BEFORE_GIVING_UP = 6
SLICE_ITEMS = 5000


class Phase(IntEnum):
    """The phases of a run in their order.

    LATE copies what could not be copied before DELETE had removed an item of another kind in its place.
    """

    COPY = 0
    LINKS = 1
    DELETE = 2
    LATE = 3
    FOLDERS = 4


@dataclass(frozen=True, slots=True)
class Span:
    """The names `start <= name < stop` of folder `prefix` with all below them, after the path `cursor`.

    None is no bound.  The walk visits a folder, then what is in it, names in byte order; `cursor` is the
    last path that is finished, so that the rest of a span is a span again.
    """

    prefix: bytes = b""
    start: bytes | None = None
    stop: bytes | None = None
    cursor: bytes | None = None

    def covers(self, other: Span) -> bool:
        """Whether all that `other` still has to do lies in what this one still has to do."""
        low, high = _bounds(self)
        other_low, other_high = _bounds(other)
        return low <= other_low and (high is None or (other_high is not None and other_high <= high))

    def split(self, names_left: list[bytes], pieces: int) -> list[Span]:
        """Cut at `names_left` (sorted names of `prefix`) into at most `pieces` spans of like size."""
        step = -(-len(names_left) // max(1, pieces))
        edges = [self.start, *(names_left[step::step] if step else ()), self.stop]
        spans = [Span(self.prefix, low, high) for low, high in pairwise(edges)]
        return [replace(spans[0], cursor=self.cursor), *spans[1:]]


_Bound = tuple[tuple[bytes, ...], int]


def _bounds(span: Span) -> tuple[_Bound, _Bound | None]:
    """Where a span begins and ends in the order of the walk.

    A bound is the parts of a path and 0 for the path itself, 1 for right after it.  An end without `stop` is
    the end of `prefix`, written as the first place behind everything that lies in it.
    """
    prefix = names.parts(span.prefix)
    low: _Bound = ((*prefix, span.start), 0) if span.start is not None else (prefix, 1 if prefix else 0)
    if span.cursor is not None:
        low = max(low, (names.parts(span.cursor), 1))
    if span.stop is not None:
        return low, ((*prefix, span.stop), 0)
    if not prefix:
        return low, None
    return low, ((*prefix[:-1], prefix[-1] + b"\0"), 0)


@dataclass(frozen=True, slots=True)
class Slice:
    """The work items of `phase` whose key is above `after` and at most `through`."""

    phase: Phase
    after: bytes
    through: bytes

    def covers(self, other: Slice) -> bool:
        """Whether `other` lies in this one."""
        return self.phase is other.phase and self.after <= other.after and other.through <= self.through


Work = Span | Slice


@dataclass(frozen=True, slots=True)
class WorkItem:
    """An item that is put off to a later phase.  `counted`: its outcome is still to be counted there."""

    phase: Phase
    key: bytes
    path: bytes
    counted: bool = True
    etag: str = ""
    size: int = 0
    kind: str = "F"


_DEEPEST = 0xFFFF


def work_key(phase: Phase, path: bytes, group: tuple[int, int] = (0, 0)) -> bytes:
    """The sort key of a work item: hard links by (device, inode), deletions and folders deepest first."""
    if phase is Phase.LINKS:
        return b"%016x%016x" % (group[0] & (2**64 - 1), group[1] & (2**64 - 1)) + path
    if phase in (Phase.DELETE, Phase.FOLDERS):
        return b"%04x" % (_DEEPEST - min(names.depth(path), _DEEPEST)) + path
    return path


_GROUP_KEY = {Phase.LINKS: 32, Phase.DELETE: 4, Phase.FOLDERS: 4}


@dataclass(frozen=True, slots=True)
class Part:
    """Work that is to become a partition, with its `stage`: lower stages are worked off first."""

    stage: int
    work: Work
    revisited: bool = False
    lost: int = 0


def cut(phase: Phase, keys: Iterable[bytes], size: int = SLICE_ITEMS) -> Iterator[Part]:
    """Partitions for the sorted `keys` of a phase's work items.

    A group of hard links stays in one slice; folders and deletions of one depth make a stage, so that no
    folder is touched before all that is deeper is done.
    """
    if phase is Phase.LATE:
        for path in keys:
            name = names.basename(path)
            yield Part(phase << 16, Span(names.parent(path), name, name + b"\0"))
        return
    width = _GROUP_KEY[phase]
    after = first = last = None
    count = 0
    for key in keys:
        if last is not None and first is not None and key[:width] != last[:width]:
            full = count >= size or phase is not Phase.LINKS
            if full:
                yield _slice(phase, after or b"", last)
                after, first, count = last, None, 0
        elif count >= size and phase is not Phase.LINKS and last is not None:
            yield _slice(phase, after or b"", last)
            after, first, count = last, None, 0
        first = first or key
        last = key
        count += 1
    if last is not None and count:
        yield _slice(phase, after or b"", last)


def _slice(phase: Phase, after: bytes, through: bytes) -> Part:
    depth_rank = int(through[:4], 16) if phase in (Phase.DELETE, Phase.FOLDERS) else 0
    return Part((phase << 16) + depth_rank, Slice(phase, after, through))


@dataclass(frozen=True, slots=True)
class Token:
    """What a holder shows: the incarnation of the ledger, the partition, and the one lease of that epoch."""

    incarnation: str
    partition: int
    epoch: int
    lease: str


@dataclass(frozen=True, slots=True)
class Partition:
    """A part of a run and who works on it.

    `attempt` counts leases, `lost` those that ended without a word since the last progress, `seq` the commits
    of the present lease.  `rest` None means done.
    """

    id: int
    stage: int
    rest: Work | None
    revisited: bool = False
    attempt: int = 0
    lost: int = 0
    epoch: int = 0
    lease: str = ""
    holder: str = ""
    expires: float = 0.0
    progressed: float = 0.0
    seq: int = 0

    @classmethod
    def of(cls, number: int, part: Part) -> Partition:
        """A new partition for a part."""
        return cls(number, part.stage, part.work, part.revisited, lost=part.lost)

    @property
    def phase(self) -> Phase:
        """The phase that the work is part of."""
        return Phase(self.stage >> 16)

    @property
    def open(self) -> bool:
        return self.rest is not None

    @property
    def leased(self) -> bool:
        return self.open and self.lease != ""

    @property
    def isolate(self) -> bool:
        """Whether the holder must cut the work in two before it does anything: the partition kills its holders."""
        return self.lost >= LOSSES_BEFORE_ISOLATION

    @property
    def hopeless(self) -> bool:
        """Whether nobody shall touch the work any more: it killed also those who were only to cut it."""
        return self.lost >= LOSSES_BEFORE_GIVING_UP


@dataclass(frozen=True, slots=True)
class Commit:
    """What a holder finished.  `seq` counts from 1 in each lease; `rest` None: the partition is done."""

    seq: int
    rest: Work | None
    parts: tuple[Work, ...] = ()


def grant(partition: Partition, holder: str, lease: str, now: float, ttl: float) -> Partition:
    """Lease an open partition to `holder`."""
    if not partition.open or partition.leased:
        raise LeaseLost("the partition is not to be had")
    return replace(
        partition,
        revisited=partition.revisited or partition.attempt > 0,
        attempt=partition.attempt + 1,
        epoch=partition.epoch + 1,
        lease=lease,
        holder=holder,
        expires=now + ttl,
        progressed=now,
        seq=0,
    )


def check(partition: Partition, token: Token, incarnation: str, now: float) -> None:
    """Raise `LeaseLost` unless `token` is the present lease and its time is not over."""
    if token.incarnation != incarnation:
        raise LeaseLost("it is from before a restore of the control plane")
    if not partition.leased or (token.epoch, token.lease) != (partition.epoch, partition.lease):
        raise LeaseLost("another agent has taken over")
    if now > partition.expires:
        raise LeaseLost("it was not renewed in time")


def repeated(partition: Partition, token: Token, commit: Commit) -> bool:
    """Whether `commit` is the last one of this very lease again: its answer was lost on the way."""
    return 0 < commit.seq == partition.seq and (token.epoch, token.lease) == (
        partition.epoch,
        partition.lease,
    )


def renew(partition: Partition, progress: bool, now: float, ttl: float) -> Partition:
    """More time for a lease that passed `check`; refused when nothing moved for `STALL_SECONDS`."""
    progressed = now if progress else partition.progressed
    if now - progressed > STALL_SECONDS:
        raise LeaseLost("nothing has moved for five minutes")
    return replace(partition, expires=now + ttl, progressed=progressed)


def commit(partition: Partition, done: Commit, now: float, ttl: float) -> tuple[Partition, list[Part]]:
    """Apply a commit of a lease that passed `check`.  Returns the partition and the parts given away."""
    if done.seq != partition.seq + 1:
        raise LeaseLost(f"commit {done.seq} does not follow {partition.seq}")
    if len(done.parts) > MAX_PARTS:
        raise UsageError(f"A commit may give away at most {MAX_PARTS} parts.")
    before = partition.rest
    remaining = [work for work in (done.rest, *done.parts) if work is not None]
    if not all(_covers(before, work) for work in remaining) or _overlap(remaining):
        raise UsageError("A commit may only leave or give away what the partition had to do, each once.")
    # Who finished nothing has not come past what may have ended others.
    lost = partition.lost if done.rest == before else 0
    after = replace(partition, rest=done.rest, lost=lost, seq=done.seq, expires=now + ttl, progressed=now)
    if done.rest is None:
        after = replace(after, holder="", expires=0.0)
    doubtful = LOSSES_BEFORE_ISOLATION - 1 if partition.isolate else 0
    parts = [Part(partition.stage, work, partition.revisited, doubtful) for work in done.parts]
    return after, parts


def commit_late(partition: Partition, done: Commit, now: float) -> tuple[Partition, list[Part]]:
    """Apply what the last holder finished while its lease was good, though it ran out before that could be told.

    Only while the partition is as that holder has left it: nobody has leased it since.  It stays free.
    """
    if partition.leased:
        raise LeaseLost("another agent has taken over")
    after, parts = commit(partition, done, now, 0.0)
    return replace(after, expires=0.0), parts


def release(partition: Partition, lost: bool = False) -> Partition:
    """Take a lease back: its uncommitted work will be found on the target.

    `lost` when it ended badly (a worker died, the time ran out) and not because its holder was told to stop.
    """
    return replace(partition, lease="", holder="", expires=0.0, lost=partition.lost + lost)


def expire(partition: Partition, now: float) -> Partition:
    """Take a lease whose time is over away; the same partition when there is nothing to take."""
    if not partition.leased or now <= partition.expires:
        return partition
    return release(partition, lost=True)


def _covers(outer: Work | None, inner: Work) -> bool:
    if isinstance(outer, Span) and isinstance(inner, Span):
        return outer.covers(inner)
    return isinstance(outer, Slice) and isinstance(inner, Slice) and outer.covers(inner)


def _overlap(works: list[Work]) -> bool:
    spans = sorted((_bounds(w) for w in works if isinstance(w, Span)), key=lambda b: b[0])
    for (_, high), (low, _) in pairwise(spans):
        if high is None or low < high:
            return True
    slices = sorted((w.after, w.through) for w in works if isinstance(w, Slice))
    return any(low[0] < high[1] for high, low in pairwise(slices))


_IN_ORDER = (Phase.LINKS, Phase.DELETE, Phase.LATE, Phase.FOLDERS)
_WITH_LATE = (Phase.DELETE, Phase.LATE, Phase.LINKS, Phase.FOLDERS)


def phases_to_come(*, late: bool) -> tuple[Phase, ...]:
    """The phases after the copy, in their order.

    Where anything comes `late`, hard links wait for it: a name of theirs may be among it, and all names of a file must
    be done together to become one file.
    """
    return _WITH_LATE if late else _IN_ORDER
