"""Changes of a machine's settings that nobody confirms are taken back, whatever happens meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.agent.machine.machines import Machine
from wherry.agent import netlink
from wherry.agent.machine import interfaces, subjects
from wherry.agent.machine.commands import CommandFailed
from wherry.agent.machine.verbs import Addresses, HostName, NameServers, Setting, TimeServers, TimeZone
from wherry.agent.netlink import Address
from wherry.model.errors import UsageError

JOURNAL = "var/lib/wherry-helper/tentative.json"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


SETTINGS: list[Setting] = [
    HostName("new.example"),
    TimeZone("Europe/Berlin"),
    TimeServers(("ntp.example", "192.0.2.9")),
    NameServers(("192.0.2.53",)),
    Addresses("lo0", False, ("192.0.2.10/24",), ("192.0.2.1",)),
]


@pytest.fixture(autouse=True)
def _an_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.if_nameindex", lambda: [(1, "lo"), (2, "lo0")])
    monkeypatch.setattr(interfaces, "_CHANGE_SECONDS", 0.0)
    monkeypatch.setattr(netlink, "addresses", lambda: [Address("lo0", "192.0.2.10", 24, True, False)])
    monkeypatch.setattr(netlink, "routes", list)


@pytest.mark.parametrize("systemd", [False, True])
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda one: one.verb)
def test_what_is_not_confirmed_in_time_is_taken_back(
    machine: Machine, setting: Setting, systemd: bool
) -> None:
    if systemd:
        machine.systemd()
    before = machine.picture()
    machine.tentative.begin(setting, 30)
    tried = machine.picture()
    assert {name for name in tried if tried[name] != before.get(name)} > {JOURNAL}
    machine.now += 29
    machine.tentative.expire()
    assert machine.picture() == tried
    asked = list(machine.commands.ran)
    machine.now += 1
    machine.tentative.expire()
    assert machine.picture() == before
    assert machine.tentative.waits is None
    # Whatever made the machine obey the new files makes it obey the old ones.
    if systemd:
        assert machine.commands.ran == asked * 2 or [one[:2] for one in machine.commands.ran[1:]] == [
            one[:2] for one in asked
        ]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda one: one.verb)
def test_what_is_confirmed_stays(machine: Machine, setting: Setting) -> None:
    change = machine.tentative.begin(setting, 30)
    tried = machine.picture()
    machine.tentative.confirm(change)
    machine.now += 1000
    machine.tentative.expire()
    assert machine.picture() == {name: text for name, text in tried.items() if name != JOURNAL}
    machine.started().recover()
    assert machine.picture() == {name: text for name, text in tried.items() if name != JOURNAL}


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda one: one.verb)
def test_what_a_crash_has_left_is_taken_back_at_the_next_start(machine: Machine, setting: Setting) -> None:
    before = machine.picture()
    machine.tentative.begin(setting, 30)
    machine.started().recover()
    assert machine.picture() == before


def test_a_journal_that_is_damaged_is_no_obstacle(machine: Machine) -> None:
    for text in ("", "{", "[]", "{}", '{"verb": "set-host-name", "arguments": {"name": "-"}}'):
        machine.write(JOURNAL, text)
        machine.started().recover()
        assert not (machine.root / JOURNAL).exists()


def test_one_change_at_a_time_and_only_by_its_name(machine: Machine) -> None:
    first = machine.tentative.begin(HostName("one"), 30)
    with pytest.raises(UsageError, match="Another change waits"):
        machine.tentative.begin(HostName("two"), 30)
    with pytest.raises(UsageError, match="taken back already"):
        machine.tentative.confirm("0" * 16)
    assert (machine.tentative.picture() or {})["verb"] == "set-host-name"
    machine.tentative.roll_back(first)
    assert (machine.root / "etc/hostname").read_text() == "old\n"
    second = machine.tentative.begin(HostName("two"), 30)
    machine.now += 31
    with pytest.raises(UsageError, match="taken back already"):
        machine.tentative.confirm(second)
    assert (machine.root / "etc/hostname").read_text() == "old\n"


def test_a_change_that_the_system_refuses_leaves_nothing(machine: Machine) -> None:
    before = machine.picture()
    machine.commands.failing = 1
    with pytest.raises(CommandFailed, match=r"The machine is as it was\."):
        machine.tentative.begin(HostName("new"), 30)
    assert machine.picture() == before
    assert machine.tentative.waits is None


def test_the_way_back_is_tried_again(machine: Machine) -> None:
    machine.tentative.begin(HostName("new"), 30)
    machine.commands.failing = 2
    machine.now += 30
    machine.tentative.expire()
    machine.now += 5
    machine.tentative.expire()
    assert machine.tentative.waits == 5
    assert (machine.root / JOURNAL).exists()
    machine.now += 5
    machine.tentative.expire()
    assert machine.tentative.waits is None
    assert machine.commands.ran[-1] == ("hostname", "old")


def test_nobody_is_told_that_all_is_as_it_was_before_it_is(machine: Machine) -> None:
    change = machine.tentative.begin(HostName("new"), 30)
    machine.commands.failing = 1
    with pytest.raises(CommandFailed, match="could not be taken back yet"):
        machine.tentative.roll_back(change)
    machine.tentative.roll_back(change)
    assert machine.tentative.waits is None


def test_a_way_back_that_fails_is_never_given_up(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    change = machine.tentative.begin(HostName("new"), 30)
    machine.commands.failing = 100
    machine.now += 30
    pauses = []
    for _ in range(20):
        machine.tentative.expire()
        pauses.append(machine.tentative.waits or 0.0)
        machine.now += pauses[-1]
    assert pauses[:11] == [5.0] * 11
    assert pauses[11:] == sorted(pauses[11:])
    assert pauses[-1] == 640
    told = [one.levelname for one in caplog.records if getattr(one, "event", "") == "change.stuck"]
    assert told == ["ERROR"] * 11 + ["CRITICAL"] + ["ERROR"] * 8
    with pytest.raises(UsageError, match="could not be taken back so far"):
        machine.tentative.begin(HostName("other"), 30)
    # Its files are those of before already.
    with pytest.raises(UsageError, match="is being taken back already"):
        machine.tentative.confirm(change)
    assert (machine.root / JOURNAL).exists()
    machine.commands.failing = 0
    machine.started().recover()
    assert machine.commands.ran[-1] == ("hostname", "old")
    assert not (machine.root / JOURNAL).exists()


def test_a_clock_that_nobody_was_asked_for_is_left_alone_again(machine: Machine) -> None:
    machine.systemd()
    (machine.root / "etc/systemd/system/sysinit.target.wants/systemd-timesyncd.service").unlink()
    machine.tentative.roll_back(machine.tentative.begin(TimeServers(("ntp.example",)), 30))
    assert machine.commands.ran == [
        ("timedatectl", "set-ntp", "true"),
        ("systemctl", "restart", "systemd-timesyncd.service"),
        ("timedatectl", "set-ntp", "false"),
    ]


def test_what_systemd_is_told(machine: Machine) -> None:
    machine.systemd()
    for setting in SETTINGS:
        machine.tentative.confirm(machine.tentative.begin(setting, 30))
    assert machine.commands.ran == [
        ("hostnamectl", "set-hostname", "new.example"),
        ("timedatectl", "set-timezone", "Europe/Berlin"),
        ("timedatectl", "set-ntp", "true"),
        ("systemctl", "restart", "systemd-timesyncd.service"),
        ("systemctl", "restart", "systemd-resolved.service"),
        ("networkctl", "reload"),
        ("networkctl", "reconfigure", "lo0"),
    ]
    files = machine.picture()
    assert files["etc/hosts"] == "127.0.0.1\tlocalhost\n127.0.1.1\tnew.example new\n"
    assert files["etc/timezone"] == "Europe/Berlin\n"
    assert files["etc/localtime"] == "/usr/share/zoneinfo/Europe/Berlin"
    assert files["etc/systemd/timesyncd.conf.d/90-wherry.conf"].endswith(
        "[Time]\nNTP=\nNTP=ntp.example 192.0.2.9\n"
    )
    assert "DNS=\nDNS=192.0.2.53\nDomains=~.\n" in files["etc/systemd/resolved.conf.d/90-wherry.conf"]
    assert files["etc/systemd/network/00-wherry-lo0.network"].endswith(
        "[Match]\nName=lo0\n\n[Network]\nDHCP=no\nAddress=192.0.2.10/24\nGateway=192.0.2.1\n"
    )
    assert subjects.picture(machine.system) == {
        "hostName": "new.example",
        "timeServers": ["ntp.example", "192.0.2.9"],
        "nameServers": ["192.0.2.53"],
        "interfaces": [
            {"name": "lo0", "dhcp": False, "addresses": ("192.0.2.10/24",), "gateways": ("192.0.2.1",)}
        ],
        "addressesBy": "systemd-networkd",
    }


def test_what_a_machine_without_systemd_can_be_set_to(machine: Machine) -> None:
    machine.tentative.confirm(machine.tentative.begin(SETTINGS[4], 30))
    assert machine.commands.ran == [
        ("ip", "link", "set", "dev", "lo0", "up"),
        ("ip", "address", "flush", "dev", "lo0", "scope", "global"),
        ("ip", "address", "replace", "192.0.2.10/24", "dev", "lo0"),
        ("ip", "-4", "route", "replace", "default", "via", "192.0.2.1", "dev", "lo0"),
    ]
    machine.tentative.confirm(machine.tentative.begin(NameServers(("192.0.2.53", "fd00::53")), 30))
    assert (machine.root / "etc/resolv.conf").read_text().splitlines()[1:] == [
        "search example",
        "nameserver 192.0.2.53",
        "nameserver fd00::53",
    ]
    before = machine.picture()
    refusals: list[tuple[Setting, str]] = [
        (Addresses("lo0", dhcp=True), "DHCP needs systemd-networkd"),
        (Addresses("eth7", False, ("192.0.2.10/24",)), "no interface eth7"),
        (NameServers(()), "Name one at least"),
    ]
    for refused, why in refusals:
        with pytest.raises(UsageError, match=why):
            machine.tentative.begin(refused, 30)
    (machine.root / "lib/systemd/systemd-timesyncd").unlink()
    before.pop("lib/systemd/systemd-timesyncd")
    with pytest.raises(UsageError, match="no systemd-timesyncd"):
        machine.tentative.begin(TimeServers(()), 30)
    assert machine.picture() == before
