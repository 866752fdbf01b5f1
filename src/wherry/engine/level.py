"""One folder in the middle of a walk: both stores' listings of it, side by side, some hundred items at a time.

Most items of a second run are alike on both sides; where both stores can tell that at a glance, no entry is made of
them.  Used by `walk`, which keeps a level for each folder on its way.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from typing import NamedTuple

from wherry.engine.listing import Listing
from wherry.engine.pairing import (
    after_folder,
    all_alike,
    any_folder,
    holds_folder,
    name_of,
    pair_off,
    parted,
    put_folders_last,
)
from wherry.model import names
from wherry.model.entry import Alike, Entry, Glance
from wherry.model.errors import StoreError
from wherry.model.plan import Judge, Pair

BLOCK = 1000


class Stretch(NamedTuple):
    """Items that follow one another in `folder` up to `last`; only the last of the pairs may have a folder in it.

    `alike` are those about which nothing is left to decide; they lie anywhere between the pairs.
    `finished`: the one pair is an ancestor of the cursor, only to be entered again.
    """

    folder: bytes
    pairs: list[Pair]
    last: bytes
    alike: list[Alike] = []  # noqa: RUF012 - nobody changes it
    finished: bool = False


class SourceUnlisted(StoreError):
    """A folder of the source could not be listed."""

    code = "AZSM1002"


class TargetUnlisted(StoreError):
    """A folder of the target could not be listed."""

    code = "AZSM2068"


class Side:
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

    def glance(self, names: list[bytes]) -> Glance | None:
        try:
            return self._listed.glance(names)
        except StoreError as error:
            raise self._trouble(str(error)) from error

    def look(self, names: list[bytes]) -> list[Entry | None]:
        try:
            return self._listed.look(names)
        except StoreError as error:
            raise self._trouble(str(error)) from error

    def skip(self, count: int) -> None:
        self._listed.skip(count)

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
        source: Side | None,
        target: Side | None,
        mark: bytes | None,
        *,
        all_of_target: bool,
        twins: bool,
        judge: Judge | None,
    ) -> None:
        self.folder = folder
        self.source = source
        self.mark = mark
        self.items: list[Pair | Alike] = []
        self.at = 0
        self._target = target
        self._all_of_target = all_of_target
        self._twins = twins
        self._judge = judge if mark is None else None
        self._only_files = False
        self._begun = time.perf_counter()
        self._taken = 0
        # The seconds that it took to list it, if it is a wide one.
        self.cost = 0.0

    def refill(self) -> bool:
        """Read more items when all are consumed; False when there are none."""
        while self.at >= len(self.items):
            ours = self.source.peek(BLOCK) if self.source else []
            theirs = self._target.peek(BLOCK) if self._target else []
            if not ours and not (theirs and self._all_of_target):
                return False
            if ours == theirs and self._glance(ours):
                continue
            bound = _bound(ours, theirs)
            wanted = None if self._all_of_target or theirs == ours else set(ours)
            target = self._take(self._target, theirs, bound, wanted)
            source = self._take(self.source, ours, bound, None)
            if self._all_of_target:
                # Another agent may be writing there at this moment.
                target = [entry for entry in target if not names.is_temporary(entry[0])]
            pairs = pair_off(source, target)
            self._only_files = not any_folder(source, target)
            if self._twins:
                put_folders_last(pairs)
            self.items, self.at = [*pairs], 0
        return True

    def _glance(self, names: list[bytes]) -> bool:
        """Read items that both sides have by the same names, those that are alike without an entry for each."""
        if self._judge is None or self.source is None or self._target is None:
            return False
        target = self._target.glance(names)
        source = self.source.glance(names) if target else None
        if source is None or target is None:
            return False
        self.items, self.at = all_alike(names, source), 0
        self._only_files = True
        if different := self._judge.different(source, target):
            self._look(different, [names[number] for number in different])
        self.source.skip(len(names))
        self._target.skip(len(names))
        return True

    def _look(self, different: list[int], names: list[bytes]) -> None:
        """Put pairs in the place of what is not alike."""
        target = self._target.look(names) if self._target else []
        source = self.source.look(names) if self.source else []
        for number, pair in zip(different, zip(source, target, strict=True), strict=True):
            self.items[number] = pair
            self._only_files = self._only_files and not holds_folder(pair)
        self.items = [item for item in self.items if item != (None, None)]

    def stretch(self, most: int) -> Stretch:
        """The next items, at most so many, none of them after one with a folder in it."""
        begin, end = self.at, min(self.at + most, len(self.items))
        self.at = end if self._only_files else after_folder(self.items, begin, end)
        self._taken += self.at - begin
        items = self.items[begin : self.at]
        pairs, alike = parted(items)
        return Stretch(self.folder, pairs, name_of(items[-1]), alike)

    @property
    def dearness(self) -> float:
        """How long it takes another to list the folder again, by how long what is left of it takes here."""
        left = len(self.items) - self.at + (self.source.left() if self.source else 0)
        if not self.cost or not self._taken or not left:
            return 0.0
        return self.cost * self._taken / ((time.perf_counter() - self._begun) * left)

    @property
    def left(self) -> bool:
        """Whether anything is still to come, be it of the target alone."""
        if self.at < len(self.items):
            return True
        return bool(self._all_of_target and self._target and self._target.peek(1))

    @staticmethod
    def _take(
        side: Side | None, seen: list[bytes], bound: bytes | None, wanted: set[bytes] | None
    ) -> list[Entry]:
        if side is None:
            return []
        count = len(seen) if bound is None else bisect_right(seen, bound)
        return side.take(count, wanted) if count else []

    def ahead(self) -> list[bytes]:
        """Names of the source that are still to come, in order; some of them where there are very many."""
        known = {name_of(item) for item in self.items[self.at :] if item[0] is not None}
        return sorted(known.union(self.source.ahead() if self.source else ()))

    def stop_at(self, name: bytes) -> None:
        """Let the folder end before `name`."""
        self.items = [item for item in self.items[self.at :] if name_of(item) < name]
        self.at = 0
        for side in (self.source, self._target):
            if side is not None:
                side.stop_at(name)


def _bound(ours: list[bytes], theirs: list[bytes]) -> bytes | None:
    """Up to which name both sides are known; None when all is.  Twins at the end of what was read stay together."""
    bounds = []
    for seen in (ours, theirs):
        if len(seen) >= BLOCK:
            before = bisect_left(seen, seen[-1])
            bounds.append(seen[before - 1] if before else seen[-1])
    return min(bounds, default=None)
