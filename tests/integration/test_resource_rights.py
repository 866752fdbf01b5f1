"""Rights in the resource API end where their scope ends: with a second user, who has few."""

from __future__ import annotations

import ssl
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import httpx
import pytest
from azure.identity import DeviceCodeCredential

from tests.integration.served import Served, serving
from wherry.control.db.engine import Database
from wherry.control.services import device_codes, users
from wherry.trust.keys import MasterKey
from wherry.trust.roles import CONTRIBUTOR, MOVER_OPERATOR, OWNER, RBAC_ADMINISTRATOR, READER, Role

MOVERS = "/providers/Microsoft.StorageMover/storageMovers"
ROLES = "/providers/Microsoft.Authorization/roleAssignments"
V = {"api-version": "2025-12-01"}


@dataclass
class World:
    """Two groups with a mover each, as `admin` made them, and a user who has no right at first."""

    served: Served
    admin: httpx.Client
    user: httpx.Client
    oid: str
    one: str
    two: str

    def give(self, role: Role, scope: str) -> str:
        """Assign a role to the user; the id of the assignment."""
        properties = {"roleDefinitionId": role.guid, "principalId": self.oid, "principalType": "User"}
        path = f"{scope}{ROLES}/{uuid.uuid4()}"
        answer = self.admin.put(path, json={"properties": properties})
        assert answer.status_code == 201, answer.text
        return path


@pytest.fixture(scope="module")
def world_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serving(tmp_path_factory.mktemp("plane") / "state") as served:
        oid, token = second_user(served)
        trust = ssl.create_default_context(cafile=served.ca_file)

        def client(bearer: str) -> httpx.Client:
            headers = {"Authorization": f"Bearer {bearer}"}
            return httpx.Client(base_url=served.url, verify=trust, headers=headers, params=V)

        with client(served.token()) as admin, client(token) as user:
            root = f"/subscriptions/{served.subscription}/resourceGroups"
            for group in ("one", "two"):
                assert admin.put(f"{root}/{group}", json={"location": "local"}).status_code == 201
                assert admin.put(f"{root}/{group}{MOVERS}/m", json={"location": "local"}).status_code == 200
            yield World(served, admin, user, oid, f"{root}/one", f"{root}/two")


@pytest.fixture
def world(world_of_all: World) -> Iterator[World]:
    """The same, without anything that an earlier test gave to the user."""
    yield world_of_all
    admin, mine = world_of_all.admin, f"principalId eq '{world_of_all.oid}'"
    listed = admin.get(
        f"/subscriptions/{world_of_all.served.subscription}{ROLES}", params={"$filter": mine} | V
    )
    for one in listed.json()["value"]:
        assert admin.delete(one["id"]).status_code == 200


def second_user(served: Served) -> tuple[str, str]:
    """A user made in the database, signed in by device code; object id and token."""
    database = Database(f"sqlite:///{served.state / 'wherry.db'}")
    master = MasterKey.from_text((served.state / "master.key").read_text())
    with database.transaction() as conn:
        oid = users.create(conn, "second", "Second", "a password of the second", time.time())

    def approve(_uri: str, code: str, _expires: datetime) -> None:
        with database.transaction() as conn:
            device_codes.approve(conn, master, code, oid, time.time())

    credential = DeviceCodeCredential(
        authority=served.url,
        tenant_id=served.tenant,
        disable_instance_discovery=True,
        connection_verify=served.ca_file,
        prompt_callback=approve,
    )
    token = credential.get_token(f"{served.url}/.default").token
    database.close()
    return oid, str(token)


def test_nobody_sees_anything_without_a_role(world: World) -> None:
    assert world.user.get("/subscriptions").json() == {"value": []}
    for path in (world.one, f"{world.one}{MOVERS}", f"{world.one}{MOVERS}/m", f"{world.one}{MOVERS}/none"):
        answer = world.user.get(path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "AuthorizationFailed")
        assert f"object id '{world.oid}'" in answer.json()["error"]["message"]


