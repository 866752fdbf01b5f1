"""What the shell speaks to: something that shows lines and gives lines, however they travel.

`console` and `ssh` are the two there are; tests bring their own.  The shell is plain code that waits for a line, so
each session has a thread of its own.
"""

from __future__ import annotations

from typing import Protocol


class Interrupted(Exception):
    """Whoever sits there pressed Ctrl-C: what goes on ends, the shell does not."""


class Closed(Exception):
    """Nobody sits there any more: the line ended, or nothing was typed for too long."""


class Terminal(Protocol):
    """One session.  All of it may raise `Closed`; `ask` and `rest` raise `Interrupted`."""

    @property
    def width(self) -> int:
        """Columns, 80 where nobody tells."""

    def say(self, text: str) -> None:
        """Show lines; what a terminal could obey is shown, not obeyed."""

    def ask(self, prompt: str, *, secret: bool = False) -> str:
        """A line, without its end; `secret`: not shown while it is typed, nor kept."""

    def rest(self, seconds: float) -> None:
        """Wait."""
