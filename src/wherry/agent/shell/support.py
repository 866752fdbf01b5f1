"""The entry that collects a support bundle."""

from __future__ import annotations

from wherry.agent import bundle, facts
from wherry.agent.shell.here import Here
from wherry.model.errors import UsageError


def collect(here: Here) -> None:
    """Say what stays out, make a bundle, and say how to fetch it."""
    here.terminal.say("A bundle holds logs and the state of this machine. Left out are:")
    here.terminal.say("\n".join(f"  - {what}" for what in bundle.LEFT_OUT))
    if not here.agrees("Collect one?"):
        return
    try:
        made = bundle.collect(here.state)
    except OSError as trouble:
        raise UsageError(f"The bundle cannot be written: {trouble.strerror}.") from trouble
    here.terminal.say(f"Made {made.path.name}: {made.size} bytes, SHA-256 {made.sha256}.")
    for what in made.missing:
        here.terminal.say(f"Not in it: {what}.")
    here.terminal.say(_how(here, made.path.name))


def _how(here: Here, name: str) -> str:
    server = here.state.server
    address = (facts.address(server) if server else "") or facts.host_name()
    return (
        f"Fetch it, where this shell is served by SSH: sftp -P PORT admin@{address}:{name}\n"
        f"On this machine it is {bundle.folder(here.state) / name}."
    )
