"""The restricted shell: a few commands to look at the network with, each ours, with checked arguments.

No program is started and no file is read or written, so that there is nothing to get out to.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from dataclasses import dataclass

from wherry.agent import network_check
from wherry.agent.path_trace import trace
from wherry.agent.ping import ping
from wherry.agent.shell.here import Here
from wherry.agent.shell.terminal import Interrupted
from wherry.model.errors import UsageError, WherryError

PROMPT = "restricted> "
_HOST = re.compile(r"[A-Za-z0-9_:%](?:[A-Za-z0-9._:%-]{0,251}[A-Za-z0-9._:%])?")
_MOST_SILENT = 5


@dataclass(frozen=True, slots=True)
class Command:
    """One word: what comes behind it, what it is for, how many words it takes."""

    told: str
    help: str
    words: range
    run: Callable[..., None]


def open_shell(here: Here) -> None:
    """Take commands until `exit`."""
    here.terminal.say("Commands to look at the network with. Type help for a list, exit to leave.")
    while True:
        try:
            words = here.terminal.ask(PROMPT).split()
        except Interrupted:
            continue
        if words == ["exit"]:
            return
        if words:
            _run(here, words)


def _run(here: Here, words: list[str]) -> None:
    command = COMMANDS.get(words[0])
    if command is None:
        here.terminal.say("There is no such command. Type help for a list, exit to leave.")
        return
    try:
        if len(words) - 1 not in command.words:
            raise UsageError(f"It is: {words[0]} {command.told}".rstrip())
        command.run(here, *words[1:])
    except Interrupted:
        here.terminal.say("\nStopped.")
    except WherryError as trouble:
        here.terminal.say(str(trouble))
    except OSError as trouble:
        here.terminal.say(f"It does not work: {trouble.strerror or trouble}.")


def _help(here: Here) -> None:
    for word, command in COMMANDS.items():
        here.terminal.say(f"{f'{word} {command.told}':<30}{command.help}")


def _nslookup(here: Here, name: str) -> None:
    found = socket.getaddrinfo(_host(name), None, type=socket.SOCK_STREAM)
    for address in dict.fromkeys(str(where[0]) for *_, where in found):
        here.terminal.say(address)


def _ping(here: Here, host: str) -> None:
    for address, seconds in ping(_host(host)):
        here.terminal.say(f"{address}: " + ("no answer" if seconds is None else f"{seconds * 1000:.1f} ms"))


def _traceroute(here: Here, host: str, port: str = "443") -> None:
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        raise UsageError("A port is a number from 1 to 65535.")
    show_way(here, _host(host), int(port))


def _curl(here: Here, url: str) -> None:
    for step in network_check.check(network_check.endpoint(url)).steps:
        here.terminal.say(f"{step.name}: {step.seen}")


def show_way(here: Here, host: str, port: int) -> None:
    """Each step of the way to a host, until nobody answers any more."""
    silent = 0
    for hop in trace(host, port):
        silent = 0 if hop.address else silent + 1
        here.terminal.say(f"{hop.number:>4}  {hop.address or '*':<40}{hop.seconds * 1000:.1f} ms")
        if silent == _MOST_SILENT:
            here.terminal.say("      Nobody answers any more.")
            return


def _host(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise UsageError("That is no name of a host and no address.")
    return text


COMMANDS = {
    "nslookup": Command("NAME", "the addresses of a name", range(1, 2), _nslookup),
    "ping": Command("HOST", "whether it answers, and how soon", range(1, 2), _ping),
    "traceroute": Command("HOST [PORT]", "the way to it, over TCP", range(1, 3), _traceroute),
    "curl": Command("URL", "name, TCP, TLS and HTTP of a service", range(1, 2), _curl),
    "help": Command("", "this list", range(1), _help),
    "exit": Command("", "leave", range(1), _help),
}
