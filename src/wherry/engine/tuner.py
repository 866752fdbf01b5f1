"""How many threads are worth having: hill climbing on what gets done.

Pure: rates go in, a number of threads comes out.  It steps up as long as a step brings more than a fifth of what it
adds and steps back when it brought less; from time to time it tries whether fewer do as well, or more do better,
because a target's mood changes.  Called by
`team` a few times a second.
"""

from __future__ import annotations

# As much as one item more: what a small request costs a service, in bytes of a large one.
_ITEM_BYTES = 256 * 1024
_FIRST_WIDTH = 4
_FACTORS = (4.0, 2.0, 1.4)
_WORTH = 0.2
_AS_GOOD = 0.97
_REST = 20


class Tuner:
    """The advice for one lease.  `most` is the largest width."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.width = min(_FIRST_WIDTH, most)
        self._step = 0
        self._before: tuple[int, float] | None = None
        self._rest = 0
        self._upwards = True

    def observe(self, items: float, size: float) -> int:
        """The width to go on with, after a while with `items` and bytes a second at the present one."""
        rate = items + size / _ITEM_BYTES
        if self._rest:
            self._rest -= 1
            if not self._rest:
                self._look_around(rate)
        elif self._before is None:
            self._climb(rate)
        else:
            self._judge(*self._before, rate)
        return self.width

    def _climb(self, rate: float) -> None:
        if self.width >= self._most:
            self._settle(upwards=False)
            return
        self._before = (self.width, rate)
        self.width = min(self._most, max(self.width + 1, int(self.width * _FACTORS[self._step])))

    def _judge(self, width: int, before: float, rate: float) -> None:
        """Keep the last step or take it back."""
        self._before = None
        if self.width < width:
            fewer_do = rate >= before * _AS_GOOD
            self.width = self.width if fewer_do else width
            self._settle(upwards=not fewer_do)
        elif before <= 0 or rate >= before * (1 + _WORTH * (self.width / width - 1)):
            self._climb(rate)
        else:
            self.width = width
            self._step += 1
            if self._step >= len(_FACTORS):
                self._settle(upwards=False)

    def _settle(self, *, upwards: bool) -> None:
        """Go on as it is for a while, and then look whether more (or fewer) would do better."""
        self._rest, self._upwards = _REST, upwards
        self._step = len(_FACTORS) - 1

    def _look_around(self, rate: float) -> None:
        if self._upwards and self.width < self._most:
            self._climb(rate)
        elif self.width > 1:
            self._before = (self.width, rate)
            self.width = max(1, min(self.width - 1, int(self.width / _FACTORS[-1])))
        else:
            self._upwards = True
            self._climb(rate)
