"""What is said of an endpoint that can be reached, and of one that cannot: which step failed, and what to do."""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.connect_proxy import HOST, PASSWORD, far_away
from tests.tls_server import Answer, TlsServer, tls_server
from wherry.agent import network_check
from wherry.agent.network_check import Endpoint, Result, check
from wherry.agent.state import AgentState
from wherry.model.errors import UsageError
from wherry.trust import authority

DAY = 86400.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TlsServer]:
    with tls_server(tmp_path / "server") as running:
        yield running


def seen(server: TlsServer, url: str = "") -> Result:
    """What comes of asking the server, by the authority that it has."""
    context = ssl.create_default_context(cafile=str(server.ca_file))
    return check(Endpoint("plane", url or server.url, "/healthz", lambda: context))


def test_the_way_by_a_proxy_step_by_step(tmp_path: Path) -> None:
    state = AgentState(tmp_path / "agent")
    with far_away(tmp_path / "far") as far:
        far.server.on("GET", "/healthz", Answer(200, {}))
        state.trust_server(far.server.url, far.server.ca.certificate)
        plane = network_check.endpoints(state, far.way())[0]
        result = check(plane)
        assert [step.name for step in result.steps] == ["name lookup", "TCP", "proxy", "TLS", "HTTP"]
        assert result.passed
        said = failed(check(network_check.endpoints(state, far.way("wherry", "wrong"))[0]), "proxy")
        assert "407" in said
        assert "Set the proxy's user and password" in said
        far.proxy.closed_to.add(far.there)
        said = failed(check(plane), "proxy")
        assert "Let the proxy pass connections to plane.example port" in said
    assert PASSWORD not in f"{result} {plane}"
    said = failed(check(plane), "TCP")
    assert "cannot be reached" in said


def test_a_name_that_the_proxy_alone_takes_for_one_does_not_fit_into_tls(tmp_path: Path) -> None:
    with far_away(tmp_path / "far") as far:
        far.proxy.names["a..b"] = "127.0.0.1"
        url = far.server.url.replace(HOST, "a..b")
        said = failed(check(Endpoint("place", url, "/", ssl.create_default_context, far.way().proxy)), "TLS")
    assert "this is no name of a host" in said


def failed(result: Result, step: str) -> str:
    """What is said of the only step that failed, the last that was tried."""
    assert [one.passed for one in result.steps] == [True] * (len(result.steps) - 1) + [False]
    last = result.steps[-1]
    assert last.name == step
    assert last.remedy
    return f"{last.seen}. {last.remedy}"


def show(server: TlsServer, names: list[str], now: float, ca: authority.Issued | None = None) -> None:
    issued = authority.issue_server(ca or server.ca, names, now)
    chain = server.ca_file.with_name("shown.pem")
    chain.write_bytes(issued.certificate + issued.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    server._server.context = context


def test_all_steps_of_one_that_works(server: TlsServer) -> None:
    server.on("GET", "/healthz", Answer(200, {}))
    result = seen(server)
    assert result.passed
    assert [step.name for step in result.steps] == ["name lookup", "TCP", "TLS", "HTTP"]
    assert result.steps[0].seen == "127.0.0.1 (private)"
    assert result.steps[2].seen.startswith("TLSv1.3, ")
    assert result.steps[3].seen.startswith("200 OK; the clocks differ by ")
    told = result.to_json()
    assert (told["endpoint"], told["passed"], len(told["steps"])) == ("plane", True, 4)


def test_one_that_refuses_strangers_is_reached_all_the_same(server: TlsServer) -> None:
    server.on("GET", "/healthz", Answer(401, {}))
    assert seen(server).passed


def test_a_name_that_is_not_found(server: TlsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert "DNS servers" in failed(seen(server, "https://plane.invalid"), "name lookup")


def test_a_port_where_nobody_listens(server: TlsServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    assert "firewall" in failed(seen(server, f"https://127.0.0.1:{port}"), "TCP")


def test_a_service_that_speaks_no_tls(server: TlsServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(20)
        address = f"https://127.0.0.1:{listening.getsockname()[1]}"
        # It hangs up on whoever waits in its queue.
        listening.listen(1)

        def answer() -> None:
            line, _ = listening.accept()
            with line:
                line.recv(1)
                line.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        told = failed(seen(server, address), "TLS")
        thread.join()
    assert "no TLS is spoken there" in told


@pytest.mark.parametrize(
    ("names", "age", "other", "said"),
    [
        (["127.0.0.1"], 430 * DAY, False, "clock"),
        (["elsewhere.example"], 0.0, False, "name that the certificate is for"),
        (["127.0.0.1"], 0.0, True, "takes TLS apart"),
    ],
    ids=["expired", "of another name", "of another authority"],
)
def test_a_certificate_that_is_not_trusted(
    server: TlsServer, names: list[str], age: float, other: bool, said: str
) -> None:
    now = time.time()
    show(server, names, now - age, authority.create_ca("other", now) if other else None)
    told = failed(seen(server), "TLS")
    assert said in told
    assert "its certificate is not trusted" in told


@pytest.mark.parametrize("ahead", [3600.0, -365 * DAY])
def test_a_clock_that_is_wrong(server: TlsServer, ahead: float) -> None:
    server.clock = lambda: time.time() - ahead
    server.on("GET", "/healthz", Answer(200, {}))
    told = failed(seen(server), "HTTP")
    found = re.search(r"clock is ([+-]\d+) s from the server's", told)
    assert found is not None, told
    assert abs(int(found[1]) - ahead) <= 30


def test_what_an_agent_needs(tmp_path: Path, server: TlsServer) -> None:
    state = AgentState(tmp_path / "agent")
    with pytest.raises(UsageError, match="No control plane is set"):
        network_check.endpoints(state)
    state.trust_server(server.url, server.ca_file.read_bytes())
    server.on("GET", ".*", Answer(200, {}))
    results = [check(one) for one in network_check.endpoints(state)]
    assert [one.what for one in results] == ["control plane", "identity", "vault"]
    assert all(one.passed for one in results)
    assert not any("authorization" in request.headers for request in server.requests)


@pytest.mark.parametrize(
    "text", ["ftp://host", "https://", "https://host:0x1", "https://host:99999", "://", "a b:c:d"]
)
def test_what_is_no_address_is_said_to_be_none(text: str) -> None:
    with pytest.raises(UsageError, match="no address"):
        network_check.endpoint(text)


def test_a_host_alone_speaks_https() -> None:
    found = network_check.endpoint("store.example:8443")
    assert (found.url, found.path) == ("https://store.example:8443", "/")
    assert network_check.endpoint("http://host/a?b=c").path == "/a?b=c"
