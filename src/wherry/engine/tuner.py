"""How many threads are worth having: hill climbing on what gets done.

Pure: rates go in, a number of threads comes out.  It steps up as long as a step brings more than a fifth of what it
adds, steps back when it brought less, and tries again from time to time, because a target's mood changes.  Called by
`team` a few times a second.
"""

from __future__ import annotations

# As much as one item more: what a small request costs a service, in bytes of a large one.
_ITEM_BYTES = 256 * 1024
_FIRST_WIDTH = 4
_FACTORS = (4.0, 2.0, 1.4)
_WORTH = 0.2
_REST = 20


class Tuner:
    """The advice for one lease.  `most` is the largest width."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.width = min(_FIRST_WIDTH, most)
        self._step = 0
        self._before: tuple[int, float] | None = None
        self._rest = 0

    def observe(self, items: float, size: float) -> int:
        """The width to go on with, after a while with `items` and bytes a second at the present one."""
        rate = items + size / _ITEM_BYTES
        if self._rest:
            self._rest -= 1
            if not self._rest:
                # Once more from here, gently: up, and by the way down again if that brings nothing.
                self._step = len(_FACTORS) - 1
            return self.width
        if self._before is not None and not _was_worth_it(*self._before, self.width, rate):
            self.width = self._before[0]
            self._before = None
            self._step += 1
            if self._step >= len(_FACTORS):
                self._rest = _REST
            return self.width
        if self.width >= self._most:
            self._before, self._rest = None, _REST
            return self.width
        self._before = (self.width, rate)
        factor = _FACTORS[min(self._step, len(_FACTORS) - 1)]
        self.width = min(self._most, max(self.width + 1, int(self.width * factor)))
        return self.width


def _was_worth_it(width: int, before: float, wider: int, rate: float) -> bool:
    """Whether a step brought at least a fifth of what it added."""
    return before <= 0 or rate >= before * (1 + _WORTH * (wider / width - 1))
