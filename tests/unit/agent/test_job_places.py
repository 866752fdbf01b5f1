"""The places of an agent's jobs: reached or not, with what to mend, and nothing sent that opens anything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tls_server import CLIENT, TENANT, Answer, Authority, TlsServer, tls_server
from wherry.agent import job_places
from wherry.agent.network_check import Result
from wherry.agent.state import AgentState, Registration


@pytest.fixture
def state(tmp_path: Path, server: TlsServer, authority: Authority) -> AgentState:
    made = AgentState(tmp_path / "agent")
    authority.agent_tokens(made.key())
    made.trust_server(server.url, server.ca.certificate)
    made.keep_registration(
        Registration(
            server.url, "/m", "a", "/m/agents/a", "/x", "p", CLIENT, TENANT, authority.token_endpoint,
            authority.issuer, 30.0,
        )
    )  # fmt: skip
    return made


@pytest.fixture
def target(tmp_path: Path) -> Iterator[TlsServer]:
    with tls_server(tmp_path / "target") as running:
        yield running


class Places:
    """What the control plane tells of the places of the agent's jobs."""

    def __init__(self, state: AgentState, server: TlsServer, authority: Authority) -> None:
        self._state, self._server, self._authority = state, server, authority

    def seen(self, *places: tuple[str, str, str]) -> list[Result]:
        """What comes of testing them: side, address and certificates of each."""
        told = [
            {
                "side": side,
                "name": "it",
                "kind": "LocalMount" if location.startswith("/") else "S3WithHMAC",
                "location": location,
                "certificates": certificates,
            }
            for side, location, certificates in places
        ]
        self.answer(Answer(200, {"places": told}))
        return list(job_places.checked(self._state))

    def answer(self, answer: Answer) -> None:
        self._server.on("GET", "/agent/v1/places", self._authority.guard(answer))


@pytest.fixture
def places(state: AgentState, server: TlsServer, authority: Authority) -> Places:
    return Places(state, server, authority)


def test_a_target_is_tested_by_the_certificates_of_its_endpoint(places: Places, target: TlsServer) -> None:
    url = f"{target.url}/bucket"
    trusted, foreign = places.seen(("target", url, target.ca_file.read_text()), ("target", url, ""))
    assert trusted.passed
    assert [step.name for step in trusted.steps] == ["name lookup", "TCP", "TLS", "HTTP"]
    assert (foreign.passed, foreign.steps[-1].name) == (False, "TLS")
    assert foreign.to_json()["endpoint"] == "target it"
    (asked,) = target.requests
    assert (asked.method, asked.path) == ("GET", "/bucket")
    assert "authorization" not in asked.headers


def test_folders_are_looked_at(places: Places, tmp_path: Path) -> None:
    there, file, absent = tmp_path / "there", tmp_path / "file", tmp_path / "absent"
    there.mkdir()
    file.write_text("")
    good = (("source", there), ("target", there), ("target", absent))
    bad = (("source", absent), ("source", file), ("target", file))
    found = places.seen(*((side, str(folder), "") for side, folder in (*good, *bad)))
    assert [one.passed for one in found] == [True, True, True, False, False, False]
    assert all(one.steps[0].remedy for one in found[3:])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_fails(places: Places, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    (found,) = places.seen(("source", str(closed), ""))
    assert not found.passed


def test_what_is_no_address_and_what_are_no_certificates_say_so(places: Places, target: TlsServer) -> None:
    strange, broken = places.seen(("target", "s3://bucket", ""), ("target", target.url, "none"))
    assert (strange.passed, strange.steps[0].name) == (False, "address")
    assert not broken.passed


def test_without_a_registration_there_are_no_jobs_and_without_an_answer_it_says_so(
    places: Places, state: AgentState
) -> None:
    assert list(job_places.checked(AgentState(state.directory.with_name("new")))) == []
    places.answer(Answer(503, {"error": {"code": "x", "message": "later"}}))
    (only,) = job_places.checked(state)
    assert (only.passed, only.what, only.steps[0].seen) == (False, "jobs", "later")
