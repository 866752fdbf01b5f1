"""Which proxy leads where, and what is no proxy."""

from __future__ import annotations

import json

import pytest

from wherry.model.errors import UsageError
from wherry.model.way import DIRECT, Proxy, Way


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://proxy.example:3128", "http://proxy.example:3128"),
        ("proxy.example:3128", "http://proxy.example:3128"),
        ("http://proxy.example/", "http://proxy.example:80"),
        ("http://[fd00::1]:8080", "http://[fd00::1]:8080"),
        ("192.0.2.1:8080", "http://192.0.2.1:8080"),
    ],
)
def test_a_proxy_by_its_url(text: str, url: str) -> None:
    assert Proxy.parse(text).url == url


@pytest.mark.parametrize(
    "text",
    ["", "http://", "https://proxy:3128", "socks5://proxy", "http://proxy:0", "http://proxy:99999", "http://proxy/a",
     "http://proxy?x", "http://pro xy", "http://proxy\r\nX: y", "-x", "http://u:p@proxy:1"],
)  # fmt: skip
def test_what_is_no_proxy(text: str) -> None:
    with pytest.raises(UsageError):
        Proxy.parse(text)


@pytest.mark.parametrize(
    ("user", "password"), [("a:b", "x"), ("", "x"), ("a\r\nX: y", "x"), ("a", "x\n"), ("a", "x" * 256)]
)
def test_user_and_password_that_no_header_can_hold(user: str, password: str) -> None:
    with pytest.raises(UsageError):
        Proxy("proxy", 3128, user, password)


def test_the_password_is_in_the_header_alone() -> None:
    proxy = Proxy("proxy", 3128, "me", "geheim")
    assert proxy.authorization == "Basic bWU6Z2VoZWlt"
    assert "geheim" not in f"{proxy!r} {Way(proxy)!r} {proxy.url}"
    assert Proxy("proxy", 3128).authorization == ""


@pytest.mark.parametrize(
    ("host", "leads"),
    [
        ("plane.example", True),
        ("inside.example", False),
        ("store.inside.example", False),
        ("STORE.Inside.Example.", False),
        ("notinside.example", True),
        ("10.7.0.1", False),
        ("11.7.0.1", True),
        ("192.0.2.9", False),
        ("fd00::1", False),
        ("localhost", False),
        ("127.0.0.1", False),
        ("::1", False),
    ],
)
def test_whom_a_proxy_leads_to(host: str, leads: bool) -> None:
    proxy = Proxy("proxy", 3128, direct=(".inside.example", "10.0.0.0/8", "192.0.2.9", "fd00::/8"))
    assert (Way(proxy).proxy_to(host) is proxy) is leads
    assert DIRECT.proxy_to(host) is None


@pytest.mark.parametrize("one", ["", "a b", "10.0.0.0/99", "x\r\n", "*", "a..b", "a" * 64, "..a"])
def test_hosts_that_there_are_not(one: str) -> None:
    with pytest.raises(UsageError):
        Proxy("proxy", 3128, direct=(one,))
    with pytest.raises(UsageError):
        Proxy(one, 3128)


def test_a_way_is_written_down_and_read_again() -> None:
    way = Way(Proxy("proxy", 3128, "me", "geheim", ("inside.example",)), "PEM")
    assert Way.from_json(json.loads(json.dumps(way.to_json()))) == way
    assert Way.from_json({}) == DIRECT
    assert way.directly() == Way(None, "PEM")
