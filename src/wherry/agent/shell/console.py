"""The shell on the terminal that this process was started on.  Called by `wherry agent shell` and `xdmsh`."""

from __future__ import annotations

import contextlib
import getpass
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from wherry.agent.admin_password import Verdict
from wherry.agent.shell import shell, system
from wherry.agent.shell.here import Here
from wherry.agent.shell.host_key import fingerprint
from wherry.agent.shell.menus import MENUS, Menu
from wherry.agent.shell.terminal import Closed, Interrupted
from wherry.agent.state import AgentState
from wherry.model.text import printable

_TRIES = 3
_PAUSE_SECONDS = 2.0


def run(state: AgentState, *, login: bool, menus: Mapping[str, Menu] = MENUS) -> int:
    """The shell until it is left; `login` asks for the password of the admin first.  An exit code."""
    here = Here(Console(), state, menus=menus)
    try:
        if login:
            _log_in(here)
    except (Closed, Interrupted):
        return 1
    with contextlib.suppress(Closed):
        shell.run(here)
    return 0


def _log_in(here: Here) -> None:
    """Let in who knows the password; raises `Closed`."""
    here.terminal.say(f"SSH host key of this agent: {fingerprint(here.state)}")
    for _ in range(_TRIES):
        user = here.terminal.ask("Local user: ").strip()
        verdict = here.password.verdict(user, here.terminal.ask("Password: ", secret=True), network=False)
        if verdict is Verdict.CHANGE:
            system.first_change(here)
        if verdict is not Verdict.NOTHING:
            return
        here.terminal.rest(_PAUSE_SECONDS)
        here.terminal.say("That is not the password.")
    raise Closed


class Console:
    """Standard input and output; without a terminal, lines as they come."""

    @property
    def width(self) -> int:
        """Columns of the terminal."""
        return shutil.get_terminal_size().columns

    def say(self, text: str) -> None:
        with _told():
            sys.stdout.write(printable(text) + "\n")
            sys.stdout.flush()

    def ask(self, prompt: str, *, secret: bool = False) -> str:
        with _told():
            if not sys.stdin.isatty():
                return input(prompt)
            if secret:
                return getpass.getpass(prompt)
            sys.stdout.write(prompt)
            sys.stdout.flush()
            _await_line()
            return input()

    def rest(self, seconds: float) -> None:
        with _told():
            time.sleep(seconds)


def _await_line() -> None:
    """Wait for a line where Ctrl-C counts from the first moment; `input` does not hear one just before it waits."""
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    before = signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    try:
        select.select([sys.stdin, woken], [], [])
    finally:
        signal.set_wakeup_fd(before)
        os.close(woken)
        os.close(wakes)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        sys.stdout.write("\n")
        raise Interrupted from None
    except (EOFError, OSError, UnicodeDecodeError) as end:
        raise Closed from end
