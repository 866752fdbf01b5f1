"""Names of hosts: what passes can be looked up, or is refused by the lookup as any name that there is not."""

from __future__ import annotations

import pytest

from wherry.model import hosts

LONGEST = ".".join(["a" * 63] * 3 + ["b" * 61])


@pytest.mark.parametrize(
    "name",
    [
        "h",
        "nas-1.example",
        "nas.example.",
        "FILE_SRV",
        "_msdcs.example",
        "127.0.0.1",
        "1.2",
        "a" * 63,
        LONGEST,
        "::1",
        "fe80::1%eth0",
        "fe80::1%eth0.100",
        "2001:db8::192.0.2.1",
    ],
)
def test_hosts(name: str) -> None:
    assert hosts.is_host(name)
    assert hosts.can_be_looked_up(name)
    assert name.encode("idna")


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "a..b",
        ".a",
        "a..",
        "-a",
        "a-",
        "a.-b",
        "a b",
        "a/b",
        "a\n",
        "a" * 64,
        f"a.{'b' * 64}",
        f"{LONGEST}c",
        "::1%",
        "fe80::1%a..b",
        "fe80::1%/etc",
        "192.0.2.1%eth0",
        "1:2",
        "fe80::1%" + "a" * 70,
        "bücher",
    ],
)
def test_what_is_no_host(name: str) -> None:
    assert not hosts.is_host(name)


def test_names_in_other_scripts_can_be_looked_up() -> None:
    assert hosts.can_be_looked_up("b\u00fccher.example")
    for name in ("b\u00fccher..example", "\u00fc" * 64, "b\u00fccher/x", "\u2025"):
        assert not hosts.can_be_looked_up(name)
