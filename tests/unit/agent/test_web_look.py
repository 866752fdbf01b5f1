"""A look at a web service: what is shown of it, and where nothing is asked."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.connect_proxy import far_away
from tests.tls_server import TlsServer
from wherry.agent import web_look
from wherry.agent.identity_endpoint import PORT_FILE
from wherry.agent.state import AgentState
from wherry.model.errors import UsageError


@contextmanager
def plain(answer: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """A server that answers one request so; its port, and what it was asked."""
    asked: list[bytes] = []

    def serve() -> None:
        line, _ = listening.accept()
        with line:
            asked.append(line.recv(4096))
            line.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1], asked
        finally:
            thread.join()


def test_status_and_headers_are_shown_and_a_redirect_not_followed(state: AgentState) -> None:
    answer = b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nX-One: 1\r\n\r\nbody"
    with plain(answer) as (port, asked):
        shown = list(web_look.look(state, f"http://127.0.0.1:{port}/a?b=c", "GET"))
    assert shown[0] == f"Connected to 127.0.0.1 port {port}"
    assert shown[1:] == [
        "HTTP/1.1 302 Found",
        "Location: http://169.254.169.254/",
        "X-One: 1",
        "The redirect is not followed.",
    ]
    assert asked[0].startswith(b"GET /a?b=c HTTP/1.1\r\n")


def test_the_certificate_of_the_own_control_plane_is_judged_by_the_own_authority(
    state: AgentState, server: TlsServer
) -> None:
    url = server.url
    state.trust_server(url, server.ca_file.read_bytes())
    shown = list(web_look.look(state, url))
    assert shown[1].startswith("TLSv1.")
    assert shown[2].startswith("Certificate of ")
    assert any(line.startswith("  good for ") for line in shown)
    assert any(line.startswith("HTTP/") for line in shown)


def test_a_proxy_is_gone_by_and_its_refusal_told(state: AgentState, tmp_path: Path) -> None:
    with far_away(tmp_path / "far") as far:
        state.trust_server(far.server.url, far.server.ca_file.read_bytes())
        state.keep_way(far.way())
        shown = list(web_look.look(state, far.server.url))
        assert shown[1].startswith(
            f"The proxy http://127.0.0.1:{far.proxy.port} opens the way to plane.example"
        )
        assert any(line.startswith("HTTP/") for line in shown)
        far.proxy.closed_to.add(far.there)
        with pytest.raises(UsageError, match=r"no way by the proxy.*403 Forbidden"):
            list(web_look.look(state, far.server.url))
        with pytest.raises(UsageError, match="there clouds tell machines their secrets"):
            list(web_look.look(state, "https://169.254.169.254/"))


def test_a_certificate_of_nobody_known_ends_it(state: AgentState, server: TlsServer) -> None:
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        list(web_look.look(state, server.url))


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/metadata/instance",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://[::ffff:169.254.169.254]/",
        "http://[fe80::1]/",
        "http://[fd00:ec2::254]/latest/meta-data",
        "http://168.63.129.16/",
        "http://100.100.100.200/",
        "http://0.0.0.0/",
    ],
)
def test_attack_45_where_clouds_tell_secrets_nothing_is_asked(
    state: AgentState, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("it was connected to")

    monkeypatch.setattr(socket, "create_connection", never)
    with pytest.raises(UsageError, match="is asked nothing"):
        list(web_look.look(state, url))


def test_attack_45_a_name_that_leads_there_too_is_refused_as_a_whole(
    state: AgentState, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(2, 1, 6, "", ("127.0.0.1", 80)), (2, 1, 6, "", ("169.254.169.254", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(UsageError, match=r"169\.254\.169\.254 is asked nothing"):
        list(web_look.look(state, "http://innocent.example/"))


def test_attack_45_the_own_identity_endpoint_is_asked_nothing(state: AgentState) -> None:
    (state.directory / PORT_FILE).write_text("40342")
    for host in ("localhost", "127.0.0.1", "127.1.2.3", "anything.example"):
        with pytest.raises(UsageError, match="own identity endpoint"):
            list(web_look.look(state, f"http://{host}:40342/metadata/identity/oauth2/token"))


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://h/",
        "http://",
        "h",
        "http://u:p@h/",
        "http://h:0/",
        "http://h/\x7f",
        "-o",
        "http://[/",
    ],
)
def test_attack_45_other_addresses_are_none(state: AgentState, url: str) -> None:
    with pytest.raises(UsageError):
        list(web_look.look(state, url))
