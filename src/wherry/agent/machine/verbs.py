"""What may be asked of the machine's service: fixed verbs, each with arguments that are checked one by one.

A request is a line of JSON.  What is not named here is refused, and so is every argument too many.  Nothing that comes
through can be read as an option, a path or a second line by the programs and files that it ends in.  Pure code; called
by `service`, and by the shell to tell what is wrong before anything is asked.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar
from zoneinfo import available_timezones

from wherry.model.errors import UsageError

LONGEST = 16 * 1024
"""Bytes of a request or an answer."""
SECONDS = 60
_LEAST_SECONDS, _MOST_SECONDS = 2, 600
_MOST_ADDRESSES = 8
_MOST_NAME_SERVERS = 3
_MOST_TIME_SERVERS = 8

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")
_CHANGE = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class HostName:
    """The name of this machine."""

    verb: ClassVar[str] = "set-host-name"
    name: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or len(self.name) > 64:
            raise UsageError(
                "A host name has letters, digits and hyphens, with dots between its parts, 64 at most."
            )
        if _is_number(self.name):
            raise UsageError("A host name is not a number.")


@dataclass(frozen=True, slots=True)
class TimeZone:
    """The time zone of this machine, as in `Europe/Berlin`."""

    verb: ClassVar[str] = "set-time-zone"
    zone: str

    def __post_init__(self) -> None:
        if self.zone not in available_timezones():
            raise UsageError(
                "There is no such time zone. Name one as in Europe/Berlin, America/New_York or UTC."
            )


@dataclass(frozen=True, slots=True)
class TimeServers:
    """Who tells this machine the time; none: whom the system asks by itself."""

    verb: ClassVar[str] = "set-time-servers"
    servers: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.servers) > _MOST_TIME_SERVERS:
            raise UsageError(f"At most {_MOST_TIME_SERVERS} time servers.")
        for server in self.servers:
            if not _NAME.fullmatch(server) or len(server) > 253 or _is_number(server):
                _address(server, "time server")


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses of an interface: by DHCP, or these with their prefixes, and the gateways out of their networks."""

    verb: ClassVar[str] = "set-addresses"
    interface: str
    dhcp: bool
    addresses: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _INTERFACE.fullmatch(self.interface) or self.interface == "lo":
            raise UsageError("That is no interface whose addresses can be set.")
        if self.dhcp and (self.addresses or self.gateways):
            raise UsageError("With DHCP neither addresses nor gateways are given.")
        if not self.dhcp and not 0 < len(self.addresses) <= _MOST_ADDRESSES:
            raise UsageError(f"Without DHCP give 1 to {_MOST_ADDRESSES} addresses.")
        networks = [_interface(one).network for one in self.addresses]
        found = [_address(one, "gateway") for one in self.gateways]
        if len({one.version for one in found}) != len(found):
            raise UsageError("At most one gateway for IPv4 and one for IPv6.")
        for gateway in found:
            if not gateway.is_link_local and not any(gateway in network for network in networks):
                raise UsageError(
                    f"The gateway {gateway} lies in none of the networks of the addresses: it could not be reached."
                )


@dataclass(frozen=True, slots=True)
class NameServers:
    """Who resolves names for this machine; none: whom its networks name."""

    verb: ClassVar[str] = "set-name-servers"
    servers: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.servers) > _MOST_NAME_SERVERS:
            raise UsageError(f"At most {_MOST_NAME_SERVERS} DNS servers.")
        for server in self.servers:
            _address(server, "DNS server")


Setting = HostName | TimeZone | TimeServers | Addresses | NameServers
SETTINGS: Mapping[str, Callable[..., Setting]] = {
    kind.verb: kind for kind in (HostName, TimeZone, TimeServers, Addresses, NameServers)
}


@dataclass(frozen=True, slots=True)
class Show:
    """How the machine is set, and what waits to be confirmed."""


