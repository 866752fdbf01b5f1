"""What this program is made of is written down to the version, and nothing in a test run talks to the world."""

from __future__ import annotations

import importlib.metadata
import json
import re
import socket
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from pytest_socket import SocketConnectBlockedError

from tests.integration import served
from wherry.control import networks

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = ("192.0.2.1", "169.254.169.254", "2001:db8::1")


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().split()
    return {plain(name): version for name, _, version in (line.partition("==") for line in lines)}


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(name: str, extras: tuple[str, ...], seen: set[tuple[str, tuple[str, ...]]]) -> set[str]:
    """The names of everything that a distribution with these extras brings here."""
    if (plain(name), extras) in seen:
        return set()
    seen.add((plain(name), extras))
    found: set[str] = set()
    for told in importlib.metadata.distribution(name).requires or ():
        one = Requirement(told)
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            found |= {plain(one.name)} | needed(one.name, tuple(sorted(one.extras)), seen)
    return found


def test_attack_71_everything_that_is_installed_is_pinned_to_its_version() -> None:
    pins, names = pinned(), needed("wherry", ("demo", "dev", "parquet"), set())
    assert len(names) > 60
    assert names <= set(pins)
    assert {name: importlib.metadata.version(name) for name in names} == {name: pins[name] for name in names}


def test_attack_71_servers_for_tests_are_pinned_to_their_content() -> None:
    locks = list(ROOT.glob("tools/*/package-lock.json"))
    assert len(locks) >= 2
    for lock in locks:
        packages = json.loads(lock.read_text())["packages"]
        for name, told in packages.items():
            assert not name or told["integrity"].startswith("sha512-"), f"{lock}: {name}"


@pytest.mark.parametrize("address", ELSEWHERE)
def test_attack_71_a_test_that_talks_to_the_world_fails(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as made, pytest.raises((SocketConnectBlockedError, UserWarning)):
        made.connect((address, 9))


@pytest.mark.parametrize("address", [*ELSEWHERE[:1], "8.8.8.8", "2606:4700:4700::1111"])
def test_attack_71_a_control_plane_of_a_test_talks_to_the_world_as_little(address: str) -> None:
    assert not networks.contains(served.NETWORKS, address)
    assert networks.contains(served.NETWORKS, "127.0.0.1")
