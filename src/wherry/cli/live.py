"""How a run looks while it goes on: bars, rates and counters on a terminal, else a line every few seconds.

Works on counts by name (`model.outcomes.COUNTERS`), wherever they come from: a run of the control plane
(`run_watch`), a copy on this machine (`copy`), the demo.  Everything goes to standard error.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self

from wherry.model.text import one_line

if TYPE_CHECKING:
    from rich.console import RenderableType

LINE_SECONDS = 5.0
WINDOW = 30.0
# Before that, a rate says nothing.
_SETTLED = 3.0
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


@dataclass(frozen=True, slots=True)
class Moment:
    """How a run stands.

    `expected` is how many items it will have scanned at its end, 0 while nobody knows; `expected_bytes` likewise.
    `done` are the items and bytes that are settled, where that is known sooner than the counts.  `limit` says what
    it waits for most.
    """

    status: str
    items: dict[str, int]
    bytes: dict[str, int]
    expected: int = 0
    note: str = ""
    expected_bytes: int = 0
    done: tuple[int, int] | None = None
    limit: str = ""

    @property
    def scanned(self) -> int:
        return self.items.get("Scanned", 0)

    @property
    def settled(self) -> tuple[int, int]:
        """Items and bytes that are done with."""
        if self.done is not None:
            return self.done
        return self.scanned, sum(n for name, n in self.bytes.items() if name not in ("Scanned", "Deleted"))

    @property
    def moved(self) -> int:
        """The bytes whose rate is of interest."""
        return self.done[1] if self.done is not None else self.bytes.get("Transferred", 0)


@dataclass
class Pace:
    """Rates over the last `window` seconds, and how long it may still take."""

    begun: float
    window: float = WINDOW
    _seen: deque[tuple[float, int, int]] = field(default_factory=deque)

    def note(self, now: float, moment: Moment) -> None:
        """Take a moment in."""
        self._seen.append((now, moment.settled[0], moment.moved))
        while now - self._seen[0][0] > self.window and len(self._seen) > 2:
            self._seen.popleft()

    @property
    def rates(self) -> tuple[float, float] | None:
        """Items and bytes a second; None while it is too early to say."""
        (then, items, sent), (now, items_now, sent_now) = self._seen[0], self._seen[-1]
        if now - then < _SETTLED:
            return None
        return (items_now - items) / (now - then), (sent_now - sent) / (now - then)

    def remaining(self, moment: Moment) -> tuple[float, float] | None:
        """The least and the most seconds that it may still take; None while nobody knows.

        By the rate of the last seconds and by that of all; by items or by bytes, whichever takes longer.
        """
        rates = self.rates
        items, size = moment.settled
        passed = max(self._seen[-1][0] - self.begun, 0.001)
        left, left_bytes = moment.expected - items, moment.expected_bytes - size
        if rates is None or left <= 0:
            return None
        now = _longest(left, left_bytes, *rates)
        on_average = _longest(left, left_bytes, items / passed, moment.moved / passed)
        if now is None or on_average is None:
            return None
        return min(now, on_average), max(now, on_average)


def _longest(items: int, size: int, item_rate: float, byte_rate: float) -> float | None:
    if item_rate <= 0:
        return None
    by_bytes = size / byte_rate if size > 0 and byte_rate > 0 else 0.0
    return max(items / item_rate, by_bytes)


class Screen:
    """Shows moments of one run until the block ends."""

    def __init__(
        self, title: str, *, quiet: bool = False, clock: Callable[[], float] = time.monotonic,
        every: float | None = None, window: float = WINDOW,
    ) -> None:  # fmt: skip
        self._title = one_line(title)
        self._clock = clock
        self._every = LINE_SECONDS if every is None else every
        self._pace = Pace(clock(), window)
        self._told_at = clock()
        self._live = None
        if not quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), refresh_per_second=4, transient=True)
        self._quiet = quiet

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, moment: Moment) -> None:
        """Show how it stands now."""
        now = self._clock()
        self._pace.note(now, moment)
        if self._live is not None:
            # Not before: it has a thread, and workers can be forked as long as there is but one.
            self._live.start()
            self._live.update(self._picture(moment))
        elif not self._quiet and now - self._told_at >= self._every:
            self._told_at = now
            print(f"{self._title}: {self.line(moment)}", file=sys.stderr, flush=True)

    def line(self, moment: Moment) -> str:
        """A moment in one line."""
        parts = [moment.status, f"{moment.scanned:,} items scanned", *_counted(moment), *self._speed(moment)]
        return one_line(", ".join([*parts, moment.note] if moment.note else parts))

    def _speed(self, moment: Moment) -> list[str]:
        told = []
        rates = self._pace.rates
        if rates is not None and any(rates):
            told.append(f"{rates[0]:,.0f} items/s, {size(rates[1])}/s")
        if left := self._pace.remaining(moment):
            told.append(f"{_range(*left)} left")
        if moment.limit:
            told.append(f"held up by the {moment.limit}")
        return told

    def _picture(self, moment: Moment) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        done = min(moment.settled[0], moment.expected)
        bar = ProgressBar(total=moment.expected or None, completed=done, pulse=not moment.expected, width=50)
        passed = duration(self._clock() - self._pace.begun)
        head = Text.assemble((self._title, "bold"), f"  {one_line(moment.status)}  {passed}")
        beside = Table.grid(padding=(0, 2))
        beside.add_row(bar, Text(f"{done / moment.expected:.0%}" if moment.expected else ""))
        speed = Text(", ".join(self._speed(moment)))
        note = [Text(one_line(moment.note), style="yellow")] if moment.note else []
        return Group(head, beside, speed, _counts(moment), *note)


def size(count: float) -> str:
    """Bytes for people."""
    unit = 0
    while count >= 1024 and unit < len(_UNITS) - 1:
        count, unit = count / 1024, unit + 1
    return f"{count:.0f} {_UNITS[unit]}" if unit == 0 else f"{count:.1f} {_UNITS[unit]}"


def duration(seconds: float) -> str:
    """A length of time for people."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"


def _range(least: float, most: float) -> str:
    low, high = duration(least), duration(most)
    return f"about {high}" if low == high else f"{low} to {high}"


def _counted(moment: Moment) -> list[str]:
    done = [f"{moment.done[0]:,} done ({size(moment.done[1])})"] if moment.done is not None else []
    words = {
        "Transferred": "transferred",
        "NoTransferNeeded": "not needed",
        "Excluded": "excluded",
        "Unsupported": "unsupported",
        "Failed": "failed",
        "Deleted": "deleted",
    }
    told = done
    for name, word in words.items():
        if count := moment.items.get(name, 0):
            amount = f" ({size(moment.bytes.get(name, 0))})" if name == "Transferred" else ""
            told.append(f"{count:,} {word}{amount}")
    return told


def _counts(moment: Moment) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 3))
    grid.add_row(Text(f"{moment.scanned:,} items scanned"), *(Text(one) for one in _counted(moment)))
    return grid
