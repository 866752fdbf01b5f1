"""The walk: source and target listed side by side, folder by folder, in the order of the ledger's spans.

A `Walk` yields **stretches**: pairs of entries of the same name (either may be missing) that follow one another in one
folder.  It goes into a folder only when its caller says so, so that nothing below an excluded folder or below a target
that is not there is ever listed; a folder therefore is always the last pair of its stretch.  The walk begins right
after a span's cursor and can give the later part of what it has not reached away.  Called by `span`; it decides
nothing and writes nothing.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import NamedTuple

from wherry.engine.listing import Listing, listing
from wherry.engine.pairing import after_folder, any_folder, name_of, pair_off, put_folders_last
from wherry.model import names
from wherry.model.entry import Entry
from wherry.model.errors import NotFound, StoreError
from wherry.model.ledger import Span
from wherry.model.plan import Pair
from wherry.stores.port import Store

_BLOCK = 1000
# So many pages of names make a folder a wide one, which nobody lists again for nothing.
_WIDE = 20
# Whoever gets half of what is left must be done with it before this one would be with all.
_TOO_DEAR = 0.5


class Stretch(NamedTuple):
    """Pairs that follow one another in `folder`; only the last may have a folder in it.

    `finished`: the one pair is an ancestor of the cursor, only to be entered again.
    """

    folder: bytes
    pairs: list[Pair]
    finished: bool = False


class SourceUnlisted(StoreError):
    """A folder of the source could not be listed."""

    code = "AZSM1002"


class TargetUnlisted(StoreError):
    """A folder of the target could not be listed."""

    code = "AZSM2068"


class _Side:
    """One store's listing of one folder; what goes wrong says on which side it was."""

    def __init__(self, listed: Listing, trouble: type[StoreError]) -> None:
        self._listed = listed
        self._trouble = trouble

    def peek(self, count: int) -> list[bytes]:
        try:
            return self._listed.peek(count)
        except StoreError as error:
            raise self._trouble(str(error)) from error

    def take(self, count: int, wanted: set[bytes] | None) -> list[Entry]:
        try:
            return self._listed.take(count, wanted)
        except StoreError as error:
            raise self._trouble(str(error)) from error

    def ahead(self) -> list[bytes]:
        return self._listed.ahead()

    def left(self) -> int:
        return self._listed.left()

    def stop_at(self, name: bytes) -> None:
        self._listed.stop_at(name)


class Level:
    """A folder in the middle of being walked.

    `mark` is the name on the way to the cursor: what lies before it is finished, it itself is at least begun.
    `source` is None where only the target has the folder.
    """

    def __init__(
        self,
        folder: bytes,
        source: _Side | None,
        target: _Side | None,
        mark: bytes | None,
        *,
        all_of_target: bool,
        twins: bool,
    ) -> None:
        self.folder = folder
        self.source = source
        self.mark = mark
        self.pairs: list[Pair] = []
        self.at = 0
        self._target = target
        self._all_of_target = all_of_target
        self._twins = twins
        self._only_files = False
        self._begun = time.perf_counter()
        self._taken = 0
        # The seconds that it took to list it, if it is a wide one.
        self.cost = 0.0

    def refill(self) -> bool:
        """Read more pairs when all are consumed; False when there are none."""
        while self.at >= len(self.pairs):
            ours = self.source.peek(_BLOCK) if self.source else []
            theirs = self._target.peek(_BLOCK) if self._target else []
            if not ours and not (theirs and self._all_of_target):
                return False
            bound = _bound(ours, theirs)
            wanted = None if self._all_of_target or theirs == ours else set(ours)
            target = self._take(self._target, theirs, bound, wanted)
            source = self._take(self.source, ours, bound, None)
            if self._all_of_target:
                # Another agent may be writing there at this moment.
                target = [entry for entry in target if not names.is_temporary(entry[0])]
            self.pairs, self.at = pair_off(source, target), 0
            self._only_files = not any_folder(source, target)
            if self._twins:
                put_folders_last(self.pairs)
        return True

    def stretch(self, most: int) -> list[Pair]:
        """The next pairs, at most so many, none of them after one with a folder in it."""
        begin, end = self.at, min(self.at + most, len(self.pairs))
        self.at = end if self._only_files else after_folder(self.pairs, begin, end)
        self._taken += self.at - begin
        return self.pairs[begin : self.at]

    @property
    def dearness(self) -> float:
        """How long it takes another to list the folder again, by how long what is left of it takes here."""
        left = len(self.pairs) - self.at + (self.source.left() if self.source else 0)
        if not self.cost or not self._taken or not left:
            return 0.0
        return self.cost * self._taken / ((time.perf_counter() - self._begun) * left)

    @property
    def left(self) -> bool:
        """Whether anything is still to come, be it of the target alone."""
        if self.at < len(self.pairs):
            return True
        return bool(self._all_of_target and self._target and self._target.peek(1))

    @staticmethod
    def _take(
        side: _Side | None, seen: list[bytes], bound: bytes | None, wanted: set[bytes] | None
    ) -> list[Entry]:
        if side is None:
            return []
        count = len(seen) if bound is None else bisect_right(seen, bound)
        return side.take(count, wanted) if count else []

    def ahead(self) -> list[bytes]:
        """Names of the source that are still to come, in order; some of them where there are very many."""
        known = {name_of(pair) for pair in self.pairs[self.at :] if pair[0] is not None}
        return sorted(known.union(self.source.ahead() if self.source else ()))

    def stop_at(self, name: bytes) -> None:
        """Let the folder end before `name`."""
        self.pairs = [pair for pair in self.pairs[self.at :] if name_of(pair) < name]
        self.at = 0
        for side in (self.source, self._target):
            if side is not None:
                side.stop_at(name)