@dataclass(frozen=True, slots=True)
class Apply:
    """Set something for `seconds`, and for good if it is confirmed within them."""

    setting: Setting
    seconds: int


@dataclass(frozen=True, slots=True)
class Settle:
    """Keep a change for good, or take it back."""

    change: str
    keep: bool


Request = Show | Apply | Settle


def parse(line: bytes) -> Request:
    """The request in a line of JSON; raises `UsageError` that says what is wrong with it."""
    try:
        told = json.loads(line)
    except (ValueError, RecursionError) as broken:
        raise UsageError("A request is a line of JSON.") from broken
    if not isinstance(told, dict):
        raise UsageError("A request is a JSON object.")
    verb = told.pop("verb", None)
    if verb == "show":
        _no_more(told)
        return Show()
    if verb in ("confirm", "roll-back"):
        change = told.pop("change", None)
        _no_more(told)
        if not isinstance(change, str) or not _CHANGE.fullmatch(change):
            raise UsageError("Name the change by the id that its beginning was answered with.")
        return Settle(change, keep=verb == "confirm")
    if not isinstance(verb, str) or verb not in SETTINGS:
        raise UsageError("There is no such verb.")
    seconds = told.pop("seconds", SECONDS)
    if type(seconds) is not int or not _LEAST_SECONDS <= seconds <= _MOST_SECONDS:
        raise UsageError(f"seconds: {_LEAST_SECONDS} to {_MOST_SECONDS} are possible.")
    return Apply(setting(verb, told), seconds)


def setting(verb: str, told: Mapping[str, Any]) -> Setting:
    """What a verb is to set; raises `UsageError`."""
    texts = {name: tuple(value) if isinstance(value, list) else value for name, value in told.items()}
    for name, value in texts.items():
        if not _fits(name, value):
            raise UsageError(f"{name}: this is no value for it.")
    try:
        return SETTINGS[verb](**texts)
    except TypeError as wrong:
        raise UsageError(f"{verb} takes other arguments.") from wrong


def told(setting: Setting) -> dict[str, Any]:
    """The arguments of a setting, from which `setting` makes it again."""
    return asdict(setting)


def _is_number(name: str) -> bool:
    """Whether a name is one that programs take for an address."""
    return name.replace(".", "").isdigit()


def _fits(name: str, value: object) -> bool:
    if name == "dhcp":
        return isinstance(value, bool)
    if name in ("servers", "addresses", "gateways"):
        return isinstance(value, tuple) and all(isinstance(one, str) for one in value)
    return isinstance(value, str)


def _no_more(told: Mapping[str, Any]) -> None:
    if told:
        raise UsageError("That verb takes no such arguments.")


def _interface(text: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    try:
        found = ipaddress.ip_interface(text)
    except ValueError:
        found = None
    if found is None or "/" not in text or "%" in text or "." in text.partition("/")[2]:
        raise UsageError(f"'{text}' is no address with its prefix, such as 192.0.2.10/24.")
    _usable(found.ip, text)
    last = found.version == 4 and found.network.prefixlen < 31
    if last and found.ip in (found.network.network_address, found.network.broadcast_address):
        raise UsageError(f"{text} is not the address of a machine: it stands for its whole network.")
    return found


def _address(text: str, what: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        found = None
    if found is None or "%" in text:
        raise UsageError(f"'{text}' is no address of a {what}.")
    if what == "gateway":
        _usable(found, text)
    elif found.is_multicast or found.is_unspecified:
        raise UsageError(f"{text} cannot be the address of a {what}.")
    return found


def _usable(found: ipaddress.IPv4Address | ipaddress.IPv6Address, text: str) -> None:
    if found.is_loopback or found.is_multicast or found.is_unspecified:
        raise UsageError(f"{text} cannot be an address in a network.")


def line(document: Mapping[str, Any]) -> bytes:
    """A request or an answer as it goes over the socket."""
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"
