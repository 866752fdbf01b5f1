"""What a setting means on this machine: the files that say it, and what makes the running system obey them.

The files are all there is to remember: put back and settled once more, they undo a change.  Only addresses need their
own memory (`live`), where no systemd-networkd looks after an interface or it is gone when a change is taken back.
Called by `tentative` and `kept`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

from wherry.agent.machine import interfaces
from wherry.agent.machine.commands import Commands
from wherry.agent.machine.files import Content, Files
from wherry.agent.machine.verbs import Addresses, HostName, NameServers, Setting, TimeServers, TimeZone
from wherry.model.errors import UsageError

Wanted = Mapping[str, Content | None]
"""What shall be in files; None: there shall be none."""

MADE_BY = "# Written by the machine's service of the Wherry agent (wherry agent helper).\n"
_HOST_NAME, _HOSTS = "/etc/hostname", "/etc/hosts"
_LOCAL_TIME, _ZONE, _ZONES = "/etc/localtime", "/etc/timezone", "/usr/share/zoneinfo"
_TIME_SERVERS = "/etc/systemd/timesyncd.conf.d/90-wherry.conf"
_RESOLVED = "/etc/systemd/resolved.conf.d/90-wherry.conf"
_RESOLVER = "/etc/resolv.conf"
_ASKS = "/etc/systemd/system/sysinit.target.wants/systemd-timesyncd.service"
_TIMESYNCD = "/lib/systemd/systemd-timesyncd", "/usr/lib/systemd/systemd-timesyncd"
_OWN_NAME = re.compile(r"^127\.0\.1\.1[ \t].*$", re.MULTILINE)


class System:
    """A machine: its files and its programs."""

    def __init__(self, files: Files, commands: Commands) -> None:
        self.files = files
        self.commands = commands

    @property
    def is_run_by_systemd(self) -> bool:
        return self.files.has("/run/systemd/system")

    @property
    def has_networkd(self) -> bool:
        """Whether systemd-networkd looks after the interfaces."""
        return self.is_run_by_systemd and self.files.has("/run/systemd/netif/state")

    @property
    def has_resolved(self) -> bool:
        return self.is_run_by_systemd and self.files.has("/run/systemd/resolve/resolv.conf")


class Subject(Protocol):
    """What can be said of one kind of setting."""

    def wanted(self, system: System) -> Wanted:
        """The files that say it; raises `UsageError` when this machine cannot be set so."""

    def live(self, system: System) -> Any:
        """What of the running system has to be remembered beside the files, as JSON."""

    def settle(self, system: System, live: Any) -> None:
        """Make the running system obey the files; with what `live` gave, as it was then."""


def subject(setting: Setting) -> Subject:
    """What a setting means."""
    if isinstance(setting, HostName):
        return _Named(setting)
    if isinstance(setting, TimeZone):
        return _Zoned(setting)
    if isinstance(setting, TimeServers):
        return _Timed(setting)
    if isinstance(setting, NameServers):
        return _Resolved(setting)
    return _Addressed(setting)


def picture(system: System) -> dict[str, Any]:
    """How the machine is set, as its files tell."""
    servers = re.search(r"^NTP=(.+)$", system.files.text(_TIME_SERVERS), re.MULTILINE)
    resolver = re.findall(r"^nameserver[ \t]+(\S+)", system.files.text(_RESOLVER), re.MULTILINE)
    own = re.search(r"^DNS=(.+)$", system.files.text(_RESOLVED), re.MULTILINE)
    return {
        "hostName": system.files.text(_HOST_NAME).strip(),
        "timeServers": servers[1].split() if servers else [],
        "nameServers": own[1].split() if own else resolver,
        "interfaces": interfaces.kept(system.files),
        "addressesBy": "systemd-networkd" if system.has_networkd else "iproute2",
    }


class _Named:
    def __init__(self, setting: HostName) -> None:
        self._name = setting.name

    def wanted(self, system: System) -> Wanted:
        files = {_HOST_NAME: _text(f"{self._name}\n")}
        hosts = system.files.text(_HOSTS)
        # As Debian writes it: a name that resolves when nothing else does.
        if _OWN_NAME.search(hosts):
            short = self._name.partition(".")[0]
            names = self._name if short == self._name else f"{self._name} {short}"
            files[_HOSTS] = _text(_OWN_NAME.sub(f"127.0.1.1\t{names}", hosts))
        return files

    def live(self, system: System) -> Any:
        return None

    def settle(self, system: System, live: Any) -> None:
        name = system.files.text(_HOST_NAME).strip()
        if not name:
            return
        if system.is_run_by_systemd and system.commands.has("hostnamectl"):
            system.commands.run("hostnamectl", "set-hostname", name)
        else:
            system.commands.run("hostname", name)


class _Zoned:
    def __init__(self, setting: TimeZone) -> None:
        self._zone = setting.zone

    def wanted(self, system: System) -> Wanted:
        known = f"{_ZONES}/{self._zone}"
        if system.files.has(_ZONES) and not system.files.has(known):
            raise UsageError(f"{known} is not there. Install the package tzdata.")
        files = {_LOCAL_TIME: Content(link=known)}
        if system.files.has(_ZONE):
            files[_ZONE] = _text(f"{self._zone}\n")
        return files

    def live(self, system: System) -> Any:
        return None

    def settle(self, system: System, live: Any) -> None:
        """Programs look at the file by themselves; systemd is told, so that its own clock of timers knows."""
        zone = (system.files.read(_LOCAL_TIME) or Content()).link.partition("/zoneinfo/")[2]
        if zone and system.is_run_by_systemd and system.commands.has("timedatectl"):
            system.commands.run("timedatectl", "set-timezone", zone)


class _Timed:
    def __init__(self, setting: TimeServers) -> None:
        self._servers = setting.servers

    def wanted(self, system: System) -> Wanted:
        if not any(system.files.has(one) for one in _TIMESYNCD):
            raise UsageError(
                "This machine has no systemd-timesyncd, which asks time servers. "
                "Install it, or set what it has in its place."
            )
        if not self._servers:
            return {_TIME_SERVERS: None}
        return {_TIME_SERVERS: _text(f"{MADE_BY}[Time]\nNTP=\nNTP={' '.join(self._servers)}\n")}

    def live(self, system: System) -> Any:
        return system.files.has(_ASKS)

    def settle(self, system: System, live: Any) -> None:
        """Who names time servers wants them to be asked; the way back leaves that as it was."""
        if not system.is_run_by_systemd:
            return
        asks = live is not False
        system.commands.run("timedatectl", "set-ntp", "true" if asks else "false")
        if asks:
            system.commands.run("systemctl", "restart", "systemd-timesyncd.service")


class _Resolved:
    def __init__(self, setting: NameServers) -> None:
        self._servers = setting.servers

    def wanted(self, system: System) -> Wanted:
        if system.has_resolved:
            # The empty line forgets what other files say; `~.`: these are asked for every name, not besides those
            # that the networks name.
            text = f"{MADE_BY}[Resolve]\nDNS=\nDNS={' '.join(self._servers)}\nDomains=~.\n"
            return {_RESOLVED: _text(text) if self._servers else None}
        if not self._servers:
            raise UsageError(
                "This machine has no systemd-resolved to learn DNS servers from its networks. Name one at least."
            )
        kept = [
            line
            for line in system.files.text(_RESOLVER).splitlines()
            if not line.startswith(("nameserver", "#", ";"))
        ]
        lines = [*kept, *(f"nameserver {one}" for one in self._servers)]
        return {_RESOLVER: _text(MADE_BY + "\n".join(lines) + "\n")}

    def live(self, system: System) -> Any:
        return None

    def settle(self, system: System, live: Any) -> None:
        if system.has_resolved:
            system.commands.run("systemctl", "restart", "systemd-resolved.service")


class _Addressed:
    def __init__(self, setting: Addresses) -> None:
        self._setting = setting

    def wanted(self, system: System) -> Wanted:
        interfaces.check(system.files, self._setting, has_networkd=system.has_networkd)
        return {
            interfaces.file_of(self._setting.interface): _text(MADE_BY + interfaces.written(self._setting))
        }

    def live(self, system: System) -> Any:
        name = self._setting.interface
        return {
            **interfaces.live(name),
            "managed": system.has_networkd and interfaces.is_managed(system.files, name),
        }

    def settle(self, system: System, live: Any) -> None:
        name = self._setting.interface
        if system.has_networkd:
            system.commands.run("networkctl", "reload")
            system.commands.run("networkctl", "reconfigure", name)
            if live is None:
                interfaces.await_change(self._setting)
            # What systemd-networkd looked after it gives back by its files alone; from the rest it only lets go.
            elif not live.get("managed", True):
                interfaces.restore(system.commands, name, live)
        elif live is None:
            interfaces.apply(system.commands, self._setting)
        # Nothing was remembered by a service that trusted in systemd-networkd alone.
        elif live:
            interfaces.restore(system.commands, name, live)


def _text(text: str) -> Content:
    return Content(text.encode())