def test_a_right_ends_at_its_scope(world: World) -> None:
    mover = f"{world.one}{MOVERS}/m"
    world.give(READER, mover.upper().replace("/SUBSCRIPTIONS/", "/subscriptions/"))
    user = world.user
    assert [one["subscriptionId"] for one in user.get("/subscriptions").json()["value"]] == [
        world.served.subscription
    ]
    assert user.get(mover).status_code == 200
    assert user.get(f"{mover}/projects").status_code == 200
    for path in (f"{mover}2", world.one, f"{world.one}{MOVERS}", f"{world.two}{MOVERS}/m", f"{mover}%2e"):
        assert user.get(path).status_code in (400, 403), path
    assert user.put(mover, json={"location": "local"}).status_code == 403
    assert user.delete(mover).status_code == 403
    assert user.put(f"{mover}/projects/p", json={}).status_code == 403
    assert world.admin.get(f"{mover}/projects/p").status_code == 404


def test_a_contributor_of_a_group_gives_no_rights(world: World) -> None:
    world.give(CONTRIBUTOR, world.one)
    user = world.user
    assert user.put(f"{world.one}{MOVERS}/mine", json={"location": "local"}).status_code == 200
    assert user.put(f"{world.two}{MOVERS}/mine", json={"location": "local"}).status_code == 403
    properties = {"roleDefinitionId": OWNER.guid, "principalId": world.oid}
    for scope in (world.one, f"{world.one}{MOVERS}/mine", "", f"/subscriptions/{world.served.subscription}"):
        answer = user.put(f"{scope}{ROLES}/{uuid.uuid4()}", json={"properties": properties})
        assert answer.status_code == 403, scope
    made = user.get(f"{world.one}{ROLES}").json()["value"]
    mine = next(one for one in made if one["properties"]["principalId"] == world.oid)
    assert user.delete(mine["id"]).status_code == 403
    answer = user.delete(f"{world.one}{MOVERS}/mine")
    poll = answer.headers["location"]
    assert user.get(poll).json()["status"] == "Succeeded"
    assert world.admin.get(poll).status_code == 404


def test_who_may_assign_below_does_not_touch_what_is_above(world: World) -> None:
    above = world.give(READER, world.one)
    mover = f"{world.one}{MOVERS}/m"
    world.give(RBAC_ADMINISTRATOR, mover)
    name = above.rpartition("/")[2]
    # The name of an assignment is deleted only at the scope that it was made at.
    assert world.user.delete(f"{mover}{ROLES}/{name}").status_code == 204
    assert world.user.delete(above).status_code == 403
    assert world.admin.get(above).status_code == 200
    taken = {"roleDefinitionId": READER.guid, "principalId": world.oid}
    moved = world.user.put(f"{mover}{ROLES}/{name}", json={"properties": taken})
    assert (moved.status_code, moved.json()["error"]["code"]) == (400, "RoleAssignmentUpdateNotPermitted")


def test_an_operator_starts_jobs_and_changes_none(world: World) -> None:
    mover = f"{world.one}{MOVERS}/m"
    world.admin.put(f"{mover}/projects/p", json={})
    for name in ("src", "dst"):
        properties = {"endpointType": "LocalMount", "path": f"/{name}"}
        world.admin.put(f"{mover}/endpoints/{name}", json={"properties": properties})
    job = f"{mover}/projects/p/jobDefinitions/j"
    body = {"properties": {"copyMode": "Additive", "sourceName": "src", "targetName": "dst"}}
    assert world.admin.put(job, json=body).status_code == 200
    world.give(MOVER_OPERATOR, mover)
    assert world.user.get(job).status_code == 200
    assert world.user.put(job, json=body).status_code == 403
    assert world.user.patch(job, json={}).status_code == 403
    assert world.user.put(f"{mover}/endpoints/src", json={}).status_code == 403
    assert world.user.post(f"{job}/startJob").json()["error"]["code"] == "AgentRequired"


def test_a_group_whose_name_hides_a_path_is_refused(world: World) -> None:
    world.give(CONTRIBUTOR, f"{world.one}{MOVERS}/m")
    base = httpx.URL(str(world.user.base_url))
    for hidden in ("%3F", "%23", "%3F/..", "%5C", "%2F"):
        raw = f"{world.one}{hidden}{MOVERS}/m?api-version=2025-12-01".encode()
        answer = world.user.send(world.user.build_request("DELETE", base.copy_with(raw_path=raw)))
        assert answer.status_code in (400, 403, 404), hidden
    assert world.admin.get(world.one).status_code == 200
    assert world.admin.get(f"{world.one}{MOVERS}/m").status_code == 200
