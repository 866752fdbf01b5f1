"""What the kernel lets this agent do beyond an ordinary user, and what it will miss: the preflight.

Looked at when the agent starts, which writes what it found to `preflight.json`, so that the shell can show it.
Called by `daemon` and `shell.status`.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from wherry.agent.log_lines import tell
from wherry.client import kept_file

_FILE = "preflight.json"
_PROCESS = Path("/proc/self/status")
_FREE_PORTS = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
_NUMBERS = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_FOWNER": 3,
    "CAP_NET_BIND_SERVICE": 10,
}
FOR_ALL = ("CAP_NET_BIND_SERVICE", "CAP_DAC_READ_SEARCH")
FOR_TARGETS = ("CAP_CHOWN", "CAP_FOWNER", "CAP_DAC_OVERRIDE")


@dataclass(frozen=True, slots=True)
class Lack:
    """A capability that is missing, what fails without it, and what to do."""

    capability: str
    trouble: str
    remedy: str


_FOR_TARGETS = {
    "CAP_CHOWN": "At allowed targets files keep no owners but the agent's own user.",
    "CAP_FOWNER": "At allowed targets times and permissions of files of other users cannot be set.",
    "CAP_DAC_OVERRIDE": "At allowed targets folders that other users own cannot be written in.",
}
_UNITS = (
    "Let 'wherry agent install' make the service, which gives it this capability, or run the agent as root."
)


def preflight(directory: Path, sources: bool, targets: bool, ports: Sequence[int]) -> None:
    """Log what this process lacks, and keep it in an agent's state directory for whoever asks."""
    lacks = missing(effective(), sources=sources, targets=targets, ports=ports)
    with contextlib.suppress(OSError):  # A full disk keeps no agent from its work; the log has it, too.
        kept_file.replace(directory / _FILE, json.dumps([asdict(one) for one in lacks]).encode() + b"\n")
    for lack in lacks:
        tell(
            logging.WARNING, "capability.missing", f"{lack.trouble} {lack.remedy}", capability=lack.capability
        )


def effective(process: Path = _PROCESS) -> frozenset[str]:
    """The capabilities in force, of those that matter here; all of them where the kernel does not tell."""
    try:
        told = process.read_text().partition("CapEff:")[2].split()[0]
        mask = int(told, 16)
    except (OSError, ValueError, IndexError):
        return frozenset(_NUMBERS)
    return frozenset(name for name, number in _NUMBERS.items() if mask >> number & 1)


def missing(
    held: frozenset[str], *, sources: bool, targets: bool, ports: Sequence[int] = ()
) -> tuple[Lack, ...]:
    """What an agent lacks that reads allowed sources, writes allowed targets and listens at these ports."""
    return tuple(_missing(held, sources=sources, targets=targets, ports=ports))


def _missing(held: frozenset[str], *, sources: bool, targets: bool, ports: Sequence[int]) -> Iterator[Lack]:
    if sources and not held & {"CAP_DAC_READ_SEARCH", "CAP_DAC_OVERRIDE"}:
        yield Lack(
            "CAP_DAC_READ_SEARCH",
            "Files and folders at allowed sources that their owners keep to themselves cannot be read.",
            _UNITS,
        )
    for name, trouble in _FOR_TARGETS.items() if targets else ():
        if name not in held:
            yield Lack(name, trouble, f"{_UNITS} The folder has to be named with --allow-target there.")
    closed = [port for port in ports if 0 < port < _first_free_port()]
    if closed and "CAP_NET_BIND_SERVICE" not in held:
        yield Lack(
            "CAP_NET_BIND_SERVICE",
            f"Port {closed[0]} cannot be listened at.",
            f"{_UNITS} Or choose a port from {_first_free_port()} on.",
        )


def kept(directory: Path) -> tuple[Lack, ...]:
    """What the agent found when it started; nothing where it never did."""
    try:
        return tuple(Lack(**one) for one in json.loads((directory / _FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return ()


def _first_free_port() -> int:
    try:
        return int(_FREE_PORTS.read_text())
    except (OSError, ValueError):
        return 1024
