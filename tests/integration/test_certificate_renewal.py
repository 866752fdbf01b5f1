"""The service's certificate is renewed, and one of the operator's read anew, while it serves."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.shell import Shell
from tests.integration.served import serving
from wherry.trust import authority

DAY = 86400.0
NAMES = ("127.0.0.1", "localhost", "::1")


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERRY_SETTING_CERTIFICATE_SECONDS", "0.2")


def shown(url: str, ca_file: str | Path) -> bytes:
    """The certificate that a new connection is shown; nothing when it is not one of this authority."""
    context = authority.client_context(ca_file)
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 30) as plain:
        try:
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
                return secure.getpeercert(binary_form=True) or b""
        except ssl.SSLError:
            return b""


def until(check: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def put(folder: Path, issued: authority.Issued) -> None:
    """Replace certificate and key, each at once."""
    folder.mkdir(exist_ok=True)
    for name, content in (("server.key", issued.key), ("server.pem", issued.certificate)):
        (folder / f"{name}.new").write_bytes(content)
        (folder / f"{name}.new").rename(folder / name)


def test_a_certificate_near_its_end_is_renewed_without_a_restart(tmp_path: Path) -> None:
    with serving(tmp_path / "state") as served:
        first = shown(served.url, served.ca_file)
        assert first
        old = authority.issue_server(authority.create_ca("x", time.time()), NAMES, time.time() - 300 * DAY)
        put(served.state / "tls", old)
        until(lambda: shown(served.url, served.ca_file) not in (b"", first))
        kept = (served.state / "tls" / "server.pem").read_bytes()
        assert authority.serves(kept, NAMES, time.time())
        assert served.process.poll() is None


def test_a_certificate_that_the_operator_replaced_is_read_anew(tmp_path: Path) -> None:
    ca = authority.create_ca("corp", time.time())
    (tmp_path / "ca.pem").write_bytes(ca.certificate)
    folder = tmp_path / "tls"
    put(folder, authority.issue_server(ca, NAMES, time.time()))
    shell = Shell(tmp_path, {"WHERRY_SETTING_CERTIFICATE_SECONDS": "0.2"})
    options = ("--tls-cert", str(folder / "server.pem"), "--tls-key", str(folder / "server.key"))
    with shell.started(
        "serve", "--state", str(shell.state), "--listen", "127.0.0.1:0", *options, name="serve"
    ) as plane:
        url = json.loads(plane.wait_for(r'\{"ready.*')[0])["url"]
        first = shown(url, tmp_path / "ca.pem")
        assert first
        # A key alone does not fit: the old pair is shown until its certificate is there, too.
        following = authority.issue_server(ca, NAMES, time.time())
        (folder / "server.key").write_bytes(following.key)
        plane.wait_for("cannot be renewed now")
        assert shown(url, tmp_path / "ca.pem") == first
        (folder / "server.pem").write_bytes(following.certificate)
        until(lambda: shown(url, tmp_path / "ca.pem") not in (b"", first))
