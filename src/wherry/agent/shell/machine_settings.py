"""Entries that set this machine: its name and time, its addresses and DNS servers; all by the service of root."""

from __future__ import annotations

from collections.abc import Callable

from wherry.agent import clock, facts, network_report
from wherry.agent.machine.client import MachineClient
from wherry.agent.machine.verbs import Addresses, HostName, NameServers, Setting, TimeServers, TimeZone
from wherry.agent.network_report import Machine
from wherry.agent.shell.here import Here
from wherry.agent.shell.trial import try_setting
from wherry.model.errors import UsageError

_NONE = "none"


def host_name(here: Here) -> None:
    """Another name for this machine."""
    _is_there(here)
    name = here.question("Host name", _wrong(HostName), facts.host_name())
    try_setting(here, HostName(name))


def time_zone(here: Here) -> None:
    """Another time zone for this machine."""
    _is_there(here)
    zone = here.question("Time zone (such as Europe/Berlin)", _wrong(TimeZone), facts.time_zone())
    try_setting(here, TimeZone(zone))


def time_servers(here: Here) -> None:
    """Who tells this machine the time."""
    _is_there(here)
    here.terminal.say(f"The clock is: {clock.state()}.")
    told = here.question(
        f"Time servers, with spaces between them ({_NONE} for those of the system)",
        _wrong(lambda text: TimeServers(_words(text))),
        " ".join(clock.time_servers()) or _NONE,
    )
    try_setting(here, TimeServers(_words(told)))


def addresses(here: Here) -> None:
    """DHCP, or addresses of one's own for an interface."""
    _is_there(here)
    machine = Machine.here()
    known = network_report.interfaces(machine)
    if not known:
        raise UsageError("This machine has no interface to set.")
    for name in known:
        found = [str(one) for one in machine.addresses if one.interface == name and not one.is_link_local]
        here.terminal.say(f"{name}: {', '.join(found) or 'no address'}")
    used = [one.interface for one in machine.routes if not one.to and one.interface in known]
    interface = here.question(
        "Interface",
        lambda answer: "" if answer in known else "There is no such interface.",
        (used or known)[0],
    )
    how = here.question(
        "Addresses by dhcp or static",
        lambda answer: "" if answer.lower() in ("dhcp", "static") else "Type dhcp or static.",
    )
    if how.lower() == "dhcp":
        try_setting(here, Addresses(interface, dhcp=True))
        return
    own = here.question(
        "Addresses with their prefixes, such as 192.0.2.10/24",
        _wrong(lambda text: Addresses(interface, False, _words(text))),
    )
    gateways = here.question(
        f"Gateway ({_NONE} for none)",
        _wrong(lambda text: Addresses(interface, False, _words(own), _words(text))),
        next((one.gateway for one in machine.routes if not one.to and one.interface == interface), _NONE),
    )
    try_setting(here, Addresses(interface, False, _words(own), _words(gateways)))


def name_servers(here: Here) -> None:
    """Who resolves names for this machine."""
    told = MachineClient(here.helper).show().get("nameServers", [])
    answer = here.question(
        f"DNS servers, with spaces between them ({_NONE} for those that the networks name)",
        _wrong(lambda text: NameServers(_words(text))),
        " ".join(str(one) for one in told) or _NONE,
    )
    try_setting(here, NameServers(_words(answer)))


def _is_there(here: Here) -> None:
    """Raises `UsageError` before anything is asked when nothing could be set."""
    MachineClient(here.helper).show()


def _words(text: str) -> tuple[str, ...]:
    return () if text.strip().lower() == _NONE else tuple(text.replace(",", " ").split())


def _wrong(make: Callable[[str], Setting]) -> Callable[[str], str]:
    """What is wrong with an answer of which a setting is to be made."""

    def trouble(answer: str) -> str:
        try:
            make(answer)
        except UsageError as wrong:
            return str(wrong)
        return ""

    return trouble
