"""What the demo shows: a step, what came of it, how long it took; in the end all of them as a table."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from wherry.model.text import printable


class Interrupted(KeyboardInterrupt):
    """Somebody asked the demo to end.

    A class of its own: Python kills a process at its end that has seen a bare `KeyboardInterrupt` leave code which
    it compiled from a string (as it does for every data class), although it was caught further up.
    """


@dataclass
class Act:
    """One step; `result` is what came of it, in a few words."""

    title: str
    result: str = ""
    seconds: float = 0.0

    def say(self, text: str) -> None:
        """Tell something on the way."""
        print(f"   {printable(text)}", flush=True)


@dataclass
class Stage:
    """All steps so far.  `over` when somebody asked to end, or when it has ended."""

    acts: list[Act] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)
    over: bool = False

    @contextmanager
    def act(self, title: str) -> Iterator[Act]:
        """A step that takes as long as the block."""
        # Python may have lost the interruption: it swallows what a callback of its own raises.
        if self.over:
            raise Interrupted
        act = Act(title)
        self.acts.append(act)
        print(f"{len(self.acts)}. {title}", flush=True)
        begun = time.monotonic()
        yield act
        act.seconds = time.monotonic() - begun
        act.say(f"{act.result} ({act.seconds:.1f} s)")

    def table(self) -> None:
        """Everything once more."""
        total = time.monotonic() - self.begun
        rows = [(act.title, act.result, f"{act.seconds:.1f} s") for act in self.acts]
        rows.append(("All of it", "", f"{total:.1f} s"))
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        print()
        for row in rows:
            print(f"{row[0]:<{widths[0]}}  {printable(row[1]):<{widths[1]}}  {row[2]:>{widths[2]}}")
