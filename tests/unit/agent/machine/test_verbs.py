"""What the machine's service may be asked for, and all that it refuses."""

from __future__ import annotations

import json

import pytest

from wherry.agent.machine import verbs
from wherry.agent.machine.verbs import (
    Addresses,
    Apply,
    HostName,
    NameServers,
    Setting,
    Settle,
    Show,
    TimeServers,
    TimeZone,
)
from wherry.model.errors import UsageError


@pytest.mark.parametrize(
    "setting",
    [
        HostName("mover-7.site.example"),
        TimeZone("Europe/Berlin"),
        TimeServers(("ntp.example", "192.0.2.1", "fd00::1")),
        TimeServers(()),
        Addresses("eth0", dhcp=True),
        Addresses("eth0", False, ("192.0.2.10/24", "fd00::10/64"), ("192.0.2.1", "fe80::1")),
        Addresses("eth0", False, ("192.0.2.10/31",), ("192.0.2.11",)),
        NameServers(("192.0.2.53", "fd00::53")),
    ],
)
def test_a_setting_goes_over_the_line_and_comes_back(setting: Setting) -> None:
    line = verbs.line({"verb": setting.verb, "seconds": 30, **verbs.told(setting)})
    assert line.endswith(b"\n")
    assert verbs.parse(line) == Apply(setting, 30)


def test_the_other_verbs() -> None:
    assert verbs.parse(b'{"verb": "show"}') == Show()
    assert verbs.parse(b'{"verb": "confirm", "change": "0123456789abcdef"}') == Settle(
        "0123456789abcdef", keep=True
    )
    assert verbs.parse(b'{"verb": "roll-back", "change": "0123456789abcdef"}') == Settle(
        "0123456789abcdef", keep=False
    )


@pytest.mark.parametrize(
    "asked",
    [
        [],
        "show",
        {},
        {"verb": None},
        {"verb": []},
        {"verb": "run", "command": "id"},
        {"verb": "show", "more": 1},
        {"verb": "confirm"},
        {"verb": "confirm", "change": "../../etc/shadow"},
        {"verb": "set-host-name"},
        {"verb": "set-host-name", "name": ["x"]},
        {"verb": "set-host-name", "name": "x", "command": "id"},
        {"verb": "set-host-name", "name": "x", "seconds": 0},
        {"verb": "set-host-name", "name": "x", "seconds": True},
        {"verb": "set-host-name", "name": "x", "seconds": 10**9},
        {"verb": "set-addresses", "interface": "eth0", "dhcp": "yes"},
        {"verb": "set-addresses", "interface": "eth0", "dhcp": False, "addresses": "192.0.2.1/24"},
        {"verb": "set-name-servers", "servers": [1]},
    ],
)
def test_attack_45_nothing_but_the_fixed_verbs_with_their_own_arguments(asked: object) -> None:
    with pytest.raises(UsageError):
        verbs.parse(json.dumps(asked).encode())


@pytest.mark.parametrize("line", [b"", b"{", b"\xff\xfe", b"null", b"[" * 100_000])
def test_what_is_no_request_is_refused(line: bytes) -> None:
    with pytest.raises(UsageError):
        verbs.parse(line)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-x",
        "x-",
        "a..b",
        ".",
        "a b",
        "a;reboot",
        "$(id)",
        "a\nb",
        "a\n",
        "../x",
        "1.2",
        "x" * 64,
        "a\0b",
        "ä",
    ],
)
def test_attack_45_a_host_name_is_a_host_name(name: str) -> None:
    with pytest.raises(UsageError):
        HostName(name)


@pytest.mark.parametrize(
    "zone", ["", "Mars/Base", "../../etc/passwd", "/etc/passwd", "Europe", "UTC\n", "-h"]
)
def test_attack_45_a_time_zone_is_one_that_there_is(zone: str) -> None:
    with pytest.raises(UsageError):
        TimeZone(zone)


@pytest.mark.parametrize(
    "server", ["", "a b", "-x", "x\n[Time]\nNTP=evil", "a;b", "fe80::1%eth0", "0.0.0.0", "::"]
)
def test_attack_45_servers_cannot_bring_lines_of_their_own(server: str) -> None:
    with pytest.raises(UsageError):
        TimeServers((server,))
    with pytest.raises(UsageError):
        NameServers((server,))


@pytest.mark.parametrize(
    ("interface", "addresses", "gateways"),
    [
        ("lo", ("192.0.2.10/24",), ()),
        ("../x", ("192.0.2.10/24",), ()),
        ("-h", ("192.0.2.10/24",), ()),
        ("eth0\nx", ("192.0.2.10/24",), ()),
        ("a" * 16, ("192.0.2.10/24",), ()),
        ("eth0", (), ()),
        ("eth0", ("192.0.2.10",), ()),
        ("eth0", ("192.0.2.10/255.255.255.0",), ()),
        ("eth0", ("192.0.2.0/24",), ()),
        ("eth0", ("192.0.2.255/24",), ()),
        ("eth0", ("127.0.0.2/8",), ()),
        ("eth0", ("224.0.0.1/4",), ()),
        ("eth0", ("192.0.2.10/24\nDHCP=yes",), ()),
        ("eth0", ("192.0.2.10/24",), ("198.51.100.1",)),
        ("eth0", ("192.0.2.10/24",), ("192.0.2.1", "192.0.2.2")),
        ("eth0", ("192.0.2.10/24",), ("",)),
        ("eth0", tuple(f"192.0.2.{one}/24" for one in range(1, 10)), ()),
    ],
)
def test_attack_45_addresses_are_those_that_a_machine_can_have(
    interface: str, addresses: tuple[str, ...], gateways: tuple[str, ...]
) -> None:
    with pytest.raises(UsageError):
        Addresses(interface, False, addresses, gateways)


def test_dhcp_goes_with_no_addresses_of_ones_own() -> None:
    with pytest.raises(UsageError):
        Addresses("eth0", True, ("192.0.2.10/24",))