def _bound(ours: list[bytes], theirs: list[bytes]) -> bytes | None:
    """Up to which name both sides are known; None when all is.  Twins at the end of what was read stay together."""
    bounds = []
    for seen in (ours, theirs):
        if len(seen) >= _BLOCK:
            before = bisect_left(seen, seen[-1])
            bounds.append(seen[before - 1] if before else seen[-1])
    return min(bounds, default=None)


class Walk:
    """One walk over a span.  `all_of_target`: what only the target has is wanted, too."""

    def __init__(
        self,
        source: Store,
        target: Store,
        span: Span,
        moved: Callable[[], None],
        *,
        all_of_target: bool = True,
    ) -> None:
        self._moved = moved
        self._source = source
        self._target = target
        self._stack: list[Level] = []
        self._span = span
        self._all_of_target = all_of_target
        self._twins = "markers" in (source.traits.folders, target.traits.folders)
        cursor = names.parts(span.cursor) if span.cursor is not None else ()
        self._trail = list(cursor[len(names.parts(span.prefix)) :])
        # The folder whose listing has broken off last.
        self.unlisted = b""
        # How many pages of names were read so far.
        self._pages = 0

    def begin(self) -> None:
        """List the span's own folder.  Raises `SourceUnlisted` or `TargetUnlisted`."""
        self._enter(self._span.prefix, (True, True), (self._span.start, self._span.stop))

    def enter(self, folder: bytes, *, in_source: bool, in_target: bool) -> None:
        """Go into `folder` next; a side that does not have it is not asked."""
        self._enter(folder, (in_source, in_target), (None, None))

    def _enter(
        self, folder: bytes, sides: tuple[bool, bool], bounds: tuple[bytes | None, bytes | None]
    ) -> None:
        low, high = bounds
        begun, pages = time.perf_counter(), self._pages
        mark = self._trail.pop(0) if self._trail else None
        if mark is not None and (low is None or mark > low):
            low = mark
        source = self._side(self._source, folder, SourceUnlisted, low, high) if sides[0] else None
        target = self._side(self._target, folder, TargetUnlisted, low, high) if sides[1] else None
        level = Level(folder, source, target, mark, all_of_target=self._all_of_target, twins=self._twins)
        if self._pages - pages >= _WIDE:
            level.cost = time.perf_counter() - begun
        self._stack.append(level)

    def _page(self) -> None:
        self._pages += 1
        self._moved()

    def _side(
        self, store: Store, folder: bytes, trouble: type[StoreError], low: bytes | None, high: bytes | None
    ) -> _Side | None:
        try:
            return _Side(listing(store, folder, low, high, self._page), trouble)
        except NotFound as gone:
            if trouble is TargetUnlisted:
                return None
            raise trouble(str(gone)) from gone
        except StoreError as error:
            raise trouble(str(error)) from error

    def leave(self) -> None:
        """Leave the folder that was entered last."""
        self._stack.pop()

    @property
    def ancestors(self) -> list[bytes]:
        """The folders that the walk is in."""
        return [level.folder for level in self._stack]

    @property
    def amid(self) -> bool:
        """Whether the next pair has the name of the last one, so that no cursor can stand between them."""
        level = self._stack[-1] if self._stack else None
        return (
            level is not None
            and 0 < level.at < len(level.pairs)
            and name_of(level.pairs[level.at]) == name_of(level.pairs[level.at - 1])
        )

    def inside(self, folder: bytes) -> bool:
        """Whether the walk is in `folder` now."""
        return bool(self._stack) and self._stack[-1].folder == folder

    def next(self, most: int = _BLOCK) -> Stretch | None:
        """The next stretch of at most so many pairs, None at the end.  Raises what `begin` does."""
        while self._stack:
            level = self._stack[-1]
            try:
                filled = level.refill()
            except StoreError:
                self.unlisted = self._stack.pop().folder
                raise
            if not filled:
                self._stack.pop()
                continue
            if level.mark is not None:
                if (stretch := self._on_the_way(level)) is not None:
                    return stretch
                continue
            return Stretch(level.folder, level.stretch(most))
        return None

    def _on_the_way(self, level: Level) -> Stretch | None:
        """The pair that leads to the cursor, if it is still there."""
        pair = level.pairs[level.at]
        if name_of(pair) != level.mark:
            level.mark = None
            self._trail.clear()
            return None
        level.at += 1
        return Stretch(level.folder, [pair], finished=True)

    def give_away(self, span: Span, pieces: int) -> tuple[Span, list[Span]] | None:
        """Cut what was not reached yet off `span`, into at most `pieces` spans of like size.

        Returns what is left of `span` with the parts given away, or None when there is nothing to give.  What
        only the target has stays: a span is a part of the source.
        """
        try:
            return self._cut(span, pieces)
        except StoreError:
            return None  # What cannot be listed is told when its turn comes.

    def _cut(self, span: Span, pieces: int) -> tuple[Span, list[Span]] | None:
        for depth, level in enumerate(self._stack):
            if level.source is None:
                return None
            dearness = level.dearness
            if dearness > _TOO_DEAR:
                return None
            ahead = level.ahead()
            if not ahead:
                if level.left:
                    return None
                continue
            if dearness:
                pieces = 1
            alone = bool(dearness) or depth == len(self._stack) - 1
            keep = math.ceil(len(ahead) * (1 + dearness) / (pieces + 1)) if alone else 0
            if len(ahead) <= keep:
                return None
            given = ahead[keep:]
            own = level.folder == span.prefix
            stop = span.stop if own else None
            parts = Span(level.folder, given[0], stop).split(given, pieces)
            level.stop_at(given[0])
            return Span(level.folder, span.start if own else None, given[0], span.cursor), parts
        return None
