"""A session of the admin shell in which all that is typed is known beforehand."""

from __future__ import annotations

from collections.abc import Iterable

from wherry.agent.shell.terminal import Closed, Interrupted

CTRL_C = "\x03"


class Script:
    """A terminal whose lines are known beforehand; then nobody sits there any more."""

    width = 80

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self.shown: list[str] = []
        self.secrets: list[str] = []

    def say(self, text: str) -> None:
        self.shown.append(text)

    def ask(self, prompt: str, *, secret: bool = False) -> str:
        self.shown.append(prompt)
        line = next(self._lines, None)
        if line is None:
            raise Closed
        if line == CTRL_C:
            raise Interrupted
        if secret:
            self.secrets.append(line)
        return line

    def rest(self, seconds: float) -> None:
        """No time passes."""

    @property
    def text(self) -> str:
        return "\n".join(self.shown)
