"""Trust by fingerprint: what is compared, what is kept, and what is sent before."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.tls_server import Answer, TlsServer
from wherry.client.connection import Unreachable
from wherry.client.pinning import WrongFingerprint, certificate_from_file, fetch_certificate
from wherry.model.errors import UsageError
from wherry.trust.authority import create_ca, fingerprint


@pytest.fixture
def shown(server: TlsServer) -> str:
    """The right fingerprint."""
    server.on("GET", "/ca.pem", Answer(200, server.ca.certificate))
    return fingerprint(server.ca.certificate)


def test_the_certificate_with_that_fingerprint_is_kept(server: TlsServer, shown: str) -> None:
    colons = ":".join(shown[at : at + 2] for at in range(0, 64, 2)).upper()

    for typed in (shown, colons, f" {shown} "):
        assert fingerprint(fetch_certificate(server.url, typed)) == shown


def test_any_other_is_refused_and_nothing_was_sent(server: TlsServer, shown: str) -> None:
    with pytest.raises(WrongFingerprint, match=f"{shown}.*Nothing was sent"):
        fetch_certificate(server.url, "00" * 32)

    (request,) = server.requests
    assert (request.path, request.body) == ("/ca.pem", b"")
    assert not {"authorization", "dpop", "cookie"} & set(request.headers)


def test_a_certificate_that_comes_along_is_not_trusted(server: TlsServer, shown: str) -> None:
    stranger = create_ca("stranger", time.time()).certificate
    server.on("GET", "/ca.pem", Answer(200, server.ca.certificate + stranger))

    kept = fetch_certificate(server.url, shown)

    assert kept.count(b"BEGIN CERTIFICATE") == 1
    assert fingerprint(kept) == shown
    server.on("GET", "/ca.pem", Answer(200, stranger + server.ca.certificate))
    with pytest.raises(WrongFingerprint):
        fetch_certificate(server.url, shown)


@pytest.mark.parametrize("typed", ["", "abc", "0" * 63, "g" * 64, "0" * 65])
def test_what_is_no_fingerprint_is_told_before_anything_is_asked(server: TlsServer, typed: str) -> None:
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        fetch_certificate(server.url, typed)

    assert server.requests == []


@pytest.mark.parametrize(
    "answer", [Answer(404), Answer(200, b"hello"), Answer(302, headers={"Location": "/x"})]
)
def test_what_is_no_control_plane_is_told(server: TlsServer, answer: Answer) -> None:
    server.on("GET", "/ca.pem", answer)

    with pytest.raises(UsageError, match="is no control plane"):
        fetch_certificate(server.url, "00" * 32)


def test_a_broken_certificate_is_told(server: TlsServer) -> None:
    broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    server.on("GET", "/ca.pem", Answer(200, broken))

    with pytest.raises(UsageError, match="cannot be read"):
        fetch_certificate(server.url, "00" * 32)


def test_nobody_at_home_is_told() -> None:
    with pytest.raises(Unreachable):
        fetch_certificate("https://127.0.0.1:9", "00" * 32)


def test_a_file_holds_a_certificate_or_is_refused(server: TlsServer, tmp_path: Path) -> None:
    assert certificate_from_file(server.ca_file) == server.ca.certificate
    (tmp_path / "x.pem").write_text("x")
    for path in (tmp_path / "x.pem", tmp_path / "absent.pem"):
        with pytest.raises(UsageError, match="holds no certificate"):
            certificate_from_file(path)
