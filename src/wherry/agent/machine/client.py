"""What the agent asks the machine's service for.  Called by the shell's entries about the machine."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wherry.agent.machine import verbs
from wherry.agent.machine.verbs import Setting
from wherry.model.errors import UsageError

SOCKET = Path("/run/wherry-helper/helper.sock")
VARIABLE = "WHERRY_HELPER_SOCKET"
# Programs of the system take their time, and up to four of them work for one request.
_SECONDS = 150.0


def default_socket(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the service listens unless the agent was told otherwise."""
    return Path(environ.get(VARIABLE) or SOCKET)


@dataclass(frozen=True, slots=True)
class MachineClient:
    """The service at `socket`; each call raises `UsageError` with what it says, or that it is not there."""

    socket: Path

    def show(self) -> dict[str, Any]:
        """How the machine is set."""
        return self._ask({"verb": "show"})

    def begin(self, setting: Setting, seconds: int = verbs.SECONDS) -> str:
        """Try a setting for so long; the id of the change."""
        asked = {"verb": setting.verb, "seconds": seconds, **verbs.told(setting)}
        return str(self._ask(asked).get("change", ""))

    def confirm(self, change: str) -> None:
        """Keep a change."""
        self._ask({"verb": "confirm", "change": change})

    def roll_back(self, change: str) -> None:
        """Take a change back."""
        self._ask({"verb": "roll-back", "change": change})

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as line:
                line.settimeout(_SECONDS)
                line.connect(str(self.socket))
                line.sendall(verbs.line(request))
                with line.makefile("rb") as answers:
                    told = answers.readline(verbs.LONGEST)
        except (ConnectionResetError, BrokenPipeError):
            told = b""
        except OSError as trouble:
            raise UsageError(
                f"The service for settings of this machine does not answer at {self.socket} ({trouble.strerror}). "
                "Start it as root: systemctl start wherry-helper, or: wherry agent helper --agent-user USER."
            ) from trouble
        if not told:
            raise UsageError(
                "The service for settings of this machine refuses this user: it answers root and the user that its "
                "option --agent-user names."
            )
        return _answer(told)


def _answer(told: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(told)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise UsageError("The service for settings of this machine gives an answer that makes no sense.")
    if not answer.pop("ok", False):
        raise UsageError(str(answer.get("error", "It was refused.")))
    return answer
