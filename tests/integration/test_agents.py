"""How agents come and go: one registration makes all or nothing, a name has one agent, giving up leaves nothing."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.azurite import Azurite
from tests.integration.migration import GROUP, QUICK, World, rows, sas_works, world
from wherry.agent.register import Wanted, register
from wherry.agent.state import AgentState
from wherry.client.proven import IdentityGone
from wherry.control import breakglass
from wherry.model.errors import ApiError, LeaseLost, WherryError
from wherry.model.ledger import Span
from wherry.model.wire import token_to_json
from wherry.trust.roles import READER

MACHINES = {"api-version": "2025-01-13"}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, azurite: Azurite) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUICK.items():
            patch.setenv(name, value)
        with world(tmp_path_factory.mktemp("plane"), azurite) as made:
            yield made


def machine(here: World, name: str) -> str:
    group = here.mover_id.partition("/providers/")[0]
    return f"{group}/providers/Microsoft.HybridCompute/machines/{name}"


def enrol(here: World, folder: Path, name: str, mover: str = "mover") -> AgentState:
    state = AgentState(folder)
    wanted = Wanted(here.served.subscription, GROUP, mover, name, here.served.url, Path(here.served.ca_file))
    for step in register(state, wanted, sleep=lambda _seconds: None):
        if step.code is not None:
            breakglass.approve(here.served.state, step.code.user_code)
    return state


def test_a_registration_makes_agent_machine_and_identity(here: World) -> None:
    agent = here.agent("made")
    told = here.arm("GET", f"{here.mover_id}/agents/made").json()["properties"]
    assert told["arcResourceId"].lower() == machine(here, "made").lower()
    assert told["agentStatus"] == "Online"
    assert told["numberOfCores"] > 0
    found = here.arm("GET", machine(here, "made"), **MACHINES)
    assert found.status_code == 200
    assert agent.protocol.heartbeat({"version": "9.9"}) == 30.0
    told = here.arm("GET", f"{here.mover_id}/agents/made").json()["properties"]
    assert told["agentVersion"] == "9.9"


def test_a_name_has_one_agent(here: World, tmp_path: Path) -> None:
    here.agent("taken")
    with pytest.raises(ApiError) as refused:
        enrol(here, tmp_path / "second", "TAKEN")
    assert (refused.value.status, refused.value.code) == (409, "AgentExists")
    assert AgentState(tmp_path / "second").registration() is None
    assert here.agent("taken").protocol.heartbeat({}) == 30.0


def test_an_unknown_mover_makes_nothing(here: World, tmp_path: Path) -> None:
    with pytest.raises(WherryError):
        enrol(here, tmp_path / "lost", "lost", mover="no-such-mover")
    assert here.arm("GET", machine(here, "lost"), **MACHINES).status_code == 404


def test_a_placeholder_gets_no_work_until_a_registration_fills_it(here: World, tmp_path: Path) -> None:
    properties = {
        "description": "rack 7",
        "arcResourceId": machine(here, "planned"),
        "arcVmUuid": "00000000-0000-0000-0000-000000000007",
    }
    made = here.put(f"{here.mover_id}/agents/planned", properties)
    assert made["properties"]["agentStatus"] == "Registering"
    job = here.job(agent="planned")
    refused = job.order("startJob")
    assert refused.json()["error"]["code"] == "AgentNotRegistered"

    agent = here.agent("planned")
    told = here.arm("GET", f"{here.mover_id}/agents/planned").json()["properties"]
    assert (told["agentStatus"], told["description"]) == ("Online", "rack 7")
    job.start()
    agent.commit(agent.take(), 1, rows("a"))
    job.await_status("Succeeded")


def test_giving_up_returns_leases_and_leaves_nothing(here: World, tmp_path: Path) -> None:
    first, second = here.agent("leaving"), here.agent("staying")
    job = here.job(group=here.group("leaving", "staying"))
    job.start()
    grant = first.take()
    first.commit(grant, 1, rows("a"), Span(cursor=b"a"))
    assert len(here.assignments(first)) == 1
    first.protocol.unregister()

    with pytest.raises(IdentityGone):
        first.protocol.heartbeat({})
    assert here.arm("GET", f"{here.mover_id}/agents/leaving").status_code == 404
    assert here.arm("GET", machine(here, "leaving"), **MACHINES).status_code == 404
    assert here.assignments(first) == []
    grant = second.take(1)
    assert grant.work == Span(cursor=b"a")
    second.commit(grant, 1, rows("b"))
    assert job.await_status("Succeeded")["itemsTransferred"] == 2

    here.agents.pop("leaving").protocol.close()
    fresh = enrol(here, tmp_path / "again", "leaving")
    assert fresh.registration() is not None


def assign(here: World, scope: str, principal: str, role: str) -> None:
    """A role that a person gives to an identity."""
    definition = (
        f"/subscriptions/{here.served.subscription}/providers/Microsoft.Authorization/roleDefinitions/{role}"
    )
    path = f"{scope}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
    properties = {
        "roleDefinitionId": definition,
        "principalId": principal,
        "principalType": "ServicePrincipal",
    }
    answer = here.arm("PUT", path, {"properties": properties}, **{"api-version": "2022-04-01"})
    assert answer.status_code == 201, answer.text


def left(here: World, principal: str) -> dict[str, object]:
    """What the database still holds of an agent that is gone."""
    database = sqlite3.connect(here.served.state / "wherry.db", timeout=20)
    with closing(database):
        asked = {
            "living": "SELECT count(*) FROM principals WHERE oid = ? AND deleted_at IS NULL",
            "keys": "SELECT count(*) FROM agent_keys WHERE oid = ? AND state = 'active'",
            "roles": "SELECT count(*) FROM role_assignments WHERE principal_id = ?",
            "grants": "SELECT count(*) FROM grants WHERE principal_id = ?",
            "leases": "SELECT count(*) FROM partitions WHERE holder = ? AND expires_at > 0",
            "presence": "SELECT count(*) FROM agent_presence WHERE oid = ?",
        }
        return {name: database.execute(query, (principal,)).fetchone()[0] for name, query in asked.items()}


def test_attack_10_unregistering_in_the_midst_of_a_run_leaves_nothing(here: World, tmp_path: Path) -> None:
    """By Azure's SDK, while the agent works on a run into a container and waits for more."""
    agent, other = here.agent("working"), here.agent("idle")
    group = here.group("working", "idle")
    container = here.azurite.container().container_name
    job = here.job(agent="working", container=container)
    job.start()
    grant = agent.take()
    agent.commit(grant, 1, rows("a"), Span(cursor=b"a"))
    secret = agent.ledger(grant).credential(grant.token).secret
    assert sas_works(here.azurite, container, secret)
    assert len(here.assignments(agent)) == 1
    assign(here, machine(here, "working"), agent.principal, READER.guid)
    assign(here, here.mover_id, agent.principal, READER.guid)

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(agent.protocol.take, 20.0)
        here.served.movers.agents.begin_delete(GROUP, "mover", "working").result()
        with pytest.raises(IdentityGone):
            waiting.result()

    assert job.await_status("Failed")["error"]["code"] == "AZSM1041"
    job.await_run(lambda run: run["wherry"]["accessState"] == "Ended")
    assert not sas_works(here.azurite, container, secret)
    assert here.assignments(agent) == []
    assert set(left(here, agent.principal).values()) == {0}
    assert here.arm("GET", machine(here, "working"), **MACHINES).status_code == 404
    found = here.arm("GET", f"{here.mover_id}/agentGroups/{group}").json()["properties"]["agents"]
    assert found == [other.name]
    with pytest.raises(IdentityGone):
        agent.ledger(grant).renew(grant.token, progress=True)
    here.agents.pop("working").protocol.close()
    fresh = enrol(here, tmp_path / "again", "working")
    assert fresh.registration() is not None


