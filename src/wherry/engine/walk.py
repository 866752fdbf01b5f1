"""The walk: source and target listed side by side, folder by folder, in the order of the ledger's spans.

A `Walk` yields **stretches** (`level`): items that follow one another in one folder.  It goes into a folder only when
its caller says so, so that nothing below an excluded folder or below a target that is not there is ever listed; a
folder therefore is always the last pair of its stretch.  The walk begins right after a span's cursor and can give the
later part of what it has not reached away.  Called by `span`; it decides nothing and writes nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from wherry.engine.level import BLOCK, Level, Side, SourceUnlisted, Stretch, TargetUnlisted
from wherry.engine.listing import Lister
from wherry.engine.pairing import name_of
from wherry.model import names
from wherry.model.errors import NotFound, StoreError
from wherry.model.ledger import Span
from wherry.model.plan import Judge
from wherry.stores.port import Store

# So many pages of names make a folder a wide one, which nobody lists again for nothing.
_WIDE = 20
# Whoever gets half of what is left must be done with it before this one would be with all.
_TOO_DEAR = 0.5


class Walk:
    """One walk over a span.

    `all_of_target`: what only the target has is wanted, too.  `judge`: who tells what is alike at a glance.
    """

    def __init__(
        self,
        source: Store,
        target: Store,
        span: Span,
        moved: Callable[[], None],
        *,
        all_of_target: bool = True,
        judge: Judge | None = None,
    ) -> None:
        self._moved = moved
        self._source = Lister(source, self._page)
        self._target = Lister(target, self._page)
        self._stack: list[Level] = []
        self._span = span
        self._all_of_target = all_of_target
        self._judge = judge if judge and judge.glances else None
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
        level = Level(
            folder,
            source,
            target,
            mark,
            all_of_target=self._all_of_target,
            twins=self._twins,
            judge=self._judge,
        )
        if self._pages - pages >= _WIDE:
            level.cost = time.perf_counter() - begun
        self._stack.append(level)

    def _page(self) -> None:
        self._pages += 1
        self._moved()

    @staticmethod
    def _side(
        listed: Lister, folder: bytes, trouble: type[StoreError], low: bytes | None, high: bytes | None
    ) -> Side | None:
        try:
            return Side(listed(folder, low, high), trouble)
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
            and 0 < level.at < len(level.items)
            and name_of(level.items[level.at]) == name_of(level.items[level.at - 1])
        )

    def inside(self, folder: bytes) -> bool:
        """Whether the walk is in `folder` now."""
        return bool(self._stack) and self._stack[-1].folder == folder

    def next(self, most: int = BLOCK) -> Stretch | None:
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
            return level.stretch(most)
        return None

    def _on_the_way(self, level: Level) -> Stretch | None:
        """The pair that leads to the cursor, if it is still there."""
        if name_of(level.items[level.at]) != level.mark:
            level.mark = None
            self._trail.clear()
            return None
        return level.stretch(1)._replace(finished=True)

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
