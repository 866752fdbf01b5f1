"""The entry that starts the agent anew, where it runs already."""

from __future__ import annotations

import os
import signal

from wherry.agent.shell.here import Here
from wherry.model.errors import UsageError


def restart(here: Here) -> None:
    """Let the agent give its work back and begin anew; sessions over SSH end with it."""
    pid = here.state.holder("run")
    if pid is None:
        raise UsageError("The agent does not run. Start it the way this machine starts its services.")
    if not here.agrees("Start the agent anew? Its work goes on afterwards; sessions over SSH end."):
        return
    try:
        os.kill(pid, signal.SIGUSR1)
    except PermissionError as refused:
        raise UsageError(
            "The agent runs as another user. Become that user, or use its shell over SSH."
        ) from refused
    here.terminal.say("The agent begins anew.")