def test_attack_43_what_belongs_to_another_agent_is_not_there(here: World) -> None:
    mine, other = here.agent("mine"), here.agent("nosy")
    job = here.job(agent="mine")
    job.start()
    grant = mine.take()
    for attempt in (
        lambda ledger: ledger.renew(grant.token, progress=True),
        lambda ledger: ledger.credential(grant.token),
        lambda ledger: ledger.keep(grant.token, 1, b"{}\n"),
        lambda ledger: ledger.release(grant.token),
    ):
        with pytest.raises(LeaseLost):
            attempt(other.ledger(grant))
    # Nobody learns which runs of others there are.
    said = set()
    for run in (grant.order.run, str(uuid.uuid4())):
        body = {"token": token_to_json(grant.token), "progress": True}
        for method, path, sent in (
            ("POST", f"/runs/{run}/renew", body),
            ("GET", f"/runs/{run}", None),
            ("GET", f"/runs/{run}/copyLogs", None),
        ):
            answer = other.protocol.answer(method, path, json=sent)
            said.add((answer.status_code, answer.json()["error"]["code"]))
    assert other.protocol.answer("GET", "/runs").json()["runs"] == []
    assert other.protocol.answer("GET", "/places").json()["places"] == []
    for path, query in (
        ("/runs", {"after": "1/' OR 1=1"}),
        ("/runs", {"after": f"{10**20}/{grant.order.run}"}),
        ("/runs", {"top": "201"}),
        ("/runs", {"top": "\u00b2"}),
        (f"/runs/{grant.order.run}/copyLogs", {"after": "-1.0"}),
        (f"/runs/{grant.order.run}/copyLogs", {"outcome": "Lost"}),
    ):
        answer = mine.protocol.answer("GET", path, params=query)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "InvalidQueryParameter")
    assert [one["jobRun"] for one in mine.protocol.answer("GET", "/runs").json()["runs"]] == [grant.order.run]
    assert said == {(404, "RunNotFound")}
    mine.commit(grant, 1, rows("a"))
    job.await_status("Succeeded")
