"""Attacks 50–55: rights that do not reach beyond their scope, whatever a request says."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.unit.control import flows
from tests.unit.control.conftest import URL, Clock
from tests.unit.control.stage import ENDPOINT, KEY, Stage
from wherry.control.app import create_app
from wherry.control.plane import Plane
from wherry.control.services import device_codes, resource_store, users
from wherry.trust.roles import CONTRIBUTOR, OWNER, READER

V = {"api-version": "2025-12-01"}
ROLES = "/providers/Microsoft.Authorization/roleAssignments"
MOVERS = "/providers/Microsoft.StorageMover/storageMovers"


@dataclass
class Attacker:
    """Somebody who owns group `one` and nothing else; `stage` of the owner of all is in `two`."""

    plane: Plane
    clock: Clock
    client: httpx.AsyncClient
    oid: str
    one: str
    two: str

    async def send(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        version = {"api-version": "2022-04-01"} if "Authorization" in path else V
        return await self.client.request(method, path, json=body, params=version, headers=headers)

    async def put(self, path: str, properties: Any, **more: Any) -> httpx.Response:
        return await self.send("PUT", path, {"properties": properties, **more})

    async def role(self, at: str, role: str, principal: str, name: str = "", **more: Any) -> httpx.Response:
        told = {"roleDefinitionId": role, "principalId": principal, **more}
        return await self.put(f"{at}{ROLES}/{name or uuid.uuid4()}", told)

    def count(self, table: str) -> int:
        with self.plane.database.snapshot() as conn:
            return int(conn.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one())


@pytest.fixture
async def attacker(plane: Plane, clock: Clock) -> AsyncIterator[Attacker]:
    transport = httpx.ASGITransport(create_app(plane), client=("192.0.2.7", 1))
    async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
        oid = _world(plane, clock)
        code = await flows.device_code(client)
        with plane.database.transaction() as conn:
            device_codes.approve(conn, plane.master, code["user_code"], oid, clock.now)
        client.headers["Authorization"] = f"Bearer {(await flows.poll(client, code)).json()['access_token']}"
        groups = f"/subscriptions/{plane.subscription}/resourceGroups"
        yield Attacker(plane, clock, client, oid, f"{groups}/one", f"{groups}/two")


def _world(plane: Plane, clock: Clock) -> str:
    """Groups `one` and `two` with a mover, an agent and an account each; who owns `one`."""
    with plane.database.transaction() as conn:
        stage = Stage(conn, clock.now)
        oid = users.create(conn, "eve", "Eve", "password", clock.now)
        for group in ("one", "two", "one2", "One.x"):
            root = f"/subscriptions/{plane.subscription}/resourceGroups/{group}"
            stage.put(root, location="local")
            stage.put(f"{root}{MOVERS}/m", location="local")
            stage.put(f"{root}{MOVERS}/m/projects/p")
            told = {"wherry": {"blobEndpoint": ENDPOINT, "accountKey": KEY}}
            account = (
                f"{root}/providers/Microsoft.Storage/storageAccounts/{group.lower().replace('.', '')}account"
            )
            stage.put(account, told, location="x")
        root = f"/subscriptions/{plane.subscription}/resourceGroups/one"
        stage.assign(OWNER.guid, oid, root, "User")
        # The agent of `one` is registered and could work.
        machine = f"{root}/providers/Microsoft.HybridCompute/machines/a"
        holder = stage.agent("a")
        conn.exec_driver_sql(
            "UPDATE agent_presence SET agent_key = ?", (f"{root}{MOVERS}/m/agents/a".lower(),)
        )
        found = resource_store.find(conn, holder.key)
        assert found is not None
        resource_store.remove(conn, found.key)
        resource_store.insert(
            conn, stage.caller, f"{root}{MOVERS}/m/agents/a", found.type, f"{root}{MOVERS}/m".lower(),
            properties={"arcResourceId": machine}, state={"agentStatus": "Online"}, link=machine,
        )  # fmt: skip
    return oid


async def job(attacker: Attacker, account: str, **properties: Any) -> httpx.Response:
    """Define a job in `one` into a container of an account; its answer."""
    mover = f"{attacker.one}{MOVERS}/m"
    await attacker.put(f"{mover}/endpoints/s", {"endpointType": "LocalMount", "path": "/data"})
    told = {
        "endpointType": "AzureStorageBlobContainer",
        "storageAccountResourceId": account,
        "blobContainerName": "photos",
    }
    answer = await attacker.put(f"{mover}/endpoints/t", told)
    if answer.status_code >= 300:
        return answer
    names = {"copyMode": "Additive", "sourceName": "s", "targetName": "t", "agentName": "a"}
    return await attacker.put(f"{mover}/projects/p/jobDefinitions/j", {**names, **properties})


async def test_attack_50_a_job_does_not_carry_rights_into_the_account_of_others(attacker: Attacker) -> None:
    theirs = f"{attacker.two}/providers/Microsoft.Storage/storageAccounts/twoaccount"
    path = f"{attacker.one}{MOVERS}/m/projects/p/jobDefinitions/j"
    for told in (theirs, theirs.upper().replace("/SUBSCRIPTIONS", "/subscriptions")):
        made = await job(attacker, told)
        if made.status_code < 300:
            refused = await attacker.send("POST", f"{path}/startJob")
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "AuthorizationFailed")
            assert "twoaccount" in refused.json()["error"]["message"].lower()
            await attacker.send("DELETE", path)
            await attacker.send("DELETE", f"{attacker.one}{MOVERS}/m/endpoints/t")
    assert [attacker.count(table) for table in ("runs", "consents", "grants", "run_credentials")] == [0] * 4
    # The same job into the own account is the attacker's to start.
    own = f"{attacker.one}/providers/Microsoft.Storage/storageAccounts/oneaccount"
    assert (await job(attacker, own)).status_code < 300
    assert (await attacker.send("POST", f"{path}/startJob")).status_code == 200


async def test_attack_50_agents_and_endpoints_of_other_movers_cannot_be_named(attacker: Attacker) -> None:
    own = f"{attacker.one}/providers/Microsoft.Storage/storageAccounts/oneaccount"
    theirs = f"{attacker.two}{MOVERS}/m"
    for told in (
        {"agentName": f"{theirs}/agents/b"}, {"agentName": "../../../two/m/agents/b"},
        {"sourceName": f"{theirs}/endpoints/s"}, {"targetName": "x/../t"},
    ):  # fmt: skip
        assert (await job(attacker, own, **told)).status_code == 400, told
    assert (await attacker.send("POST", f"{theirs}/projects/p/jobDefinitions/j/startJob")).status_code == 403


async def test_attack_51_a_scope_holds_what_lies_in_it_and_nothing_that_begins_alike(
    attacker: Attacker,
) -> None:
    groups = attacker.one.rpartition("/")[0]
    for path in (f"{groups}/one2{MOVERS}/m", f"{groups}/One.x{MOVERS}/m", f"{groups}/on{MOVERS}/m", groups):
        assert (await attacker.send("GET", path)).status_code == 403, path
        assert (await attacker.role(path, OWNER.guid, attacker.oid)).status_code == 403, path
    for path in (
        f"{groups}/one%2f..%2ftwo{MOVERS}/m", f"{groups}/one/../two{MOVERS}/m", f"{groups}/one//two{MOVERS}/m",
        f"{groups}/one%2e{MOVERS}/m", f"{groups}/one\\..\\two{MOVERS}/m",
    ):  # fmt: skip
        url = httpx.URL(URL).copy_with(raw_path=f"{path}?api-version=2025-12-01".encode())
        assert (await attacker.client.get(url)).status_code in (400, 403), path
        made = await attacker.role(path.replace("%2f", "/").replace("%2e", "."), OWNER.guid, attacker.oid)
        assert made.status_code in (400, 403, 404), path
    assert (
        await attacker.send("GET", f"{attacker.one.replace('/one', '/ONE')}{MOVERS.upper()}/M")
    ).status_code == 200


async def test_attack_52_assignments_that_make_no_sense_are_refused_as_documented(attacker: Attacker) -> None:
    name = str(uuid.uuid4())
    made = await attacker.role(attacker.one, READER.guid, attacker.oid, name)
    assert made.status_code == 201
    nobody = str(uuid.uuid4())
    one, eve = attacker.one, attacker.oid
    tries: list[tuple[httpx.Response, int, str]] = [
        (await attacker.role(one, CONTRIBUTOR.guid, eve, name), 400,
         "RoleAssignmentUpdateNotPermitted"),
        (await attacker.role(one, READER.guid, eve), 409, "RoleAssignmentExists"),
        (await attacker.role(one, READER.guid, nobody), 400, "PrincipalNotFound"),
        (await attacker.role(one, CONTRIBUTOR.guid, eve, principalType="Group"), 400,
         "UnmatchedPrincipalType"),
        (await attacker.role(one, nobody, eve), 404, "RoleDefinitionDoesNotExist"),
        (await attacker.role(one, CONTRIBUTOR.guid, eve, condition="1 == 1"), 400, "InvalidCondition"),
        (await attacker.role(one, CONTRIBUTOR.guid, eve, "no-guid"), 400, "InvalidRoleAssignmentId"),
    ]  # fmt: skip
    assert [(told.status_code, told.json()["error"]["code"]) for told, _, _ in tries] == [
        (status, code) for _, status, code in tries
    ]


async def test_attack_54_a_run_goes_where_its_start_was_decided_for(attacker: Attacker) -> None:
    own = f"{attacker.one}/providers/Microsoft.Storage/storageAccounts/oneaccount"
    assert (await job(attacker, own)).status_code < 300
    path = f"{attacker.one}{MOVERS}/m/projects/p/jobDefinitions/j"
    starts = await asyncio.gather(*(attacker.send("POST", f"{path}/startJob") for _ in range(4)))
    assert sorted(one.status_code for one in starts) == [200, 409, 409, 409]
    mover = f"{attacker.one}{MOVERS}/m"
    read = await attacker.send("GET", f"{mover}/endpoints/s")
    moved = {"properties": {"endpointType": "LocalMount", "path": "/elsewhere"}}
    stale = await attacker.send("PUT", f"{mover}/endpoints/s", moved, **{"If-Match": '"another"'})
    assert stale.status_code == 412
    await attacker.send("PUT", f"{mover}/endpoints/s", moved, **{"If-Match": read.headers["etag"]})
    told = {
        "endpointType": "AzureStorageBlobContainer",
        "storageAccountResourceId": own,
        "blobContainerName": "other",
    }
    await attacker.put(f"{mover}/endpoints/t", told)
    with attacker.plane.database.snapshot() as conn:
        source, into = conn.exec_driver_sql("SELECT source, target FROM runs").one()
    assert "/data" in source
    assert "/photos" in into


async def test_attack_55_what_only_the_service_sets_stays_its_own(attacker: Attacker) -> None:
    mover = f"{attacker.one}{MOVERS}/m"
    forged = {
        "systemData": {"createdBy": "somebody", "createdAt": "2001-01-01T00:00:00Z"}, "id": "/forged", "type": "x",
        "identity": {"principalId": attacker.oid, "tenantId": "x", "type": "None"},
    }  # fmt: skip
    inside = {
        "provisioningState": "Failed",
        "createdBy": "somebody",
        "agentStatus": "Online",
        "principalId": "x",
    }
    made = await attacker.put(f"{mover}/projects/q", inside, **forged)
    assert made.status_code in (200, 201, 400)
    if made.status_code < 300:
        shown = made.json()
        assert shown["systemData"]["createdBy"] == "eve"
        assert shown["properties"]["provisioningState"] == "Succeeded"
        assert not {"createdBy", "agentStatus", "principalId"} & shown["properties"].keys()
        assert shown["id"].endswith("/projects/q")
    machine = f"{attacker.one}/providers/Microsoft.HybridCompute/machines/b"
    told = {
        "arcResourceId": machine,
        "arcVmUuid": str(uuid.uuid4()),
        "agentStatus": "Online",
        "agentVersion": "9",
    }
    agent = await attacker.put(f"{mover}/agents/b", told)
    assert agent.json()["properties"].get("agentStatus", "Registering") == "Registering"
    assigned = await attacker.role(
        attacker.one, READER.guid, attacker.oid, createdBy=str(uuid.uuid4()), scope="/", createdOn="2001"
    )
    assert assigned.status_code in (201, 400)
    if assigned.status_code == 201:
        shown = assigned.json()["properties"]
        assert (shown["createdBy"], shown["scope"]) == (attacker.oid, attacker.one)
