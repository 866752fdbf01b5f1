"""A lease on a span of the tree: walk it, decide on each pair, hand out, commit, give work away.

Folders are made on the way down, before anything that lies in them is handed out; their metadata waits for the
last phase.  A folder whose source cannot be listed is one failed item and contributes nothing to be deleted.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace

from wherry.engine import deeds
from wherry.engine.chapter import Chapter
from wherry.engine.chapters import Chapters, Desk
from wherry.engine.deeds import Deed
from wherry.engine.level import SourceUnlisted, Stretch, TargetUnlisted
from wherry.engine.walk import Walk
from wherry.model import losses, names
from wherry.model.entry import Attributes, Entry, Kind
from wherry.model.errors import RunError, StoreError
from wherry.model.ledger import Phase, Span, WorkItem, work_key
from wherry.model.options import CopyMode
from wherry.model.outcomes import Outcome, Row
from wherry.model.plan import Decision, Do, FolderState, Pair
from wherry.stores.port import HasAttributes, MakesFolders

_PIECES = 2
_HANDED_OUT = frozenset({Do.TRANSFER, Do.DESCRIBE, Do.CHECK, Do.LOOK, Do.MAKE_LINK, Do.DEFER_LINK})
# The first chapters of a lease are small, so that its first commit comes soon also on a slow target.
_FIRST_ITEMS = 50


class SpanWork:
    """The work on one span under one lease."""

    def __init__(self, desk: Desk, span: Span) -> None:
        self._desk = desk
        self._span = span
        mirror = desk.options.mode is CopyMode.MIRROR
        self._judge = desk.both.judge
        self._walk = Walk(
            desk.source, desk.target, span, desk.lease.note, all_of_target=mirror, judge=self._judge
        )
        self._chapters = Chapters(desk, span)
        self._chapter = Chapter(_FIRST_ITEMS, logged=desk.logged)
        self._reached = span.cursor

    def run(self) -> None:
        """Work the span off."""
        try:
            self._run()
        finally:
            self._chapters.abandon()

    def _run(self) -> None:
        if not self._begin():
            return
        if self._desk.grant.isolate and self._isolate():
            return
        while (stretch := self._next()) is not None:
            self._take(stretch)
            if (self._chapter.full or self._chapter.old) and not self._walk.amid:
                self._turn()
                if self._desk.lease.split and self._give_away():
                    continue
                if self._chapters.due():
                    self._chapters.commit(replace(self._span, cursor=self._chapters.end))
        self._turn()
        self._chapters.finish(lambda end: replace(self._span, cursor=end))

    def _begin(self) -> bool:
        """List the span's folder; False when that failed and the failure is committed as all that came of it."""
        try:
            self._walk.begin()
            self._finish_root()
        except (SourceUnlisted, TargetUnlisted) as error:
            self._unlisted(self._span.prefix, error)
            self._turn()
            self._chapters.drain()
            self._chapters.commit(None)
            return False
        return True

    def _finish_root(self) -> None:
        """See to it that the root folder of the target gets the metadata of the source's, as any other does."""
        first = not self._span.prefix and self._span.start is None and self._span.cursor is None
        if first and isinstance(self._desk.target, MakesFolders) and not self._desk.options.dry_run:
            key = work_key(Phase.FOLDERS, b"")
            self._chapter.put_off(WorkItem(Phase.FOLDERS, key, b"", counted=False, kind="D"))

    def _next(self, most: int | None = None) -> Stretch | None:
        """The next stretch; a folder whose listing breaks off is one failed item more."""
        most = most or max(1, self._chapter.room - self._chapter.handed)
        while True:
            begun = time.perf_counter()
            try:
                return self._walk.next(most)
            except (SourceUnlisted, TargetUnlisted) as error:
                self._unlisted(self._walk.unlisted, error)
            finally:
                self._desk.effort.listing += time.perf_counter() - begun

    def _unlisted(self, folder: bytes, error: StoreError) -> None:
        if not folder:
            code = "AZSM1001" if isinstance(error, SourceUnlisted) else "AZSM1021"
            raise RunError(code, str(error)) from error
        self._desk.both.doubt.weigh(error)
        self._chapter.counters.scanned(0)
        self._chapter.note(deeds.failed_within(folder, error))

    def _turn(self) -> None:
        """Close the chapter and begin the next."""
        if self._reached is not None:
            self._chapter.end = self._reached
        self._chapters.close(self._chapter)
        room = min(self._desk.room, 2 * self._chapter.room)
        self._chapter = Chapter(room, logged=self._desk.logged)

    def _give_away(self) -> bool:
        """Let others have the later part of what was not reached; False when there is nothing to give."""
        given = self._walk.give_away(replace(self._span, cursor=self._reached), _PIECES)
        self._desk.lease.served()
        if given is None:
            return False
        self._span, parts = given
        self._chapters.drain()
        self._chapters.commit(self._span, tuple(parts))
        return True

    def _isolate(self) -> bool:
        """Cut the span in two and do nothing else, because it ended three leases; a single file fails alone.

        False when there is nothing to cut but what only the target has: that is walked as ever.
        """
        given = self._walk.give_away(self._span, 1)
        if given is not None:
            rest, parts = given
            self._chapters.commit(None, (rest, *parts))
            return True
        stretch = self._next(1)
        while stretch is not None and self._walk.amid:  # A file that shares its name with a folder.
            if not self._alone(stretch):
                self._take(stretch)
            stretch = self._next(1)
        inside: tuple[Span, ...] = ()
        if stretch is not None and stretch.pairs[0][0] is None:
            self._take(stretch)
            return False
        if stretch is not None and not self._alone(stretch):
            self._take(stretch)
            path = self._path(stretch)
            if self._walk.inside(path):
                inside = (Span(path, cursor=self._span.cursor if stretch.finished else None),)
        self._turn()
        self._chapters.drain()
        self._chapters.commit(None, inside)
        return True

    @staticmethod
    def _path(stretch: Stretch) -> bytes:
        """Of the last item."""
        return names.join(stretch.folder, stretch.last)

    def _alone(self, stretch: Stretch) -> bool:
        """Fail the one file of a span that ends whoever works on it; False when it is no such file."""
        source = stretch.pairs[0][0]
        if source is None or source.kind is Kind.FOLDER or stretch.finished:
            return False
        path = self._path(stretch)
        self._chapter.counters.scanned(source.size)
        self._chapter.note(deeds.failed(path, source, StoreError("it ended three workers")))
        self._reached = path
        return True

    def _take(self, stretch: Stretch) -> None:
        """Decide on the pairs of a stretch."""
        if stretch.finished:
            self._take_again(self._path(stretch), *stretch.pairs[0])
            return
        stem = stretch.folder + names.SEPARATOR if stretch.folder else b""
        for source, target in self._take_simple(stretch):
            if source is not None:
                path = stem + source.name
                self._act(path, source, target, self._judge.decide(path, source, target))
            elif target is not None:
                self._only_target(stem + target.name, target)
        self._chapter.items += len(stretch.pairs) + len(stretch.alike)
        self._reached = stem + stretch.last

    def _take_simple(self, stretch: Stretch) -> list[Pair]:
        """Take the files that need no thinking, which most are; the pairs that are left."""
        chapter, judge, lane = self._chapter, self._judge, self._desk.lane
        limit = lane.limit if lane else -1
        small: list[Entry] = []
        left: list[Pair] = []
        stem = stretch.folder + names.SEPARATOR if stretch.folder else b""
        equal, others = judge.unchanged(stem, stretch.pairs)
        equal += stretch.alike
        for pair in others:
            source, target = pair
            if source and target is None and source[2] <= limit and judge.is_plain(stem, source):
                small.append(source)
            else:
                left.append(pair)
        if equal:
            chapter.settle(stretch.folder, equal)
        if small:
            chapter.hand_out_plain(stretch.folder, small)
        return left

    def _take_again(self, path: bytes, source: Entry | None, target: Entry | None) -> None:
        """Go into the folder of a finished item again."""
        if source is not None:
            self._go_on(path, source, target, self._judge.decide(path, source, target))
        elif target is not None and target.kind is Kind.FOLDER and self._unwanted(path, target):
            self._enter(path, None, target)

    def _act(self, path: bytes, source: Entry, target: Entry | None, decision: Decision) -> None:
        chapter, do = self._chapter, decision.do
        if do is Do.LATE and self._desk.grant.phase is not Phase.LATE:
            self._late(path, source, target)
            return
        if do is Do.LATE:
            do, decision = Do.FAIL, Decision(Do.FAIL, "AZSM2066", "an item of another kind is in its place")
        chapter.counters.scanned(source.size)
        if do is Do.ENTER:
            self._folder(path, source, target, decision.folder)
        elif do is Do.NOTHING:
            chapter.note(deeds.settled(path, source, decision.code))
        elif do is Do.DEFER_LINK and not self._desk.options.dry_run:
            key = work_key(Phase.LINKS, path, (source.device, source.inode))
            chapter.put_off(WorkItem(Phase.LINKS, key, path, size=source.size))
        elif do in _HANDED_OUT:
            if not self._desk.options.dry_run:
                size = source.size if do in (Do.TRANSFER, Do.CHECK) else 0
                chapter.hand_out(Deed(do, path, source, target), size)
            elif do in (Do.CHECK, Do.LOOK) or (target and do in (Do.MAKE_LINK, Do.DEFER_LINK)):
                chapter.note(deeds.foreseen(self._desk.both, Deed(do, path, source, target)))
            else:
                chapter.note(self._foretold(path, source))
        else:
            outcome = {Do.EXCLUDE: Outcome.EXCLUDED, Do.FAIL: Outcome.FAILED}.get(do, Outcome.UNSUPPORTED)
            chapter.note(
                Row(time.time(), source.kind, outcome, decision.code, source.size, path, decision.detail)
            )
            if source.kind is Kind.FOLDER and do is Do.UNSUPPORTED:
                self._enter(path, source, None)

    def _folder(self, path: bytes, source: Entry, target: Entry | None, state: FolderState) -> None:
        """Enter a folder of the source; listed before it is made, so that a failure leaves nothing behind."""
        chapter, dry = self._chapter, self._desk.options.dry_run
        try:
            if not self._judge.prunes(path):
                self._walk.enter(path, in_source=True, in_target=target is not None)
            if target is None and not dry and isinstance(self._desk.target, MakesFolders):
                self._desk.target.make_folder(path)
        except StoreError as error:
            self._desk.both.doubt.weigh(error)
            if self._walk.inside(path):
                self._walk.leave()
            chapter.note(deeds.failed(path, source, error))
            return
        if state is not FolderState.DUE or dry:
            due = state is FolderState.DUE
            settled = deeds.row(path, source, "AZSM2041", Outcome.NO_TRANSFER_NEEDED)
            chapter.note(self._foretold(path, source) if due else settled)
        if state is not FolderState.EQUAL and not dry:
            counted = state is FolderState.DUE
            key = work_key(Phase.FOLDERS, path)
            chapter.put_off(WorkItem(Phase.FOLDERS, key, path, counted, kind="D"))

    def _foretold(self, path: bytes, source: Entry) -> Row:
        """The row of a dry run for what would be copied, with what the target would not hold of it."""
        desk = self._desk
        holds = desk.target.traits.holds
        attributes: Attributes = ()
        if not holds.attributes and isinstance(desk.source, HasAttributes) and source.kind is not Kind.LINK:
            with contextlib.suppress(StoreError):
                attributes = desk.source.attributes(path)
        lost = losses.of(source, holds, desk.options.preserve, attributes)
        return deeds.row(path, source)._replace(detail=losses.detail(lost))

    def _go_on(self, path: bytes, source: Entry, target: Entry | None, decision: Decision) -> None:
        """Enter the folder of a finished item again.  What lies in one that cannot be held is told one by one."""
        if decision.do is Do.ENTER:
            self._enter(path, source, target)
        elif decision.do is Do.UNSUPPORTED and source.kind is Kind.FOLDER:
            self._enter(path, source, None)
        elif self._desk.grant.phase is Phase.LATE:
            return  # What the delete phase has left in its place stays.
        elif decision.do is Do.LATE and target is not None and target.kind is Kind.FOLDER:
            self._enter(path, None, target)

    def _enter(self, path: bytes, source: Entry | None, target: Entry | None) -> None:
        """Go into a folder that a cursor leads into; its own item is finished."""
        try:
            self._walk.enter(path, in_source=source is not None, in_target=target is not None)
        except StoreError as error:
            self._desk.both.doubt.weigh(error)
            self._chapter.counters.scanned(0)
            self._chapter.note(deeds.failed(path, source or target, error))

    def _late(self, path: bytes, source: Entry, target: Entry | None) -> None:
        """Put an item off until what stands in its place is deleted."""
        if self._desk.options.dry_run:
            self._chapter.counters.scanned(source.size)
            self._chapter.note(self._foretold(path, source))
        else:
            self._chapter.put_off(WorkItem(Phase.LATE, path, path, kind=source.kind.value))
        if target is not None:
            self._only_target(path, target)

    def _unwanted(self, path: bytes, target: Entry) -> bool:
        """Whether a mirror does without what only the target has: not where a filter keeps it, or all that is in it."""
        judge, folder = self._judge, target.kind is Kind.FOLDER
        kept = judge.excludes(path, target.kind) or (folder and judge.prunes(path))
        return self._desk.options.mode is CopyMode.MIRROR and not kept

    def _only_target(self, path: bytes, target: Entry) -> None:
        """In Mirror, an item of the target alone is a candidate for deletion, unless a filter keeps it."""
        if not self._unwanted(path, target):
            return
        if target.kind is Kind.FOLDER:
            try:
                self._walk.enter(path, in_source=False, in_target=True)
            except StoreError as error:
                self._desk.both.doubt.weigh(error)
                # Never an item of the source, but it must be seen that it stays.
                self._chapter.counters.scanned(0)
                self._chapter.note(deeds.failed(path, target, error))
                return
        if self._desk.options.dry_run:
            self._chapter.note(deeds.row(path, target, "AZSM2051", Outcome.DELETED))
        elif target.sealed or target.inode:
            key = work_key(Phase.DELETE, path)
            self._chapter.put_off(
                WorkItem(Phase.DELETE, key, path, True, target.tag, target.size, target.kind.value)
            )
