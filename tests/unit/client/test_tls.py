"""An agent talks to the control plane that it was told to trust, and to nobody else: no switch says otherwise."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.tls_server import Answer, TlsServer, tls_server
from wherry.client.connection import Connection, Unreachable, unreachable
from wherry.client.profile import https_url
from wherry.model.errors import UsageError
from wherry.trust import authority
from wherry.trust.authority import Issued

DAY = 86400.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TlsServer]:
    with tls_server(tmp_path / "server") as running:
        running.on("GET", "/", Answer(200, {}))
        yield running


def show(server: TlsServer, issued: Issued, folder: Path) -> None:
    """Let the server show this certificate from now on."""
    chain = folder / "shown.pem"
    chain.write_bytes(issued.certificate + issued.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    server._server.context = context


def said(server: TlsServer) -> str:
    """What a person is told about a request that was not answered."""
    with Connection(server.url, server.ca_file) as connection, pytest.raises(httpx.ConnectError) as caught:
        connection.send("GET", "/")
    told = unreachable(server.url, caught.value)
    assert isinstance(told, Unreachable)
    assert server.requests == []
    return str(told)


def test_attack_46_a_certificate_that_has_expired_is_refused(server: TlsServer, tmp_path: Path) -> None:
    show(server, authority.issue_server(server.ca, ["127.0.0.1"], time.time() - 430 * DAY), tmp_path)
    assert "certificate has expired" in said(server)


def test_attack_46_a_certificate_of_another_authority_is_refused(server: TlsServer, tmp_path: Path) -> None:
    other = authority.create_ca("other", time.time())
    show(server, authority.issue_server(other, ["127.0.0.1"], time.time()), tmp_path)
    assert "not trusted" in said(server)


def test_attack_46_a_certificate_for_another_host_is_refused(server: TlsServer, tmp_path: Path) -> None:
    show(server, authority.issue_server(server.ca, ["plane.example"], time.time()), tmp_path)
    assert "mismatch" in said(server)


def test_attack_46_old_tls_is_refused(server: TlsServer) -> None:
    context = authority.client_context(server.ca_file)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        server._server.context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        server._server.context.maximum_version = ssl.TLSVersion.TLSv1_1
    server._server.context.set_ciphers("ALL:@SECLEVEL=0")
    assert "cannot be reached" in said(server)


@pytest.mark.parametrize("url", ["http://plane.example", "plane.example", "ftp://plane.example"])
def test_attack_46_without_tls_nothing_begins(url: str) -> None:
    with pytest.raises(UsageError, match="https"):
        https_url(url, "The URL")
