"""Consents given beforehand: an operator starts what an owner let in, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from sqlalchemy import select

from tests.unit.control import flows
from tests.unit.control.stage import CONTAINER, MOVER, Stage
from wherry.control.caller import Caller
from wherry.control.db.tables_ledger import consents as table
from wherry.control.services import (
    agents,
    consents,
    grants,
    lapses,
    resource_store,
    resources,
    role_assignments,
    standing_consents,
)
from wherry.control.services.resource_store import Resource
from wherry.control.services.types.registry import target
from wherry.model.errors import ApiError, RunError
from wherry.trust.roles import MOVER_OPERATOR, USER_ACCESS_ADMINISTRATOR

DAY = 86400.0


@dataclass
class Scene:
    stage: Stage
    owner: Caller
    operator: Caller
    path: str

    @property
    def job(self) -> Resource:
        found = resource_store.find(self.stage.conn, self.path)
        assert found is not None
        return found

    def give(self, days: float = 30) -> str:
        until = self.stage.now + days * DAY
        return str(standing_consents.give(self.stage.conn, self.as_now(self.owner), self.job, until)["name"])

    def as_now(self, who: Caller) -> Caller:
        return self.stage.as_user(who.principal.oid)

    def start(self) -> str:
        # A request is a transaction: what is refused leaves nothing.
        with self.stage.conn.begin_nested():
            return self.stage.start(self.path, self.as_now(self.operator))

    def refused(self) -> str:
        with pytest.raises(ApiError) as refused:
            self.start()
        return refused.value.code


@pytest.fixture
def scene(stage: Stage) -> Scene:
    stage.agent("a")
    path = stage.job(container="photos", agentName="a")
    owner = stage.as_user(stage.user(USER_ACCESS_ADMINISTRATOR.guid))
    operator = stage.as_user(stage.user(MOVER_OPERATOR.guid, MOVER))
    return Scene(stage, owner, operator, path)


def test_an_operator_starts_by_the_consent_of_an_owner(scene: Scene) -> None:
    assert scene.refused() == "AuthorizationFailed"
    standing = scene.give()
    run = scene.start()
    scene.stage.admit(run, "a")
    row = scene.stage.conn.execute(select(table).where(table.c.run == run)).one()
    assert (row.author, row.standing, row.scope) == (scene.owner.principal.oid, standing, CONTAINER)
    (made,) = role_assignments.of_principal(scene.stage.conn, scene.stage.agent("a").oid)
    assert made.scope == CONTAINER


def test_who_may_not_let_agents_in_consents_to_nothing(scene: Scene) -> None:
    until = scene.stage.now + DAY
    with pytest.raises(ApiError) as refused:
        standing_consents.give(scene.stage.conn, scene.operator, scene.job, until)
    assert refused.value.code == "AuthorizationFailed"
    for days in (-1, 0, 400):
        with pytest.raises(ApiError, match="ends within"):
            scene.give(days)
    assert scene.refused() == "AuthorizationFailed"


def test_a_consent_ends_with_its_day_its_author_and_its_withdrawal(scene: Scene) -> None:
    scene.give(1)
    scene.stage.now += DAY
    assert scene.refused() == "AuthorizationFailed"
    name = scene.give()
    with pytest.raises(ApiError):
        standing_consents.withdraw(scene.stage.conn, scene.as_now(scene.operator), scene.job, name)
    assert standing_consents.withdraw(scene.stage.conn, scene.as_now(scene.owner), scene.job, name)
    assert not standing_consents.withdraw(scene.stage.conn, scene.as_now(scene.owner), scene.job, name)
    assert scene.refused() == "AuthorizationFailed"
    scene.give()
    role_assignments.remove_of_principal(scene.stage.conn, scene.owner.principal.oid)
    assert scene.refused() == "AuthorizationFailed"


def test_a_consent_is_to_the_job_as_it_was(scene: Scene) -> None:
    scene.give()
    stage = scene.stage
    stage.agent("b")
    for change in ({"copyMode": "Mirror"}, {"agentName": "b"}):
        before = dict(scene.job.properties)
        stage.put(scene.path, {**before, **change})
        assert scene.refused() == "AuthorizationFailed", change
        stage.put(scene.path, before)
    scene.start()


def test_who_gets_the_name_of_a_job_or_of_an_agent_gets_no_consent_with_it(scene: Scene) -> None:
    stage = scene.stage
    scene.give()
    agents.unregister(stage.conn, stage.agent("a").key, stage.now)
    assert consents.of_job(stage.conn, scene.job.key, stage.now) == []
    stage.agents.clear()
    resource_store.remove(stage.conn, f"{MOVER}/agents/a".lower())
    stage.agent("a")
    assert scene.refused() == "AuthorizationFailed"
    scene.give()
    key, properties = scene.job.key, dict(scene.job.properties)
    resources.delete(stage.conn, stage.caller, target(scene.path))
    stage.put(scene.path, properties)
    assert consents.of_job(stage.conn, key, stage.now) == []


def test_a_run_loses_its_ground_with_the_consent_that_it_rests_on(scene: Scene) -> None:
    stage = scene.stage
    name = scene.give()
    run = scene.start()
    grants.ensure(stage.conn, stage.run(run), stage.agent("a").oid, stage.now, 900)
    stage.lease(run, "a")
    standing_consents.withdraw(stage.conn, scene.owner, scene.job, name)
    with pytest.raises(RunError, match="consent to all runs"):
        consents.require(stage.conn, run, stage.now)
    stage.now += 600
    assert grants.prolong(stage.conn, stage.now, 900) == 0
    stage.now += 301
    for one in lapses.found(stage.conn, stage.now, 15.0):
        lapses.settle(stage.conn, one, stage.now, 15.0)
    assert stage.run(run).ended
    assert role_assignments.of_principal(stage.conn, stage.agent("a").oid) == []


async def test_the_api_gives_lists_and_ends_them(client, plane, made, clock) -> None:
    token = (await flows.signed_in(client, made.password))["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    with plane.database.transaction() as conn:
        stage = Stage(conn, clock.now)
        root = f"/subscriptions/{plane.subscription}/resourceGroups/g"
        stage.put(root, location="local")
        mover = f"{root}/providers/Microsoft.StorageMover/storageMovers/m"
        stage.put(mover, location="local")
    path, version = f"{mover}/projects/p/jobDefinitions/j/consents", {"api-version": "2025-12-01"}
    told = {"properties": {"until": "2027-02-01T00:00:00Z"}}
    answer = await client.post(path, json=told, params=version, headers=headers)
    assert answer.status_code == 404
    for wrong in (
        {},
        {"properties": {"until": "soon"}},
        {"properties": {"until": "2027-02-01T00:00:00"}},
        {"properties": 1},
    ):
        answer = await client.post(path, json=wrong, params=version, headers=headers)
        assert answer.status_code == 400, answer.text
    assert (await client.get(path, params=version, headers=headers)).status_code == 404
    assert (await client.post(path, json=told, params=version)).status_code == 401
