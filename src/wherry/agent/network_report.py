"""How this machine is connected, as anybody on it may see: interfaces, addresses, routes, name servers, proxy, time.

Read from the kernel and from files, without any program and without any right.  Never fails: what cannot be known is
told so.  Called by the shell and for the support bundle.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wherry.agent import clock, netlink
from wherry.agent.netlink import Address, Route
from wherry.model.way import Way

_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Machine:
    """What is asked of the kernel, and the folder that its files lie in."""

    names: Sequence[tuple[int, str]]
    addresses: Sequence[Address]
    routes: Sequence[Route]
    root: Path = Path("/")

    @classmethod
    def here(cls) -> Machine:
        """The one that this runs on, at this moment."""
        try:
            return cls(socket.if_nameindex(), netlink.addresses(), netlink.routes())
        except OSError:
            return cls((), (), ())


def interfaces(machine: Machine) -> list[str]:
    """Those whose addresses can be set, in the order of their numbers; the loopback is none."""
    return [name for _, name in sorted(machine.names) if name != "lo"]


def report(way: Way, machine: Machine | None = None) -> str:
    """All of it, for people."""
    one = machine or Machine.here()
    lines = ["Network Interface(s):"]
    for index, name in sorted(one.names):
        if name != "lo":
            lines += [f"{name}:", *(f"  {line}" for line in _interface(one, index, name))]
    gateways = list(dict.fromkeys(route.gateway for route in one.routes if not route.to and route.gateway))
    lines += [
        f"Global DNS (whom all interfaces ask for addresses of names): {_listed(_name_servers(one.root))}",
        f"Default Gateway (where packets to other networks go): {_listed(gateways)}",
        f"Proxy (what stands between this machine and the services it needs): {proxy(way)}",
        f"Authorities (whose certificates are trusted besides the usual ones): {authorities(way)}",
        f"NTP Server(s) (who tells this machine the time): {_servers(clock.time_servers(one.root))}",
        f"Clock: {clock.state()}",
    ]
    return "\n".join(lines)


def proxy(way: Way) -> str:
    """The proxy without its password."""
    if way.proxy is None:
        return "No proxy"
    told = [way.proxy.url]
    if way.proxy.user:
        told.append(f"user {way.proxy.user}, {'with' if way.proxy.password else 'without'} a password")
    if way.proxy.direct:
        told.append(f"not for {' '.join(way.proxy.direct)}")
    return ", ".join(told)


def authorities(way: Way) -> str:
    """How many there are."""
    count = way.ca_pem.count("-----BEGIN CERTIFICATE-----")
    return str(count) if count else "none"


def _interface(machine: Machine, index: int, name: str) -> Iterable[str]:
    folder = machine.root / "sys/class/net" / name
    addresses = [one for one in machine.addresses if one.interface == name]
    routes = [one for one in machine.routes if one.interface == name]
    given = any(one.is_by_dhcp for one in routes) or any(
        not one.fixed and ":" not in one.address for one in addresses
    )
    carrier = {"1": "up", "0": "down"}.get(_read(folder / "carrier"), "down")
    own = re.search(r"^DNS=(.+)$", _read(machine.root / f"run/systemd/netif/links/{index}"), re.MULTILINE)
    yield f"DHCP (whether a server of the network gives the address) status: {str(given).lower()}"
    yield f"IP Address and mask: {_listed([str(one) for one in addresses])}"
    yield f"MAC Address (what the hardware is known by in its network): {_read(folder / 'address') or _UNKNOWN}"
    yield f"Link (whether the cable or what stands for it is connected): {carrier}"
    yield f"Operstate (whether the interface can carry packets): {_read(folder / 'operstate') or _UNKNOWN}"
    yield f"Speed (how fast the link is): {_speed(_read(folder / 'speed'))}"
    yield f"MTU (the largest packet, in bytes): {_read(folder / 'mtu') or _UNKNOWN}"
    yield f"DNS (whom this interface's network names for names): {_listed(own[1].split() if own else [])}"
    yield "Routes (which way packets leave):"
    yield from (f"  {one}" for one in routes)


def _name_servers(root: Path) -> list[str]:
    """Those behind the resolver of systemd where that is what programs ask."""
    text = _read(root / "run/systemd/resolve/resolv.conf") or _read(root / "etc/resolv.conf")
    return re.findall(r"^nameserver[ \t]+(\S+)", text, re.MULTILINE)


def _speed(text: str) -> str:
    if not text.isdigit():
        return _UNKNOWN
    megabits = int(text)
    return f"{megabits // 1000}Gbps" if megabits >= 1000 and not megabits % 1000 else f"{megabits}Mbps"


def _servers(found: Sequence[str]) -> str:
    return f"[{', '.join(found)}]" if found else "as the system has them"


def _listed(found: Sequence[str]) -> str:
    return ", ".join(found) or "none"


def _read(path: Path) -> str:
    # Some files of an interface that is down cannot be read.
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
