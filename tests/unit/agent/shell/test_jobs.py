"""What the shell tells of jobs while the control plane cannot be reached, and what it takes for a run's name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tls_server import CLIENT, TENANT, Answer, Authority, Request, TlsServer, tls_server
from tests.unit.agent.shell.test_shell import number, typed
from wherry.agent import own_runs
from wherry.agent.shell.menus import QUIT
from wherry.agent.state import AgentState, Registration

RUN, OTHER = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
INTO = number("main", "status")
LEAVE = (number("status", QUIT), number("main", QUIT))


@pytest.fixture
def state(tmp_path: Path) -> AgentState:
    return AgentState(tmp_path / "agent")


def register(state: AgentState, server: TlsServer) -> Authority:
    """Make the agent one that is registered at a server."""
    authority = Authority(server)
    authority.agent_tokens(state.key())
    state.trust_server(server.url, server.ca.certificate)
    state.keep_registration(
        Registration(
            server.url,
            "/m",
            "a",
            "/m/agents/a",
            "/machine",
            "p",
            CLIENT,
            TENANT,
            authority.token_endpoint,
            authority.issuer,
            30.0,
        )
    )
    return authority


def away(state: AgentState) -> None:
    """Nobody listens any more where the control plane was."""
    known = state.registration()
    assert known is not None
    state.keep_registration(
        replace(known, url="https://127.0.0.1:1", token_endpoint="https://127.0.0.1:1/token")
    )


def log(state: AgentState, *lines: dict[str, Any]) -> None:
    folder = state.directory / "log"
    folder.mkdir(exist_ok=True)
    (folder / "agent.log").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"lease.": cut')


def deed(time: str, event: str, run: str = RUN, part: int = 1, **more: str) -> dict[str, Any]:
    return {"time": time, "event": event, "run": run, "partition": part, "message": f"{event} it is", **more}


DEEDS = (
    {"time": "0", "event": "online", "message": "not about lease. at all"},
    deed("1", "lease.begin", OTHER),
    deed("2", "lease.release", OTHER, code="AZSM1022", detail="It is gone."),
    deed("3", "lease.begin"),
    deed("4", "lease.begin", part=2),
    deed("5", "lease.done"),
)


def test_the_agents_own_log_tells_what_it_holds(state: AgentState) -> None:
    log(state, *DEEDS)
    with state.alone("run"):
        mine, other = own_runs.runs(state)
    assert (mine.run, mine.first, mine.last.time, mine.held) == (RUN, "3", "5", frozenset({"2"}))
    assert (other.run, other.held) == (OTHER, frozenset())
    assert all(not one.held for one in own_runs.runs(state)), "nobody is there to hold anything"


def test_without_the_control_plane_the_agent_tells_what_it_knows(state: AgentState, tmp_path: Path) -> None:
    with tls_server(tmp_path / "server") as server:
        register(state, server)
    away(state)
    log(state, *DEEDS)
    summary, details = number("status", "job_summary"), number("status", "job_details")
    status = number("status", "service_status")
    text = typed(
        state, INTO, summary, details, f"photos:{OTHER}", details, RUN[:-1] + "9", status, *LEAVE
    ).text
    assert "cannot be reached" in text
    assert f"{RUN}\n    since 3, last 5: lease.done it is" in text
    assert "2  part 1: lease.release it is AZSM1022 It is gone." in text
    assert "It has not worked on this run" in text
    assert "communication   none: 127.0.0.1:1 cannot be reached" in text


@pytest.mark.parametrize("wrong", ["", "photos", "photos:1", f"../x:{RUN}", f"photos:{RUN}/..", f"a:b:{RUN}"])
def test_what_names_no_run_is_asked_for_again(state: AgentState, wrong: str) -> None:
    text = typed(state, INTO, number("status", "job_details"), wrong, "\x03", *LEAVE).text
    assert "as Job summary shows them" in text


def test_an_agent_that_is_not_registered_has_no_jobs(state: AgentState) -> None:
    text = typed(
        state, INTO, number("status", "job_summary"), number("status", "service_status"), *LEAVE
    ).text
    assert "This agent is not registered: it has no jobs." in text
    assert "communication" not in text


def test_a_copy_log_comes_page_by_page_and_shows_what_is_hidden_in_names(
    state: AgentState, tmp_path: Path
) -> None:
    with tls_server(tmp_path / "server") as server:
        authority = register(state, server)

        def rows(request: Request) -> Answer:
            first = "after=" not in request.query
            row = {"itemPath": f"{'first' if first else 'last'}\n\x1b[2J", "transferResult": "Failed"}
            return Answer(200, {"rows": [row], "after": "7.1" if first else None})

        told = {"jobDefinition": "photos", "jobRun": RUN}
        server.on("GET", f"/agent/v1/runs/{RUN}/copyLogs", authority.guard(rows))
        server.on("GET", f"/agent/v1/runs/{RUN}", authority.guard(Answer(200, told)))
        logs = number("status", "job_copy_logs")
        for key, typed_there, shown in (
            (
                f"Photos:{RUN.upper()}",
                ("9", "0019", "5", ""),
                ("first", "last", "2 in all.", "Type a number from 1"),
            ),
            (f"photos:{RUN}", ("", "0"), ("first",)),
            (f"other:{RUN}", (), ("This agent has no such run",)),
        ):
            text = typed(state, INTO, logs, key, *typed_there, *LEAVE).text
            assert all(word in text for word in shown), text
            assert "first\n" not in text
        asked = [one.query for one in server.seen(f"/agent/v1/runs/{RUN}/copyLogs")]
    assert asked == ["top=20&outcome=Failed", "top=20&outcome=Failed&after=7.1", "top=20"]
