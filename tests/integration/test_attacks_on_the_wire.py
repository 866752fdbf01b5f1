"""Requests that are made to exhaust or confuse a server, as bytes against a served control plane."""

from __future__ import annotations

import gzip
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.integration.served import Served, serving
from wherry.control.connections import MOST_HEAD
from wherry.control.middleware import MAX_BODY

HEAD_SECONDS = 4.0
BODY_SECONDS = 4.0
LIMIT = 60.0
"""Within this the server must have answered, on a machine that is busy with other things."""

ROOM_KIB = 96 * 1024
FORM = "application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHERRY_SETTING_HEAD_SECONDS", str(HEAD_SECONDS))
        patch.setenv("WHERRY_SETTING_BODY_SECONDS", str(BODY_SECONDS))
        with serving(tmp_path_factory.mktemp("plane") / "state") as made:
            yield made


@pytest.fixture(scope="module")
def token(served: Served) -> str:
    return served.token()


@pytest.fixture
def wire(served: Served) -> Iterator[ssl.SSLSocket]:
    with connected(served) as made:
        yield made


def connected(served: Served) -> ssl.SSLSocket:
    host, _, port = served.url.removeprefix("https://").rpartition(":")
    context = ssl.create_default_context(cafile=served.ca_file)
    return context.wrap_socket(socket.create_connection((host, int(port)), LIMIT), server_hostname=host)


def push(wire: ssl.SSLSocket, data: bytes) -> bool:
    """Send; False when the server has hung up meanwhile."""
    try:
        wire.sendall(data)
    except (ConnectionError, ssl.SSLError):
        return False
    return True


def rest(wire: ssl.SSLSocket) -> bytes:
    """All that the server says until it hangs up."""
    said = b""
    try:
        while part := wire.recv(65536):
            said += part
    except (ConnectionError, ssl.SSLEOFError):
        pass
    return said


def status(said: bytes) -> int:
    return int(said.split(b" ", 2)[1]) if said.startswith(b"HTTP/1.1 ") else 0


def head(served: Served, token: str, *lines: str, method: str = "PUT") -> bytes:
    """The head of a request that makes a resource group, without an end."""
    path = f"/subscriptions/{served.subscription}/resourceGroups/g?api-version=2021-04-01"
    told = (f"{method} {path} HTTP/1.1", "Host: plane", f"Authorization: Bearer {token}",
            "Content-Type: application/json", "Connection: close", *lines)  # fmt: skip
    return "\r\n".join(told).encode() + b"\r\n"


def put(served: Served, token: str, body: bytes, *lines: str) -> int:
    """The status that a whole body is answered with."""
    with connected(served) as wire:
        push(wire, head(served, token, f"Content-Length: {len(body)}", *lines) + b"\r\n" + body)
        return status(rest(wire))


def most_memory(served: Served) -> int:
    """The most memory that the server has ever had, in KiB."""
    told = Path(f"/proc/{served.process.pid}/status").read_text()
    return int(next(line.split()[1] for line in told.splitlines() if line.startswith("VmHWM")))


def assert_serves(served: Served, token: str) -> None:
    assert put(served, token, b'{"location": "local"}') in (200, 201)


def test_attack_63_a_body_that_is_too_long_is_refused_before_it_is_sent(served, token, wire) -> None:
    push(wire, head(served, token, f"Content-Length: {MAX_BODY + 1}") + b"\r\n")
    assert status(rest(wire)) == 413


def test_attack_63_a_body_without_an_end_is_cut_off_and_costs_little_memory(served, token, wire) -> None:
    assert_serves(served, token)
    before = most_memory(served)
    push(wire, head(served, token, "Transfer-Encoding: chunked") + b"\r\n")
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    sent = 0
    # Four times what is allowed is more than all buffers between here and there hold.
    while sent < 4 * MAX_BODY and push(wire, chunk):
        sent += 0x10000
    said = rest(wire)
    # Where it hung up before we were through, its answer may have been lost with what we still sent.
    assert status(said) in (413, 0)
    assert most_memory(served) - before < ROOM_KIB
    assert_serves(served, token)


