"""What an agent tells of its machine: in its registration once, in every heartbeat since.

Reads the system, never fails: what cannot be known is empty or 0.  Called by `register` and `daemon`.
"""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from wherry import __version__
from wherry.agent.lookup import look_up
from wherry.agent.state import AgentState
from wherry.model import ids
from wherry.trust import host_keys
from wherry.trust.keys import KeyTrouble

_DMI = Path("/sys/class/dmi/id/product_uuid")
_NOTHING = {"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"}


def heartbeat(url: str, state: AgentState | None = None) -> dict[str, Any]:
    """The body of a heartbeat to the control plane at `url`, with the SSH key of the agent of that state."""
    key = ssh_host_key(state) if state is not None else ""
    return {
        "version": __version__,
        "hostName": host_name(),
        "address": address(url),
        "memoryInMB": memory_in_mb(),
        "cores": cores(),
        "uptimeInSeconds": uptime_in_seconds(),
        "timeZone": time_zone(),
        **({"sshHostKey": key} if key else {}),
    }


def ssh_host_key(state: AgentState) -> str:
    """The fingerprint of the key of this agent's SSH service, once it has one."""
    try:
        return host_keys.fingerprint((state.directory / "ssh_host_key").read_bytes())
    except (OSError, KeyTrouble):
        return ""


def registration(url: str, state: AgentState) -> dict[str, Any]:
    """What a registration says of the machine."""
    told = heartbeat(url, state)
    del told["uptimeInSeconds"]
    return {**told, "vmUuid": machine_uuid(state)}


def host_name() -> str:
    """The machine's name, printable ASCII."""
    return re.sub(r"[^\x20-\x7e]", "?", socket.gethostname())[:128]


def address(url: str) -> str:
    """The address of this machine on the way to `url`; nothing is sent."""
    parts = urlsplit(url)
    try:
        for family, where in look_up(parts.hostname or "", parts.port or 443, socket.SOCK_DGRAM):
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect(where)
                return str(probe.getsockname()[0])
    except OSError:
        pass
    return ""


def memory_in_mb() -> int:
    """Physical memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


def uptime_in_seconds() -> int:
    """How long the machine has been up."""
    try:
        return int(float(Path("/proc/uptime").read_text().split()[0]))
    except (OSError, ValueError, IndexError):
        return 0


def time_zone() -> str:
    """The name of the machine's time zone, as in `Europe/Berlin`; `UTC` where none is set."""
    named = os.environ.get("TZ", "").lstrip(":")
    if re.fullmatch(r"[A-Za-z_+-]+(/[A-Za-z0-9_+-]+)*", named):
        return named
    _, zoneinfo, name = os.path.realpath("/etc/localtime").partition("/zoneinfo/")
    if zoneinfo:
        return name.removeprefix("posix/")
    try:
        return Path("/etc/timezone").read_text().strip() or "UTC"
    except OSError:
        return "UTC"


def machine_uuid(state: AgentState, firmware: Path = _DMI) -> str:
    """The machine's number: its firmware's where that can be read, else one made once and kept."""
    try:
        found = firmware.read_text().strip().lower()
    except (OSError, ValueError):
        found = ""
    if ids.GUID.match(found) and found not in _NOTHING:
        return found
    return state.machine_id()
