"""What a request costs in calls of the system, and that what is large is not copied on its way."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faulty_wire import read_message
from wherry.stores.http.connection import Connection, Lost, SecureConnection
from wherry.trust.authority import create_ca, issue_server

CREATED = b"HTTP/1.1 201 Created\r\nETag: x\r\nContent-Length: 0\r\n\r\n"
HEAD = b"PUT /x HTTP/1.1\r\nContent-Length: %d\r\n\r\n"


class Counted:
    """A socket that keeps the calls that go to the system."""

    def __init__(self, inner: socket.socket) -> None:
        self._inner = inner
        self.calls: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self._inner, name)

        def counted(*arguments: Any) -> Any:
            self.calls.append((name, arguments[0] if arguments else None))
            return method(*arguments)

        return counted if name in ("sendall", "sendmsg", "recv_into") else method


@contextmanager
def answering(serve: Callable[[Any], None]) -> Iterator[Counted]:
    """A socket whose other end `serve` has, in another thread."""
    near, far = socket.socketpair()
    thread = threading.Thread(target=serve, args=(far,))
    thread.start()
    try:
        yield Counted(near)
    finally:
        near.close()
        thread.join(10)
        far.close()


def created(far: Any) -> None:
    while read_message(far):
        far.sendall(CREATED)


@contextmanager
def plain() -> Iterator[tuple[Connection, Counted]]:
    with answering(created) as counted:
        yield Connection(counted), counted  # type: ignore[arg-type]


@contextmanager
def secure(folder: Path) -> Iterator[tuple[Connection, Counted]]:
    ca = create_ca("test", time.time())
    leaf = issue_server(ca, ["127.0.0.1"], time.time())
    (folder / "ca.pem").write_bytes(ca.certificate)
    (folder / "chain.pem").write_bytes(leaf.certificate + leaf.key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "chain.pem")

    def serve(far: socket.socket) -> None:
        # Some tests cut the line under it.
        with (
            contextlib.suppress(OSError),
            server.wrap_socket(far, server_side=True, suppress_ragged_eofs=True) as wrapped,
        ):
            created(wrapped)

    with answering(serve) as counted:
        context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        made = SecureConnection(counted, context, "127.0.0.1", None)  # type: ignore[arg-type]
        made.shake_hands()
        # With the first answer come the tickets for the next connection.
        made.send(HEAD % 0, b"")
        made.receive(bodiless=False)
        counted.calls.clear()
        yield made, counted


def check_small(connection: Connection, counted: Counted, body: bytes | memoryview) -> None:
    for _ in range(3):
        connection.send(HEAD % len(body), body)
        assert connection.receive(bodiless=False).status == 201
    assert [name for name, _ in counted.calls] == ["sendall", "recv_into"] * 3


@pytest.mark.parametrize("body", [b"", b"x" * 4096, memoryview(b"x" * 65_536)], ids=["none", "small", "view"])
def test_a_small_request_is_one_write_and_one_read(body: bytes | memoryview) -> None:
    with plain() as (connection, counted):
        check_small(connection, counted, body)


@pytest.mark.parametrize("body", [b"", b"x" * 4096], ids=["none", "small"])
def test_by_tls_it_is_no_more(tmp_path: Path, body: bytes) -> None:
    with secure(tmp_path) as (connection, counted):
        check_small(connection, counted, body)


def test_a_large_body_goes_as_it_is() -> None:
    body = memoryview(bytearray(9_000_000))
    with plain() as (connection, counted):
        connection.send(HEAD % len(body), body)
        assert connection.receive(bodiless=False).status == 201

    name, pieces = counted.calls[0]
    assert name == "sendmsg"
    assert pieces[1] is body
    rest = [piece for name, piece in counted.calls[1:] if name == "sendall"]
    assert all(piece.obj is body.obj for piece in rest)


def test_a_large_body_goes_by_tls_in_pieces_that_are_never_a_copy_of_the_whole(tmp_path: Path) -> None:
    with secure(tmp_path) as (connection, counted):
        connection.send(HEAD % 3_000_000, memoryview(bytearray(3_000_000)))
        assert connection.receive(bodiless=False).status == 201

    sent = [len(piece) for name, piece in counted.calls if name == "sendall"]
    assert max(sent) < 300_000
    assert sum(sent) > 3_000_000


def test_a_tls_answer_that_is_cut_off_is_not_its_end(tmp_path: Path) -> None:
    """Whoever cuts the line can not make a short answer look whole."""
    with secure(tmp_path) as (connection, _):
        connection.send(HEAD % 0, b"")
        connection.socket.shutdown(socket.SHUT_RD)
        with pytest.raises(Lost):
            connection._until_end()
