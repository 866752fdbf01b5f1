"""Stores through a real proxy that asks for a password, and through others that are none."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.connect_proxy import HOST, USER, Far, far_away
from tests.tls_server import Answer
from wherry.model.errors import Denied
from wherry.model.way import Proxy, Way
from wherry.stores.http import tunnel
from wherry.stores.http.tunnel import ProxyRefused, open_way
from wherry.stores.http.wire import Address, Unreached, Wire

HEAD = f"PUT /c/x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 3\r\n\r\n".encode()


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Far]:
    with far_away(tmp_path / "far") as made:
        made.server.on("PUT", "/c/x", Answer(201))
        yield made


def wire(far: Far, way: Way, *, private: bool = False) -> Wire:
    return Wire(Address.parse(f"{far.server.url}/c"), str(far.server.ca_file), way=way, private=private)


def test_objects_go_by_the_proxy_over_one_kept_connection(far: Far) -> None:
    made = wire(far, far.way())
    for _ in range(3):
        assert made.exchange(HEAD, b"abc").status == 201
    made.close()
    assert far.proxy.passed == [far.there]
    assert [one.body for one in far.server.requests] == [b"abc"] * 3
    assert "proxy-authorization" not in far.server.requests[0].headers


def test_a_wrong_password_is_not_tried_again_and_another_refusal_is(far: Far) -> None:
    with pytest.raises(Denied, match="407"):
        wire(far, far.way(USER, "wrong")).exchange(HEAD, b"abc")
    far.proxy.closed_to.add(far.there)
    with pytest.raises(Unreached, match=r"opens no way there.*403 Forbidden"):
        wire(far, far.way()).exchange(HEAD, b"abc")
    assert far.server.requests == []


def test_a_store_at_a_private_address_alone_is_reached_by_no_proxy(far: Far) -> None:
    with pytest.raises(Unreached):
        wire(far, far.way(), private=True).exchange(HEAD, b"abc")
    assert (far.proxy.passed, far.proxy.refused) == ([], [])


@pytest.mark.parametrize("host", ["169.254.169.254", "[fd00:ec2::254]", "[::ffff:169.254.169.254]"])
def test_no_proxy_leads_to_where_clouds_tell_secrets(far: Far, host: str) -> None:
    made = Wire(Address.parse(f"https://{host}/c"), str(far.server.ca_file), way=far.way())
    with pytest.raises(Denied, match="not the address of a storage service"):
        made.exchange(HEAD, b"abc")
    assert (far.proxy.passed, far.proxy.refused) == ([], [])


def test_authorities_of_the_owner_are_trusted_besides(far: Far) -> None:
    way = far.way()
    with pytest.raises(Denied, match="not trusted"):
        Wire(Address.parse(f"{far.server.url}/c"), way=way).exchange(HEAD, b"abc")
    trusting = Way(way.proxy, far.server.ca.certificate.decode())
    made = Wire(Address.parse(f"{far.server.url}/c"), way=trusting)
    assert made.exchange(HEAD, b"abc").status == 201
    made.close()


@contextmanager
def answering(*pieces: bytes) -> Iterator[socket.socket]:
    """A line to something that says this, whatever it is asked."""
    near, beyond = socket.socketpair()
    near.settimeout(30)

    def speak() -> None:
        with beyond:
            beyond.recv(1 << 16)
            for piece in pieces:
                beyond.sendall(piece)

    thread = threading.Thread(target=speak)
    thread.start()
    with near:
        yield near
    thread.join()


@pytest.mark.parametrize(
    "pieces",
    [
        (b"HTTP/1.1 200 OK\r\n\r\nrest",),
        (b"HTTP/1.0 200\r\nVia: x\r\n\r", b"\nrest"),
        tuple(bytes([one]) for one in b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nrest"),
    ],
)
def test_not_a_byte_behind_the_answer_is_taken(pieces: tuple[bytes, ...]) -> None:
    with answering(*pieces) as line:
        open_way(line, Proxy("proxy", 1), "there", 443)
        assert line.makefile("rb").read() == b"rest"


@pytest.mark.parametrize(
    "pieces",
    [(b"",), (b"SSH-2.0-x\r\n",), (b"HTTP/1.1 200 OK\r\n",), (b"HTTP/1.1 " + b"2" * 40000,), (b"\r\n\r\n",)],
)
def test_what_is_no_proxy_opens_no_way(pieces: tuple[bytes, ...]) -> None:
    with answering(*pieces) as line, pytest.raises((ProxyRefused, OSError)):
        open_way(line, Proxy("proxy", 1), "there", 443)


def test_an_answer_that_never_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnel, "_ANSWER_SECONDS", 0.05)
    near, beyond = socket.socketpair()
    near.settimeout(30)

    def drip() -> None:
        with beyond, suppress(OSError):
            while True:
                beyond.sendall(b"H")
                time.sleep(0.001)

    thread = threading.Thread(target=drip)
    thread.start()
    with near, pytest.raises(ProxyRefused, match="does not answer as a proxy"):
        open_way(near, Proxy("proxy", 1), "there", 443)
    thread.join()
