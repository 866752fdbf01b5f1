"""An agent begins anew when its shell is told so: the same process, the same command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.integration.agents import until
from tests.talk import on_terminal
from wherry.agent.shell.menus import MENUS
from wherry.agent.state import AgentState

WHERRY = (sys.executable, "-m", "wherry.cli.main", "agent")


def test_by_the_shell_on_its_machine(tmp_path: Path) -> None:
    state, log = tmp_path / "agent", tmp_path / "log"
    with log.open("wb") as told:
        process = subprocess.Popen(
            [*WHERRY, "run", "--state", str(state)], stderr=told, stdin=subprocess.DEVNULL
        )
    try:
        until(lambda: log.read_text().count('"unregistered"') == 1)
        with on_terminal([*WHERRY, "shell", "--state", str(state)], os.environ) as talk:
            talk.type("xdmsh> ", "7\r")
            talk.type("[y/N]", "y\r")
            talk.type("The agent begins anew.", "")
            talk.type("xdmsh> ", f"{len(MENUS['main'].entries)}\r")
        until(lambda: log.read_text().count('"unregistered"') == 2)
        assert AgentState(state).holder("run") == process.pid
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
