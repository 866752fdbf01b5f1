"""The control plane through a real proxy that asks for a password."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.connect_proxy import PASSWORD, USER, Far, far_away
from tests.tls_server import Answer, tls_server
from wherry.client.connection import Connection, Unreachable
from wherry.client.interruptible import Interruptible
from wherry.client.pinning import fetch_certificate
from wherry.model.way import DIRECT, Way
from wherry.trust.authority import fingerprint

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Far]:
    with far_away(tmp_path / "far") as made:
        made.server.on("GET", "/x", Answer(200, {"a": 1}))
        yield made


def test_requests_go_by_the_proxy_and_its_password_goes_no_further(far: Far) -> None:
    with Connection(far.server.url, far.server.ca_file, way=far.way()) as connection:
        assert connection.ask("GET", "/x").json() == {"a": 1}
    assert far.proxy.passed == [far.there]
    (seen,) = far.server.requests
    assert "proxy-authorization" not in seen.headers


@pytest.mark.parametrize(("user", "password"), [(USER, "wrong"), ("", "")])
def test_a_proxy_that_wants_another_password_is_named(far: Far, user: str, password: str) -> None:
    with (
        Connection(far.server.url, far.server.ca_file, way=far.way(user, password)) as connection,
        pytest.raises(Unreachable, match=r"the proxy opens no way there.*407") as told,
    ):
        connection.ask("GET", "/x", attempts=1)
    assert "Update network configuration" in str(told.value)
    assert far.server.requests == []


def test_private_connections_take_no_proxy(far: Far) -> None:
    with (
        Connection(far.server.url, far.server.ca_file, private=True, way=far.way()) as connection,
        pytest.raises(Unreachable),
    ):
        connection.ask("GET", "/x", attempts=1)
    assert (far.proxy.passed, far.proxy.refused) == ([], [])


@pytest.mark.parametrize("more", [{"private": True}, {"way": DIRECT}], ids=["private", "agent"])
def test_an_agent_takes_no_proxy_of_its_environment(
    far: Far, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    monkeypatch.setenv(
        "HTTPS_PROXY", f"http://{quote(USER)}:{quote(PASSWORD, safe='')}@127.0.0.1:{far.proxy.port}"
    )
    with Connection(far.server.url, far.server.ca_file, **more) as connection, pytest.raises(Unreachable):
        connection.ask("GET", "/x", attempts=1)
    assert far.proxy.passed == []
    with Connection(far.server.url, far.server.ca_file) as connection:
        assert connection.ask("GET", "/x").json() == {"a": 1}


def test_the_authority_is_fetched_by_the_proxy_and_compared_as_ever(far: Far) -> None:
    far.server.on("GET", "/ca.pem", Answer(200, far.server.ca.certificate))
    shown = fingerprint(far.server.ca.certificate)
    assert fingerprint(fetch_certificate(far.server.url, shown, far.way())) == shown
    assert far.proxy.passed == [far.there]


def test_a_request_by_the_proxy_is_interrupted_like_any_other(far: Far) -> None:
    waiting, free = threading.Event(), threading.Event()

    def wait(_request: object) -> Answer:
        waiting.set()
        free.wait(30)
        return Answer(200)

    far.server.on("GET", "/long", wait)
    line = Interruptible(far.server.ca_file, far.server.url, far.way())
    ended = threading.Event()

    def ask() -> None:
        with pytest.raises(httpx.TransportError), line.request() as extensions:
            line.http.get(f"{far.server.url}/long", extensions=extensions)
        ended.set()

    thread = threading.Thread(target=ask)
    thread.start()
    assert waiting.wait(30)
    line.interrupt()
    assert ended.wait(30)
    thread.join()
    line.close()
    free.set()
    assert PASSWORD not in str(far.proxy.passed)


def test_authorities_of_the_owner_are_trusted_besides(tmp_path: Path) -> None:
    """As behind a proxy that takes TLS apart."""
    with tls_server(tmp_path / "one") as pinned, tls_server(tmp_path / "two") as other:
        other.on("GET", "/x", Answer(200, {"a": 1}))
        with (
            Connection(other.url, pinned.ca_file) as connection,
            pytest.raises(Unreachable, match="not trusted"),
        ):
            connection.ask("GET", "/x")
        way = Way(ca_pem=other.ca.certificate.decode())
        with Connection(other.url, pinned.ca_file, way=way) as connection:
            assert connection.ask("GET", "/x").json() == {"a": 1}