def test_attack_63_bombs_of_gzip_nesting_and_names_are_no_content(served, token) -> None:
    assert_serves(served, token)
    before = most_memory(served)
    bomb = gzip.compress(b" " * (64 << 20))
    assert put(served, token, bomb, "Content-Encoding: gzip") == 400
    assert put(served, token, b'{"tags":' * 100_000 + b"1" + b"}" * 100_000) == 400
    assert put(served, token, b"[" * 1_000_000) == 400
    names = b"{" + b",".join(b'"%d":0' % at for at in range(300_000)) + b"}"
    assert put(served, token, b'{"location": "local", "tags": %b}' % names) == 400
    million = b"{" + b",".join(b'"%d":0' % at for at in range(1_000_000)) + b"}"
    assert put(served, token, million) == 413
    assert most_memory(served) - before < ROOM_KIB + 65536
    assert_serves(served, token)


def test_attack_63_forms_with_many_fields_are_refused(served, token, wire) -> None:
    body = b"&".join(b"f%d=" % at for at in range(100_000))
    lines = (f"POST /{served.tenant}/oauth2/v2.0/token HTTP/1.1", "Host: plane", f"Content-Type: {FORM}",
             f"Content-Length: {len(body)}", "Connection: close", "", "")  # fmt: skip
    push(wire, "\r\n".join(lines).encode() + body)
    assert status(rest(wire)) == 400


def test_attack_63_a_flood_of_headers_is_refused(served, token) -> None:
    assert_serves(served, token)
    before = most_memory(served)
    flood = b"".join(b"x-%d: 0123456789\r\n" % at for at in range(1_000_000))
    for more in (flood, b"x: " + b"y" * (8 << 20)):
        with connected(served) as wire:
            sent = 0
            start = head(served, token)
            while sent < len(more) and push(wire, start + more[sent : sent + MOST_HEAD]):
                start, sent = b"", sent + MOST_HEAD
            assert status(rest(wire)) in (400, 0)
    assert most_memory(served) - before < ROOM_KIB
    assert_serves(served, token)


def test_attack_63_who_sends_drop_by_drop_is_hung_up_on(served, token) -> None:
    """All at a time: nothing, half a head, empty lines, half a body, and one without an end that nobody wanted."""
    unwanted = head(served, "x", "Transfer-Encoding: chunked").replace(b"Connection: close\r\n", b"")
    begun = {
        b"": 0,
        b"GET / HTTP/1.1\r\nHost: plane\r\nx-slow: ": 408,
        b"\r\n\r\n": 408,
        head(served, token, "Content-Length: 1000") + b"\r\n{": 408,
        unwanted + b"\r\n": 401,
    }
    with ExitStack() as stack:
        wires = [stack.enter_context(connected(served)) for _ in begun]
        for wire, sent in zip(wires, begun, strict=True):
            push(wire, sent)
        refused = wires[-1].recv(65536)
        push(wires[-1], b"1\r\nx\r\n")
        assert_serves(served, token)
        said = [rest(wire) for wire in wires[:-1]] + [refused + rest(wires[-1])]
    assert [status(one) for one in said] == list(begun.values())
    assert b"came too slowly" in said[3]
    assert said[4].count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 5"),
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: 5, 6",),
        ("Content-Length: -5",),
        ("Content-Length: +5",),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding : chunked",),
        ("Transfer-Encoding:\x0bchunked", "Content-Length: 5"),
    ],
)
def test_attack_63_what_could_be_read_as_two_requests_is_none(served, token, wire, lines) -> None:
    smuggled = head(served, token, method="DELETE") + b"\r\n"
    body = b"0\r\n\r\n" + smuggled
    push(wire, head(served, token, *lines).replace(b"Connection: close\r\n", b"") + b"\r\n" + body)
    said = rest(wire)
    assert status(said) == 400, said
    assert said.count(b"HTTP/1.1 ") == 1


def test_a_body_that_nobody_wanted_takes_no_answer_away_and_the_connection_goes_on(served, token) -> None:
    context = ssl.create_default_context(cafile=served.ca_file)
    path = f"/subscriptions/{served.subscription}/resourceGroups/g?api-version=2021-04-01"
    with httpx.Client(base_url=served.url, verify=context, timeout=LIMIT) as client:
        for _ in range(2):
            refused = client.put(path, content=b" " * (MAX_BODY // 8), headers={"authorization": "Bearer x"})
            assert refused.status_code == 401
        told = {"authorization": f"Bearer {token}"}
        assert client.put(path, json={"location": "local"}, headers=told).status_code in (200, 201)
