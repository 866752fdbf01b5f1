"""Registrations that end badly: each says what to do, leaves nothing half made, and the next one works."""

from __future__ import annotations

import errno
import os
import re
import signal
import ssl
import time

import pytest

from tests.tls_server import DROP, Answer, Request, TlsServer
from tests.unit.agent.shell.script import Script
from tests.unit.agent.shell.test_shell import number
from tests.unit.agent.test_register import SUBSCRIPTION, ControlPlane, changed, go, plane, wanted
from wherry.agent.register import Wanted
from wherry.agent.shell import shell
from wherry.agent.shell.here import Here
from wherry.agent.shell.menus import QUIT
from wherry.agent.shell.terminal import Closed
from wherry.agent.state import AgentState
from wherry.client.connection import Unreachable
from wherry.model.errors import UsageError
from wherry.trust import authority

__all__ = ["plane", "wanted"]
ENTRY, LEAVE = number("main", "registration"), number("main", QUIT)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_terminal_that_is_closed_in_the_last_step_waits_for_its_end(
    plane: ControlPlane, state: AgentState, wanted: Wanted, server: TlsServer, number: signal.Signals
) -> None:
    ended: list[bool] = []
    before = signal.signal(number, lambda *_: ended.append(state.registration() is not None))

    def slow(request: Request) -> Answer:
        os.kill(os.getpid(), number)
        return plane._register(request)

    server.on("PUT", "/agent/v1/registration", plane.authority.guard(slow))
    try:
        list(go(state, wanted))
    finally:
        signal.signal(number, before)

    assert ended == [True]


@pytest.mark.parametrize(
    ("names", "days", "other", "said"),
    [
        (("127.0.0.1",), -430, False, "set it if that is wrong"),
        (("127.0.0.1",), 430, False, "set it if that is wrong"),
        (("elsewhere.example",), 0, False, "Use an address that the certificate is for"),
        (("127.0.0.1",), 0, True, "did not sign it"),
    ],
    ids=[
        "expired, or a clock far ahead",
        "not yet valid, or a clock far behind",
        "other name",
        "other CA",
    ],
)
def test_a_certificate_that_is_wrong_is_told_with_what_to_do_and_the_next_try_works(
    plane: ControlPlane,
    state: AgentState,
    wanted: Wanted,
    names: tuple[str, ...],
    days: int,
    other: bool,
    said: str,
) -> None:
    server, now = plane.server, time.time()
    right = server._server.context
    ca = authority.create_ca("other", now) if other else server.ca
    issued = authority.issue_server(ca, list(names), now + days * 86400.0)
    chain = server.ca_file.with_name("wrong.pem")
    chain.write_bytes(issued.certificate + issued.key)
    server._server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server._server.context.load_cert_chain(chain)

    with pytest.raises(Unreachable, match=said) as caught:
        list(go(state, changed(wanted, ca_fingerprint=None, ca_file=server.ca_file)))
    assert f"{time.gmtime().tm_year}-" in str(caught.value) or not days
    assert server.seen("/organizations/.*") == []
    assert state.registration() is None
    server._server.context = right
    list(go(state, wanted))
    assert state.registration() is not None


def test_a_control_plane_that_is_away_is_told_and_the_next_try_works(
    plane: ControlPlane, state: AgentState, wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wherry.client.connection.pause", lambda _: 0.0)
    state.trust_server("https://127.0.0.1:1", plane.server.ca.certificate)
    with pytest.raises(Unreachable, match="Check the address, the network and the firewall"):
        list(go(state, changed(wanted, url=None, ca_fingerprint=None)))

    list(go(state, wanted))
    assert state.registration() is not None


def test_what_cannot_be_kept_here_is_given_back_there(
    plane: ControlPlane, state: AgentState, wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    plane.authority.agent_tokens(state.key())
    plane.server.on("DELETE", "/agent/v1/registration", plane.authority.guard(Answer(204)))
    with monkeypatch.context() as patch:
        patch.setattr(AgentState, "keep_registration", full)
        with pytest.raises(UsageError, match=r"No space left on device.*Nothing is left of it"):
            list(go(state, wanted))
        assert [one.method for one in plane.server.seen("/agent/v1/registration")] == ["PUT", "DELETE"]
        plane.server.on("DELETE", "/agent/v1/registration", Answer(500))
        with pytest.raises(UsageError, match=r"delete /.*/agents/agent-1, and start again"):
            list(go(state, wanted))

    list(go(state, wanted))
    assert state.registration() is not None


def test_by_the_shell_a_clock_that_is_wrong_is_named_with_what_to_do(
    plane: ControlPlane, state: AgentState
) -> None:
    state.trust_server(plane.server.url, plane.server.ca.certificate)
    plane.server.on("GET", "/healthz", Answer(200, {}))
    plane.server.clock = lambda: time.time() - 366 * 86400.0
    script = Script([ENTRY])
    with pytest.raises(Closed):
        shell.run(Here(script, state))
    assert re.search(r"this machine's clock is \+3162\d{4} s from the server's", script.text)
    assert "Set this machine's clock, or its time servers." in script.text
    assert "Mend that first; then register." in script.text
    assert state.registration() is None


def test_ctrl_c_between_two_steps_leads_back_to_the_menu(plane: ControlPlane, state: AgentState) -> None:
    """Nothing is asked for at that moment: the shell waits for the control plane."""
    state.trust_server(plane.server.url, plane.server.ca.certificate)
    plane.server.on("GET", "/healthz", Answer(200, {}))

    def press(_request: Request) -> Answer:
        os.kill(os.getpid(), signal.SIGINT)
        return DROP

    plane.server.on("POST", "/organizations/oauth2/v2.0/devicecode", press)
    script = Script([ENTRY, SUBSCRIPTION, "group", "mover", "agent-1", "", "", LEAVE])
    shell.run(Here(script, state))
    assert "\nStopped." in script.shown
    assert state.registration() is None
    assert state.holder("register") is None
