"""Why may somebody do something, and who can reach a target: answers that name what decides, or what is missing."""

from __future__ import annotations

import pytest

from tests.unit.control import flows
from tests.unit.control.stage import CONTAINER, MOVER, Stage
from wherry.control.services import access_questions, groups, role_assignments, users
from wherry.control.services.access_questions import why
from wherry.model.errors import ApiError
from wherry.trust import policy
from wherry.trust.roles import BLOB_DATA_READER, JOB_WRITER, READER

READ = "Microsoft.StorageMover/storageMovers/read"
WRITE = "Microsoft.StorageMover/storageMovers/write"
BLOB_READ = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"


def assign(stage: Stage, oid: str, role: str, scope: str, **more: str) -> str:
    return role_assignments.create(
        stage.conn, role=role, principal_id=oid, principal_type=more.pop("kind", "User"), scope=scope,
        by=stage.admin, now=stage.now, **more,
    )  # fmt: skip


@pytest.fixture
def person(stage: Stage) -> str:
    return users.create(stage.conn, "eve", "Eve", "password", stage.now)


def test_the_assignment_that_decides_is_named(stage: Stage, person: str) -> None:
    made = assign(stage, person, READER.guid, MOVER)
    found = why(stage.conn, "EVE", READ, MOVER, stage.now, data=False)
    assert (found["allowed"], found["decidedBy"], found["reason"]) == (True, made, "role Reader")
    (one,) = found["assignments"]
    assert (one["roleAssignment"], one["allows"], one["lacks"]) == (made, True, None)
    assert one["why"]["assignedBy"] == stage.admin
    assert "wouldBeAllowedBy" not in found


def test_what_is_missing_is_told_of_each_assignment(stage: Stage, person: str) -> None:
    assign(stage, person, READER.guid, MOVER)
    assign(stage, person, BLOB_DATA_READER.guid, CONTAINER, condition=policy.expires(stage.now - 1))
    found = why(stage.conn, person, WRITE, MOVER, stage.now, data=False)
    assert (found["allowed"], found["decidedBy"]) == (False, None)
    assert "does not have the action" in found["assignments"][0]["lacks"]
    assert [one["roleName"] for one in found["wouldBeAllowedBy"]][-1] == "Owner"
    found = why(stage.conn, person, BLOB_READ, f"{CONTAINER}-2", stage.now, data=True)
    assert "scope" in next(one["lacks"] for one in found["assignments"] if one["condition"])
    found = why(stage.conn, person, BLOB_READ, CONTAINER, stage.now, data=True)
    assert found["assignments"][0]["lacks"] == "its condition does not hold (any more)"
    assert found["assignments"][0]["until"]
    assert found["wouldBeAllowedBy"][0]["roleName"] in (
        "Storage Blob Data Reader",
        "Storage Mover Job Writer",
    )
    with pytest.raises(ApiError, match="no principal 'nobody'"):
        why(stage.conn, "nobody", WRITE, MOVER, stage.now, data=False)


def test_who_reaches_a_target_through_a_run_is_told_with_consent_and_end(stage: Stage) -> None:
    oid = stage.agent("a").oid
    job = stage.job(container="photos", agentName="a")
    run = stage.start(job)
    assert access_questions.who(stage.conn, CONTAINER, stage.now)["holders"] == []
    stage.admit(run, "a")
    (one,) = access_questions.who(stage.conn, CONTAINER, stage.now)["holders"]
    assert (one["principal"]["id"], one["may"], one["roleName"]) == (oid, ["read", "write"], JOB_WRITER.name)
    assert one["until"]
    assert one["why"]["consentedBy"] == stage.admin
    assert [path.rpartition("/")[2] for path in one["why"]["runs"]] == [run]
    assert access_questions.who(stage.conn, f"{CONTAINER}2", stage.now)["holders"] == []
    stage.stop(job)
    assert access_questions.who(stage.conn, CONTAINER, stage.now)["holders"] == []


def test_members_of_groups_are_among_those_who_reach_a_target(stage: Stage, person: str) -> None:
    oid = groups.create(stage.conn, "readers", "readers", None, stage.now)
    groups.add_member(stage.conn, oid, person, stage.now)
    assign(stage, oid, BLOB_DATA_READER.guid, CONTAINER, kind="Group")
    (one,) = access_questions.who(stage.conn, CONTAINER, stage.now)["holders"]
    assert (one["principal"]["name"], one["viaGroup"], one["until"]) == ("eve", "readers", None)
    found = why(stage.conn, "eve", BLOB_READ, CONTAINER, stage.now, data=True)
    assert (found["allowed"], found["assignments"][0]["viaGroup"]) == (True, "readers")


async def test_the_api_answers_those_who_may_read_assignments(client, plane, made) -> None:
    token = (await flows.signed_in(client, made.password))["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    scope = f"/subscriptions/{plane.subscription}"
    place = f"{scope}/providers/Microsoft.Authorization/accessDecisions"
    query = {"api-version": "2022-04-01", "principal": "admin", "action": READ}
    answer = await client.get(place, params=query, headers=headers)
    assert (answer.status_code, answer.json()["allowed"]) == (200, True)
    data = {**query, "action": BLOB_READ, "data": "true"}
    assert (await client.get(place, params=data, headers=headers)).json()["allowed"] is False
    for wrong in ({"action": ""}, {"action": "*"}, {"principal": ""}, {"data": "maybe"}, {"api-version": ""}):
        answer = await client.get(place, params={**query, **wrong}, headers=headers)
        assert answer.status_code == 400
    who = place.replace("accessDecisions", "accessHolders")
    answer = await client.get(who, params={"api-version": "2022-04-01"}, headers=headers)
    assert answer.json()["holders"] == []
    assert (await client.get(who, params={"api-version": "2022-04-01"})).status_code == 401
