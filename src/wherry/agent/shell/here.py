"""One session of the shell: who sits where, and which agent it is about; questions until an answer makes sense.

Made by `console` and `ssh`, passed to every action.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wherry.agent.admin_password import AdminPassword
from wherry.agent.machine.client import default_socket
from wherry.agent.shell.menus import MENUS, Menu
from wherry.agent.shell.terminal import Terminal
from wherry.agent.state import AgentState


@dataclass(frozen=True, slots=True)
class Here:
    """A session at `terminal` with the agent of `state`; `who` is what the log calls it.

    `menus` are those of the original that people know, or its newer ones; at `helper` listens what sets the machine.
    """

    terminal: Terminal
    state: AgentState
    who: str = "console"
    menus: Mapping[str, Menu] = field(default_factory=lambda: MENUS)
    helper: Path = field(default_factory=default_socket)

    @property
    def password(self) -> AdminPassword:
        """The password of the user admin on this machine."""
        return AdminPassword(self.state.directory)

    def question(
        self, what: str, trouble: Callable[[str], str] = lambda _answer: "", default: str = "", note: str = ""
    ) -> str:
        """An answer about which `trouble` finds nothing to say; `default` is what Enter stands for."""
        shown = f" [{default}]" if default else ""
        while True:
            answer = self.terminal.ask(f"{what}{shown}{note}: ").strip() or default
            wrong = trouble(answer)
            if not wrong:
                return answer
            self.terminal.say(wrong)

    def agrees(self, question: str) -> bool:
        """Whether the answer is yes; Enter is no."""
        return self.terminal.ask(f"{question} [y/N] ").strip().lower() in ("y", "yes")
