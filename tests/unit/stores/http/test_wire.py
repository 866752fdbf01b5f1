"""HTTP as servers speak it, well and badly; and who is spoken to at all."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.faulty_wire import read_message
from wherry.model.errors import Denied, UsageError
from wherry.stores.http import connection
from wherry.stores.http.wire import Address, HungUp, Lost, Unreached, Wire

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@contextmanager
def server(answer: Callable[[socket.socket, int], None]) -> Iterator[tuple[Wire, list[int]]]:
    """A server that calls `answer` for each connection with its number, and a wire to it."""
    connections: list[int] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                connections.append(len(connections))
                with client:
                    answer(client, connections[-1])

    thread = threading.Thread(target=serve)
    thread.start()
    made = Wire(Address.parse(f"http://127.0.0.1:{listener.getsockname()[1]}/c"), answer_seconds=5)
    try:
        yield made, connections
    finally:
        made.close()
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def says(*pieces: bytes, again: bool = False) -> Callable[[socket.socket, int], None]:
    def answer(client: socket.socket, number: int) -> None:
        while read_message(client):
            for piece in pieces:
                client.sendall(piece)
            if not again:
                return

    return answer


@pytest.mark.parametrize(
    ("pieces", "status", "body"),
    [
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"], 200, b"abc"),
        ([b"HTTP/1.1 200 OK\r\nContent-Le", b"ngth: 3\r\n\r", b"\na", b"bc"], 200, b"abc"),
        ([b"HTTP/1.1 200\r\ncontent-length:3\r\n\r\nabc"], 200, b"abc"),
        ([CHUNKED + b"2\r\nab\r\n1;x=y\r\nc\r\n0\r\nT: 1\r\n\r\n"], 200, b"abc"),
        ([b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"], 201, b""),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], 204, b""),
        ([b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end"], 200, b"to the end"),
        ([b"HTTP/1.0 404 Gone\r\nContent-Length: 0\r\nX-Ms-Error-Code: A\r\n\r\n"], 404, b""),
    ],
)  # fmt: skip
def test_answers_are_read(pieces: list[bytes], status: int, body: bytes) -> None:
    with server(says(*pieces)) as (wire, _):
        answer = wire.exchange(HEAD)

    assert answer.status == status
    assert bytes(answer.body) == body


def test_large_bodies_are_read_whole() -> None:
    body = bytes(range(256)) * 20_000
    with server(says(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body)) as (wire, _):
        assert bytes(wire.exchange(HEAD).body) == body


@pytest.mark.parametrize(
    "piece",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\nabc",
        b"HTTP/1.1 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        CHUNKED + b"zz\r\n",
        CHUNKED + b"5\r\nab",
        b"X" * 100_000,
    ],
)
def test_what_is_no_whole_answer_is_lost(piece: bytes) -> None:
    with server(says(piece)) as (wire, _), pytest.raises(Lost):
        wire.exchange(HEAD)


def test_a_server_that_says_nothing_is_given_up() -> None:
    silent = threading.Event()

    def wait(client: socket.socket, number: int) -> None:
        silent.wait(10)

    with server(wait) as (wire, _):
        wire._answer_seconds = 0.05
        with pytest.raises(Lost, match="no answer in time"):
            wire.exchange(HEAD)
        silent.set()


def test_a_connection_is_kept_and_each_thread_has_its_own() -> None:
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

    threads: list[threading.Thread] = []

    def serve(client: socket.socket) -> None:
        with client:
            says(ok, again=True)(client, 0)

    def answer(client: socket.socket, number: int) -> None:
        threads.append(threading.Thread(target=serve, args=(client.dup(),)))
        threads[-1].start()

    with server(answer) as (wire, connections):
        for _ in range(3):
            wire.exchange(HEAD)
        other = threading.Thread(target=wire.exchange, args=(HEAD,))
        other.start()
        other.join(10)

    for thread in threads:
        thread.join(10)
    assert connections == [0, 1]


def test_a_connection_that_the_server_closed_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "IDLE_SECONDS", 0.0)
    with server(says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as (wire, connections):
        wire.exchange(HEAD)
        kept = wire._local.connection.socket
        # Closing is under way; wait until it has arrived.
        assert kept.recv(1, socket.MSG_PEEK) == b""
        wire.exchange(HEAD)

    assert connections == [0, 1]


def test_a_kept_connection_that_ends_in_silence_is_told_apart() -> None:
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

    def answer(client: socket.socket, number: int) -> None:
        read_message(client)
        client.sendall(ok)
        read_message(client)
        if number == 1:
            client.sendall(ok[:20])

    with server(answer) as (wire, seen):
        wire.exchange(HEAD)
        with pytest.raises(HungUp):
            wire.exchange(HEAD)
        wire.exchange(HEAD)
        with pytest.raises(Lost) as lost:
            wire.exchange(HEAD)

    assert seen == [0, 1]
    assert not isinstance(lost.value, HungUp)


def test_a_new_connection_that_ends_in_silence_is_trouble() -> None:
    with server(says(b"")) as (wire, _), pytest.raises(Lost) as lost:
        wire.exchange(HEAD)

    assert not isinstance(lost.value, HungUp)


def test_a_server_that_takes_its_time_is_not_one_that_hung_up() -> None:
    silent = threading.Event()

    def answer(client: socket.socket, number: int) -> None:
        read_message(client)
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        silent.wait(10)

    with server(answer) as (wire, _):
        wire.exchange(HEAD)
        wire._local.connection.limit(0.05)
        with pytest.raises(Lost, match="no answer in time") as lost:
            wire.exchange(HEAD)
        silent.set()

    assert not isinstance(lost.value, HungUp)


def test_a_body_of_any_size_and_kind_arrives() -> None:
    got: list[bytes] = []

    def answer(client: socket.socket, number: int) -> None:
        while message := read_message(client):
            got.append(message.partition(b"\r\n\r\n")[2])
            client.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")

    sizes = [0, 1, 65_536, 65_537, 5_000_000]
    with server(answer) as (wire, _):
        for size in sizes:
            body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
            head = b"PUT / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size
            for kind in (body, memoryview(bytearray(body))):
                assert wire.exchange(head, kind).status == 201
                assert got.pop() == body


def test_headers_are_known_by_any_spelling() -> None:
    answered = b"HTTP/1.1 200 OK\r\nETAG:  a b \r\ncontent-LENGTH: 0\r\nX-Empty:\r\n\r\n"
    with server(says(answered)) as (wire, _):
        headers = wire.exchange(HEAD).headers

    assert dict(headers) == {"etag": "a b", "content-length": "0", "x-empty": ""}
    assert "etag" in headers
    assert headers.get("other", "none") == "none"


def test_words_out_of_turn_end_the_connection() -> None:
    with server(says(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 403 No\r\n\r\n")) as (
        wire,
        seen,
    ):
        assert wire.exchange(HEAD).status == 200
        assert wire.exchange(HEAD).status == 200

    assert seen == [0, 1]


def test_a_refusal_in_the_middle_of_a_large_body_is_heard() -> None:
    def answer(client: socket.socket, number: int) -> None:
        client.recv(1024)
        client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        while client.recv(1 << 20):
            pass

    with server(answer) as (wire, _):
        body = memoryview(bytes(1 << 22))
        assert wire.exchange(b"PUT / HTTP/1.1\r\nContent-Length: 4194304\r\n\r\n", body).status == 403


def test_nobody_there_is_told_apart() -> None:
    with pytest.raises(Unreached):
        Wire(Address.parse("http://127.0.0.1:9/c")).exchange(HEAD)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.test/c", "http://10.0.0.1/c", "ftp://127.0.0.1/c", "127.0.0.1/c", "https:///c", "https://h:x/c",
        "https://u:p@host/c", "https://host/c?sig=x", "https://host/c#x", "http://127.0.0.1.example.test/c",
    ],
)  # fmt: skip
def test_places_that_are_not_spoken_to(url: str) -> None:
    with pytest.raises(UsageError) as trouble:
        Address.parse(url)

    assert "sig" not in str(trouble.value)


@pytest.mark.parametrize(
    ("url", "netloc", "path"),
    [
        ("https://a.blob.example.test/c", "a.blob.example.test", "/c"),
        ("https://a.example.test:8443/acc/c/", "a.example.test:8443", "/acc/c"),
        ("http://127.0.0.1:10000/acc/$root", "127.0.0.1:10000", "/acc/$root"),
        ("http://localhost/a b", "localhost", "/a%20b"),
        ("http://[::1]:5/c", "[::1]:5", "/c"),
    ],
)
def test_places_that_are(url: str, netloc: str, path: str) -> None:
    address = Address.parse(url)

    assert (address.netloc, address.path) == (netloc, path)


def test_a_ca_file_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match="no-such-file"):
        Wire(Address.parse("https://127.0.0.1/c"), "/no-such-file")


@pytest.mark.parametrize(
    ("peer", "refused"), [("8.8.8.8", True), ("2001:4860:4860::8888", True), ("10.1.2.3", False)]
)
def test_to_private_addresses_only_looks_at_where_it_has_come(
    monkeypatch: pytest.MonkeyPatch, peer: str, refused: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wire = Wire(Address.parse(f"http://127.0.0.1:{listener.getsockname()[1]}/c"), private=True)
        monkeypatch.setattr(socket.socket, "getpeername", lambda _self: (peer, 443))
        if refused:
            with pytest.raises(Denied, match="only private ones are allowed"):
                wire.connect()
        else:
            wire.connect().close()
        wire.close()


@pytest.mark.parametrize("peer", ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1%lo", "fd00:ec2::254"])
def test_attack_60_where_clouds_tell_secrets_nothing_is_sent(
    monkeypatch: pytest.MonkeyPatch, peer: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wire = Wire(Address.parse(f"http://127.0.0.1:{listener.getsockname()[1]}/c"))
        monkeypatch.setattr(socket.socket, "getpeername", lambda _self: (peer, 80))
        with pytest.raises(Denied, match="not the address of a storage service"):
            wire.connect()
        wire.close()


def test_a_thread_begins_with_a_connection_that_was_kept() -> None:
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    with server(says(ok, again=True)) as (wire, connections):
        left = wire.connect()
        left.socket.setblocking(False)
        wire.keep(left)

        assert wire.exchange(HEAD).status == wire.exchange(HEAD).status == 200

        assert wire._local.connection is left
        wire.close()

    assert connections == [0]
