"""Questions about exports, at servers that answer well, badly, late or not at all."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.agent import onc_rpc
from wherry.agent.onc_rpc import Export, Garbled
from wherry.model.errors import UsageError

Answer = Callable[[bytes], bytes]


def packed(text: bytes) -> bytes:
    return struct.pack(">I", len(text)) + text + bytes(-len(text) % 4)


def listing(found: list[Export]) -> bytes:
    """Exports as a server writes them."""
    told = b""
    for one in found:
        told += b"\0\0\0\1" + packed(one.path)
        told += b"".join(b"\0\0\0\1" + packed(name) for name in one.to) + bytes(4)
    return told + bytes(4)


def accepted(result: bytes, state: int = 0) -> Answer:
    """A reply to whatever was asked."""
    return lambda call: framed(call[4:8] + struct.pack(">5I", 1, 0, 0, 0, state) + result)


def framed(message: bytes, size: int = 1 << 20) -> bytes:
    """A message in fragments of this size."""
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(
        struct.pack(">I", len(piece) | (number == len(pieces)) << 31) + piece
        for number, piece in enumerate(pieces, 1)
    )


@contextmanager
def server(*answers: Answer) -> Iterator[int]:
    """Answers one call a connection, then hangs up; at a port."""

    def serve() -> None:
        for answer in answers:
            line, _ = listening.accept()
            with line:
                line.sendall(answer(line.recv(4096)))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            thread.join()


def at(port: int) -> Answer:
    return accepted(struct.pack(">I", port))


def told(*answers: Answer) -> list[Export]:
    """The exports of a server whose mount service answers so."""
    with server(*answers) as mounts, server(at(mounts)) as mapper:
        return onc_rpc.exports("127.0.0.1", mapper)


def test_exports_are_told_with_whom_they_are_for() -> None:
    found = [Export(b"/data", (b"10.0.0.0/8", b"host.example")), Export(b"/caf\xe9", ())]
    assert told(accepted(listing(found))) == found
    assert told(accepted(listing([]))) == []


@given(
    st.lists(
        st.builds(Export, st.binary(max_size=40), st.lists(st.binary(max_size=9), max_size=3).map(tuple)),
        max_size=5,
    )
)
def test_whatever_is_exported_is_read_as_it_was_written(found: list[Export]) -> None:
    assert onc_rpc.read_exports(listing(found)) == found


@given(st.binary(max_size=200))
def test_nonsense_is_an_error_of_the_server(told: bytes) -> None:
    for read in (onc_rpc.read_exports, lambda text: onc_rpc.read_reply(text, 7)):
        try:
            read(told)
        except UsageError:
            continue


def test_an_answer_comes_in_fragments() -> None:
    found = [Export(b"/data", ())]

    def answer(call: bytes) -> bytes:
        return framed(accepted(listing(found))(call)[4:], size=5)

    assert told(answer) == found


def test_a_server_without_a_mount_service_says_what_to_do() -> None:
    with server(at(0)) as mapper, pytest.raises(UsageError, match="mount its root instead"):
        onc_rpc.exports("127.0.0.1", mapper)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (accepted(b"", state=1), "does not know this service"),
        (accepted(b"", state=2), "another version"),
        (accepted(b"", state=99), "no known reason"),
        (lambda call: framed(call[4:8] + struct.pack(">3I", 1, 1, 1)), "does not prove who he is"),
        (lambda call: framed(bytes(4) + struct.pack(">5I", 1, 0, 0, 0, 0)), "another question"),
        (lambda _: struct.pack(">I", 1 << 31 | 1 << 30), "too long"),
        (lambda _: framed(b"x"), "ends too early"),
        (lambda _: b"\x80", "ends too early"),
        (accepted(b"\0\0\0\1" + struct.pack(">I", 2000) + bytes(2000)), "too long"),
    ],
)
def test_attack_45_what_a_server_answers_is_bounded(answer: Answer, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        told(answer)


def test_attack_45_endless_exports_are_cut_off() -> None:
    with pytest.raises(Garbled, match="too many"):
        onc_rpc.read_exports(listing([Export(b"/", ())] * 10_001))


def test_a_silent_server_is_not_waited_for_long() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(TimeoutError):
        onc_rpc.exports("127.0.0.1", silent.getsockname()[1], seconds=0.05)
