"""The walk: source and target listed side by side, folder by folder, in the order of the ledger's spans.

A `Walk` yields pairs of entries of the same name (either may be missing) and goes into a folder only when its
caller says so, so that nothing below an excluded folder or below a target that is not there is ever listed.
It begins right after a span's cursor and can give the later part of what it has not reached away.
Called by `span`; it decides nothing and writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from wherry.model import names
from wherry.model.entry import Entry, Kind
from wherry.model.errors import NotFound, StoreError
from wherry.model.ledger import Span
from wherry.stores.port import Store


class Pair(NamedTuple):
    """What both sides hold under one name.  `finished`: an ancestor of the cursor, only to be entered again."""

    path: bytes
    source: Entry | None
    target: Entry | None
    finished: bool = False


class SourceUnlisted(StoreError):
    """A folder of the source could not be listed."""

    code = "AZSM1002"


class TargetUnlisted(StoreError):
    """A folder of the target could not be listed."""

    code = "AZSM2068"


@dataclass(slots=True)
class Level:
    """A folder in the middle of being walked: its pairs in order, and how far they are consumed.

    `mark` is the name on the way to the cursor: what lies before it is finished, it itself is at least begun.
    `in_source` is False where only the target has the folder.
    """

    folder: bytes
    pairs: list[tuple[Entry | None, Entry | None]]
    mark: bytes | None = None
    in_source: bool = True
    at: int = 0

    @property
    def left(self) -> int:
        return len(self.pairs) - self.at


def merge(source: list[Entry], target: list[Entry]) -> Iterator[tuple[Entry | None, Entry | None]]:
    """Pairs by name of two sorted listings.

    A store that holds a file and a folder of one name has each paired with the one of its kind; what is left
    over on the target is an item of its own.
    """
    at = 0
    same: list[Entry] = []
    for number, entry in enumerate(source, 1):
        while at < len(target) and target[at].name < entry.name:
            yield None, target[at]
            at += 1
        while at < len(target) and target[at].name == entry.name:
            same.append(target[at])
            at += 1
        twin = number < len(source) and source[number].name == entry.name
        other = same[0] if same and not twin else None
        partner = next((one for one in same if one.kind is entry.kind), other)
        yield entry, partner
        same = [one for one in same if one is not partner]
        if not twin:
            yield from ((None, one) for one in same)
            same = []
    for entry in target[at:]:
        yield None, entry


class Walk:
    """One walk over a span."""

    def __init__(
        self, source: Store, target: Store, span: Span, moved: Callable[[], None] = lambda: None
    ) -> None:
        self._moved = moved
        self._source = source
        self._target = target
        self._stack: list[Level] = []
        self._span = span
        self._twins = "markers" in (source.traits.folders, target.traits.folders)
        cursor = names.parts(span.cursor) if span.cursor is not None else ()
        self._trail = list(cursor[len(names.parts(span.prefix)) :])

    def begin(self) -> None:
        """List the span's own folder.  Raises `SourceUnlisted` or `TargetUnlisted`."""
        self.enter(self._span.prefix, in_source=True, in_target=True)
        start, stop = self._span.start, self._span.stop
        level = self._stack[0]
        level.pairs = [
            pair
            for pair in level.pairs
            if (start is None or _name(pair) >= start) and (stop is None or _name(pair) < stop)
        ]

    def enter(self, folder: bytes, *, in_source: bool, in_target: bool) -> None:
        """Go into `folder` next; a side that does not have it is not asked."""
        source = self._listing(self._source, folder, SourceUnlisted) if in_source else []
        target = self._listing(self._target, folder, TargetUnlisted) if in_target else []
        pairs = list(merge(source, target))
        if self._twins:
            # Of one name the folder last: the walk goes on in it and never comes back before it.
            pairs.sort(key=lambda pair: (_name(pair), (pair[0] or pair[1] or _NOTHING).kind is Kind.FOLDER))
        mark = self._trail.pop(0) if self._trail else None
        if mark is not None:
            pairs = [pair for pair in pairs if _name(pair) >= mark]
        self._stack.append(Level(folder, pairs, mark, in_source))

    def _listing(self, store: Store, folder: bytes, trouble: type[StoreError]) -> list[Entry]:
        entries: list[Entry] = []
        try:
            for entry in store.list(folder):
                entries.append(entry)
                if len(entries) % _TELL_EVERY == 0:
                    self._moved()  # A wide folder may take longer than a lease may stand still.
        except NotFound as gone:
            if trouble is TargetUnlisted:
                return []
            raise trouble(str(gone)) from gone
        except StoreError as error:
            raise trouble(str(error)) from error
        if trouble is TargetUnlisted:
            # Another agent may be writing it at this moment.
            entries = [entry for entry in entries if not names.is_temporary(entry.name)]
        if store.traits.order != "bytes":
            entries.sort(key=lambda entry: entry.name)
        return entries

    def leave(self) -> None:
        """Leave the folder that was entered last."""
        self._stack.pop()

    @property
    def amid(self) -> bool:
        """Whether the next pair has the name of the last one, so that no cursor can stand between them."""
        level = self._stack[-1] if self._stack else None
        return (
            level is not None
            and 0 < level.at < len(level.pairs)
            and _name(level.pairs[level.at]) == _name(level.pairs[level.at - 1])
        )

    def inside(self, folder: bytes) -> bool:
        """Whether the walk is in `folder` now."""
        return bool(self._stack) and self._stack[-1].folder == folder

    def next(self) -> Pair | None:
        """The next pair, None at the end."""
        while self._stack:
            level = self._stack[-1]
            if not level.left:
                self._stack.pop()
                continue
            pair = level.pairs[level.at]
            level.at += 1
            finished = level.mark is not None and _name(pair) == level.mark
            if not finished and level.mark is not None:
                level.mark = None
                self._trail.clear()
            return Pair(names.join(level.folder, _name(pair)), *pair, finished=finished)
        return None

    def give_away(self, span: Span, pieces: int) -> tuple[Span, list[Span]] | None:
        """Cut what was not reached yet off `span`, into at most `pieces` spans of like size.

        Returns what is left of `span` with the parts given away, or None when there is nothing to give.  What
        only the target has stays: a span is a part of the source.
        """
        for depth, level in enumerate(self._stack):
            if not level.in_source:
                return None
            if not level.left:
                continue
            deepest = depth == len(self._stack) - 1
            ahead = sorted({_name(pair) for pair in level.pairs[level.at :]})
            keep = -(-len(ahead) // (pieces + 1)) if deepest else 0
            if len(ahead) <= keep:
                return None
            given = ahead[keep:]
            own = level.folder == span.prefix
            stop = span.stop if own else None
            parts = Span(level.folder, given[0], stop).split(given, pieces)
            level.pairs = [pair for pair in level.pairs if _name(pair) < given[0]]
            return Span(level.folder, span.start if own else None, given[0], span.cursor), parts
        return None


_TELL_EVERY = 1000
_NOTHING = Entry(b"", Kind.FILE)


def _name(pair: tuple[Entry | None, Entry | None]) -> bytes:
    return (pair[0] or pair[1] or _NOTHING).name
