"""Entries about this machine: what it is, and the password of its admin."""

from __future__ import annotations

import platform
from datetime import UTC, datetime

from wherry import __version__
from wherry.agent import clock, facts
from wherry.agent.admin_password import ChangedMeanwhile
from wherry.agent.shell.here import Here
from wherry.agent.shell.host_key import fingerprint
from wherry.agent.shell.terminal import Closed
from wherry.model.errors import UsageError
from wherry.trust.passwords import LEAST_LENGTH

_TRIES = 5


def show(here: Here) -> None:
    """The machine and the program."""
    here.terminal.say(
        "\n".join(
            f"{name:<22}{value}"
            for name, value in (
                ("Host name", facts.host_name()),
                ("Version", f"{__version__} (Python {platform.python_version()})"),
                ("Hardware", f"{platform.machine()}, {facts.cores()} processors, {facts.memory_in_mb()} MB"),
                ("Kernel", platform.release()),
                ("Time", f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC, zone {facts.time_zone() or 'unknown'}"),
                ("Clock", clock.state()),
                ("Time servers", ", ".join(clock.time_servers()) or "as the system has them"),
                ("Up for", f"{facts.uptime_in_seconds() // 3600} hours"),
                ("SSH host key", fingerprint(here.state)),
            )
        )
    )


def change_password(here: Here, *, first: bool = False) -> None:
    """Ask twice, without echo, until it is a password that will do."""
    here.terminal.say(
        f"A password has at least {LEAST_LENGTH} characters, and is none of those that are guessed first. "
        "Note it down: nobody can recover it."
    )
    for _ in range(_TRIES):
        password = here.terminal.ask("New password: ", secret=True)
        if here.terminal.ask("Once more: ", secret=True) != password:
            here.terminal.say("These were two different ones.")
            continue
        try:
            here.password.change(password, first=first)
        except ChangedMeanwhile:
            raise
        except UsageError as weak:
            here.terminal.say(str(weak))
        else:
            here.terminal.say("The password is changed.")
            return
    raise UsageError("The password is as it was.")


def first_change(here: Here) -> None:
    """All that the default password opens; raises `Closed` when it was not changed."""
    here.terminal.say(
        "This agent still has its default password. Change it; nothing else is open until then."
    )
    try:
        change_password(here, first=True)
    except UsageError as kept:
        here.terminal.say(str(kept))
        raise Closed from kept
