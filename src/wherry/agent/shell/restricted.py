"""The restricted shell: a few words to look at the network and at shares with, each ours, with checked arguments.

No shell is behind it.  Most words are the agent's own code; `mount`, `umount` and `smbclient` start that one program of
the system with a fixed command line (`shares`).  Nothing that is typed is a file of this machine, an option, or a part
of a command, so that there is nothing to get out to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from wherry.agent import web_look
from wherry.agent.lookup import look_up
from wherry.agent.path_trace import trace
from wherry.agent.ping import ping
from wherry.agent.shell import shares
from wherry.agent.shell.here import Here
from wherry.agent.shell.shares import host_name
from wherry.agent.shell.terminal import Interrupted
from wherry.agent.within import within
from wherry.model.errors import UsageError, WherryError

PROMPT = "restricted> "
_LOOKUP_SECONDS = 20.0
_MOST_SILENT = 5


@dataclass(frozen=True, slots=True)
class Command:
    """One word: what comes behind it, what it is for, how many words it takes, and what else is to be known of it."""

    told: str
    help: str
    words: range
    run: Callable[..., None]
    more: str = ""


def open_shell(here: Here) -> None:
    """Take commands until `exit`."""
    here.terminal.say(
        "Commands to look at the network and at shares with. Type help for a list, exit to leave."
    )
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
    except (Interrupted, KeyboardInterrupt):
        # The latter on the console, where nobody waits for a line meanwhile.
        here.terminal.say("\nStopped.")
    except WherryError as trouble:
        here.terminal.say(str(trouble))
    except OSError as trouble:
        here.terminal.say(f"It does not work: {trouble.strerror or trouble}.")
    except UnicodeError:
        here.terminal.say("It does not work: there is no host of such a name.")


def _help(here: Here, word: str = "") -> None:
    if word and word not in COMMANDS:
        raise UsageError("There is no such command.")
    for known, command in COMMANDS.items():
        if word in ("", known):
            here.terminal.say(f"{f'{known} {command.told}':<40}{command.help}")
    if word and COMMANDS[word].more:
        here.terminal.say(COMMANDS[word].more)


def _nslookup(here: Here, name: str) -> None:
    host = host_name(name)
    found = within(lambda: look_up(host, None), _LOOKUP_SECONDS)
    for address in dict.fromkeys(str(where[0]) for _, where in found):
        here.terminal.say(address)


def _ping(here: Here, host: str) -> None:
    for address, seconds in ping(host_name(host)):
        here.terminal.say(f"{address}: " + ("no answer" if seconds is None else f"{seconds * 1000:.1f} ms"))


def _traceroute(here: Here, host: str, port: str = "443") -> None:
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        raise UsageError("A port is a number from 1 to 65535.")
    show_way(here, host_name(host), int(port))


def _curl(here: Here, *words: str) -> None:
    *options, url = words
    if url.startswith("-") or any(word not in ("-I", "-G") for word in options):
        raise UsageError("It is: curl [-I|-G] URL")
    method = "GET" if options == ["-G"] else "HEAD"
    for line in web_look.look(here.state, url, method):
        here.terminal.say(line)


def show_way(here: Here, host: str, port: int) -> None:
    """Each step of the way to a host, until nobody answers any more."""
    silent = 0
    for hop in trace(host, port):
        silent = 0 if hop.address else silent + 1
        here.terminal.say(f"{hop.number:>4}  {hop.address or '*':<40}{hop.seconds * 1000:.1f} ms")
        if silent == _MOST_SILENT:
            here.terminal.say("      Nobody answers any more.")
            return


COMMANDS = {
    "nslookup": Command("NAME", "the addresses of a name", range(1, 2), _nslookup),
    "ping": Command(
        "HOST", "whether it answers, and how soon", range(1, 2), _ping, "Four times, a second each."
    ),
    "traceroute": Command(
        "HOST [PORT]",
        "the way to it, over TCP",
        range(1, 3),
        _traceroute,
        "Port 443 unless told. It ends after 30 steps, or 5 that nobody answers.",
    ),
    "curl": Command(
        "[-I|-G] URL",
        "address, TLS, status and headers of a web service",
        range(1, 3),
        _curl,
        "HEAD, or GET with -G; the body is not read, a redirect not followed. Addresses where clouds tell machines "
        "their secrets, and the agent's own identity endpoint, are asked nothing.",
    ),
    "showmount": Command(
        "-e HOST",
        "what an NFS server exports, and to whom",
        range(2, 3),
        shares.showmount,
        "By its port mapper (TCP 111) and its mount service. A server of NFS 4 alone has neither.",
    ),
    "mount": Command(
        "HOST:/EXPORT | //HOST/SHARE",
        "try to mount it, list it, unmount it",
        range(1, 2),
        shares.mount,
        "Read-only, in a folder of the agent's own; nothing stays mounted. It needs root. For a share a user and "
        "a password are asked for; a user may be written DOMAIN\\user, and none is a guest.",
    ),
    "umount": Command(
        "",
        "unmount what a trial has left",
        range(1),
        shares.umount,
        "A server that stopped answering may leave one.",
    ),
    "smbclient": Command(
        "HOST[:PORT] [SHARE [FOLDER]]",
        "the shares of an SMB server, or a folder",
        range(1, 20),
        shares.smbclient,
        "A user and a password are asked for; a user may be written DOMAIN\\user, and none is a guest.",
    ),
    "help": Command("[COMMAND]", "this list, or more about one", range(2), _help),
    "exit": Command("", "leave", range(1), _help),
}
