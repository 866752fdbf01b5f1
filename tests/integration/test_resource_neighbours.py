"""Groups, roles, machines and storage accounts, as the SDKs of their providers use them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError

from tests.azurite import Azurite
from tests.integration.served import Served, code_of, serving, target_of
from wherry.control.caller import Caller
from wherry.control.db.engine import Database
from wherry.control.services import agents, identities, resource_store
from wherry.trust.keys import PrivateKey
from wherry.trust.principals import Principal
from wherry.trust.roles import BLOB_DATA_READER, MOVER_OPERATOR, OWNER, READER

STORAGE = "2024-01-01"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("plane") / "state") as running:
        running.token()
        yield running


@pytest.fixture
def group(served: Served) -> Iterator[str]:
    """The id of a fresh group, deleted afterwards."""
    name = f"group-{uuid.uuid4().hex[:8]}"
    with served.resources as client:
        yield str(client.resource_groups.create_or_update(name, {"location": "local"}).id)
        client.resource_groups.begin_delete(name).result()


def registered(served: Served, group: str, mover: str, name: str) -> tuple[str, str]:
    """An agent as registration leaves it: machine and agent resource, identity and key; (agent id, object id)."""
    database = Database(f"sqlite:///{served.state / 'wherry.db'}")
    machine = f"{group}/providers/Microsoft.HybridCompute/machines/{name}"
    agent = f"{mover}/agents/{name}"
    with database.transaction() as conn:
        caller = Caller(Principal("user", "00000000-0000-0000-0000-000000000000", "", "registrar"), "", 1.0)
        jwk = PrivateKey.for_agent().public.jwk()
        made = identities.create_agent(conn, name=name, machine_id=machine, jwk=jwk, now=caller.now)
        resource_store.insert(
            conn, caller, machine, "Microsoft.HybridCompute/machines", group.lower(), properties={},
            state={"status": "Connected"}, location="local",
            identity={"type": "SystemAssigned", "principalId": made.oid, "tenantId": served.tenant},
        )  # fmt: skip
        resource_store.insert(
            conn, caller, agent, agents.TYPE, mover.lower(), link=machine, state={"agentStatus": "Offline"},
            properties={"arcResourceId": machine, "arcVmUuid": str(uuid.uuid4())},
        )  # fmt: skip
    database.close()
    return agent, made.oid


def make_mover(served: Served, group: str) -> str:
    with served.movers as client:
        return str(
            client.storage_movers.create_or_update(group.rpartition("/")[2], "m", {"location": "local"}).id
        )


def test_groups_tenants_and_subscriptions(served: Served) -> None:
    with served.resources as client, served.subscriptions as subscriptions:
        made = client.resource_groups.create_or_update(
            "My.Group_(1)", {"location": "East US", "tags": {"a": "b"}}
        )
        assert (made.name, made.location, made.tags) == ("My.Group_(1)", "eastus", {"a": "b"})
        assert client.resource_groups.check_existence("my.group_(1)")
        assert not client.resource_groups.check_existence("other")
        assert client.resource_groups.update("my.group_(1)", {"tags": {"c": "d"}}).tags == {"c": "d"}
        assert "My.Group_(1)" in [one.name for one in client.resource_groups.list()]
        client.resource_groups.begin_delete("my.group_(1)").result()
        with pytest.raises(ResourceNotFoundError) as gone:
            client.resource_groups.begin_delete("my.group_(1)").result()
        assert code_of(gone.value) == "ResourceGroupNotFound"

        assert client.providers.register("Microsoft.StorageMover").registration_state == "Registered"
        assert client.providers.get("microsoft.storagemover").namespace == "Microsoft.StorageMover"
        assert "Microsoft.KeyVault" in {one.namespace for one in client.providers.list()}
        listed = list(subscriptions.subscriptions.list())
        assert [one.subscription_id for one in listed] == [served.subscription]
        assert subscriptions.subscriptions.get(served.subscription).state == "Enabled"
        assert [one.tenant_id for one in subscriptions.tenants.list()] == [served.tenant]
        assert len(list(subscriptions.subscriptions.list_locations(served.subscription))) == 1


def test_role_definitions(served: Served) -> None:
    scope = f"/subscriptions/{served.subscription}"
    with served.authorization as client:
        found = list(client.role_definitions.list(scope, filter="roleName eq 'Storage Blob Data Reader'"))
        assert [one.name for one in found] == [BLOB_DATA_READER.guid]
        assert found[0].role_type == "BuiltInRole"
        assert client.role_definitions.get(scope, MOVER_OPERATOR.guid).role_type == "CustomRole"
        assert client.role_definitions.get_by_id(str(found[0].id)).role_name == "Storage Blob Data Reader"
        with pytest.raises(ResourceNotFoundError):
            client.role_definitions.get(scope, str(uuid.uuid4()))


def test_role_assignments(served: Served, group: str) -> None:
    mover = make_mover(served, group)
    _, oid = registered(served, group, mover, "agent")
    role = f"/subscriptions/{served.subscription}/providers/Microsoft.Authorization/roleDefinitions/{READER.guid}"
    name = str(uuid.uuid4())
    body: Any = {
        "role_definition_id": role, "principal_id": oid, "principal_type": "ServicePrincipal", "description": "d"
    }  # fmt: skip
    with served.authorization as client:
        assignments = client.role_assignments
        made = assignments.create(mover.upper().replace("/SUBSCRIPTIONS", "/subscriptions"), name, body)
        assert made.scope == mover
        assert assignments.create(mover, name, body).id == made.id
        assert assignments.get(mover, name).principal_id == oid
        assert assignments.get_by_id(str(made.id)).description == "d"
        with pytest.raises(ResourceNotFoundError):
            assignments.get(group, name)

        assert name in [one.name for one in assignments.list_for_scope(mover, filter="atScope()")]
        assert name not in [one.name for one in assignments.list_for_scope(group, filter="atScope()")]
        assert name in [one.name for one in assignments.list_for_scope(group)]
        mine = list(assignments.list_for_subscription(filter=f"principalId eq '{oid}'"))
        assert [one.name for one in mine] == [name]
        assert [one.name for one in assignments.list_for_subscription(filter=f"assignedTo('{oid}')")] == [
            name
        ]

        for change, status, code in (
            ({"description": "e", "condition": "1 = 1"}, 400, "InvalidCondition"),
            ({"principal_id": str(uuid.uuid4())}, 400, "RoleAssignmentUpdateNotPermitted"),
            (
                {"role_definition_id": role.replace(READER.guid, OWNER.guid)},
                400,
                "RoleAssignmentUpdateNotPermitted",
            ),
        ):
            with pytest.raises(HttpResponseError) as refused:
                assignments.create(mover, name, body | change)
            assert (refused.value.status_code, code_of(refused.value)) == (status, code)
        for scope, other, change, status, code in (
            (mover, str(uuid.uuid4()), {}, 409, "RoleAssignmentExists"),
            (mover, "name", {}, 400, "InvalidRoleAssignmentId"),
            (group, str(uuid.uuid4()), {"principal_id": str(uuid.uuid4())}, 400, "PrincipalNotFound"),
            (group, str(uuid.uuid4()), {"principal_type": "User"}, 400, "UnmatchedPrincipalType"),
            (
                group,
                str(uuid.uuid4()),
                {"role_definition_id": role[:-4] + "0000"},
                404,
                "RoleDefinitionDoesNotExist",
            ),
            (f"{group}-none", str(uuid.uuid4()), {}, 404, "ResourceGroupNotFound"),
            (f"{mover}2", str(uuid.uuid4()), {}, 404, "ResourceNotFound"),
        ):
            with pytest.raises(HttpResponseError) as refused:
                assignments.create(scope, other, body | change)
            assert (refused.value.status_code, code_of(refused.value)) == (status, code)

        assert assignments.delete(group, name) is None
        assert assignments.get(mover, name).name == name
        assert assignments.delete(mover, name).name == name
        assert assignments.delete(mover, name) is None


def test_the_last_owner_stays(served: Served) -> None:
    with served.authorization as client:
        owners = [
            one for one in client.role_assignments.list_for_scope("/", filter="atScope()") if one.scope == "/"
        ]
        assert len(owners) == 1
        with pytest.raises(HttpResponseError) as refused:
            client.role_assignments.delete("", str(owners[0].name))
        assert refused.value.status_code == 400


def test_assignments_go_with_what_they_were_made_at(served: Served, group: str) -> None:
    mover = make_mover(served, group)
    _, oid = registered(served, group, mover, "agent")
    role = f"/providers/Microsoft.Authorization/roleDefinitions/{READER.guid}"
    body: Any = {"role_definition_id": role, "principal_id": oid, "principal_type": "ServicePrincipal"}
    with served.authorization as roles, served.movers as movers:
        roles.role_assignments.create(mover, str(uuid.uuid4()), body)
        roles.role_assignments.create(group, str(uuid.uuid4()), body)
        movers.agents.begin_delete(group.rpartition("/")[2], "m", "agent").result()
        assert list(roles.role_assignments.list_for_subscription(filter=f"principalId eq '{oid}'")) == []


def test_machines_are_read_and_deleted(served: Served, group: str) -> None:
    mover, name = make_mover(served, group), group.rpartition("/")[2]
    _, oid = registered(served, group, mover, "nas")
    with served.machines as client, served.movers as movers:
        assert client.machines.get(name, "NAS").identity.principal_id == oid
        assert [one.name for one in client.machines.list_by_resource_group(name)] == ["nas"]
        assert "nas" in [one.name for one in client.machines.list_by_subscription()]
        with pytest.raises(HttpResponseError) as refused:
            client.machines.create_or_update(name, "own", {"location": "local"})
        assert refused.value.status_code == 405

        client.machines.begin_delete(name, "nas").result()
        assert list(client.machines.list_by_resource_group(name)) == []
        agent = movers.agents.get(name, "m", "nas")
        assert agent.properties.agent_status == "RequiresAttention"
        assert agent.properties.error_details.code == "AZSM0010"
        client.machines.begin_delete(name, "nas").result()


def test_deleting_an_agent_deletes_its_machine(served: Served, group: str) -> None:
    mover, name = make_mover(served, group), group.rpartition("/")[2]
    registered(served, group, mover, "nas")
    with served.machines as client, served.movers as movers:
        body: Any = {"properties": {"arcResourceId": f"{group}/providers/Microsoft.HybridCompute/machines/nas",
                                    "arcVmUuid": str(uuid.uuid4())}}  # fmt: skip
        with pytest.raises(ResourceExistsError) as taken:
            movers.agents.create_or_update(name, "m", "other", body)
        assert code_of(taken.value) == "MachineInUse"
        changed = movers.agents.update(name, "m", "nas", {"properties": {"description": "d"}})
        assert (changed.properties.description, changed.properties.agent_status) == ("d", "Offline")
        movers.agents.begin_delete(name, "m", "nas").result()
        assert list(client.machines.list_by_resource_group(name)) == []
        assert movers.agents.create_or_update(name, "m", "nas", body).properties.agent_status == "Registering"


def test_a_storage_account_is_the_registration_of_a_back_end(
    served: Served, group: str, azurite: Azurite
) -> None:
    account = f"{group}/providers/Microsoft.Storage/storageAccounts/archive"
    container = f"{account}/blobServices/default/containers/photos-{uuid.uuid4().hex[:8]}"
    told = {"blobEndpoint": azurite.url + "/", "accountName": azurite.account, "accountKey": azurite.key}
    with served.resources as client:
        resources = client.resources

        def put(resource_id: str, wherry: dict[str, Any] | None = None) -> Any:
            body: Any = {"location": "local", "properties": {"wherry": wherry} if wherry else {}}
            return resources.begin_create_or_update_by_id(resource_id, body, api_version=STORAGE).result()

        made = put(account, told)
        assert made.properties["wherry"] == {"blobEndpoint": azurite.url, "accountName": azurite.account}
        assert azurite.key not in str(made.as_dict())
        assert azurite.key not in str(resources.get_by_id(account, api_version=STORAGE).as_dict())
        assert azurite.key.encode() not in b"".join(
            file.read_bytes() for file in served.state.glob("wherry.db*")
        )

        assert put(container).properties["wherry"] == {"state": "Available", "created": True}
        assert put(container).properties["wherry"] == {"state": "Available", "created": False}
        name = container.rpartition("/")[2]
        assert azurite.service.get_container_client(name).exists()
        assert (
            resources.get_by_id(container, api_version=STORAGE).properties["wherry"]["state"] == "Available"
        )
        azurite.service.delete_container(name)
        assert resources.get_by_id(container, api_version=STORAGE).properties["wherry"]["state"] == "Missing"
        put(container)

        # Without its key the registration moves nowhere else.
        with pytest.raises(HttpResponseError) as refused:
            put(account, {"blobEndpoint": "https://evil.example", "accountName": azurite.account})
        assert target_of(refused.value) == "properties.wherry.accountKey"
        assert put(account, {"blobEndpoint": azurite.url, "accountName": azurite.account}).tags == {}

        wrong = "A" * 86 + "=="
        put(account, told | {"accountKey": wrong})
        assert resources.get_by_id(container, api_version=STORAGE).properties["wherry"]["state"] == "Refused"
        with pytest.raises(ResourceExistsError) as bad_key:
            put(container)
        assert code_of(bad_key.value) == "StorageAccountKeyRefused"

        resources.begin_delete_by_id(account, api_version=STORAGE).result()
        with pytest.raises(ResourceNotFoundError):
            resources.get_by_id(container, api_version=STORAGE)
        assert azurite.service.get_container_client(name).exists()


@pytest.mark.parametrize(
    ("wherry", "target"),
    [
        ({"accountKey": "A" * 24}, "blobEndpoint"),
        ({"blobEndpoint": "https://a.example"}, "accountKey"),
        ({"blobEndpoint": "https://a.example", "accountKey": "short"}, "accountKey"),
        ({"blobEndpoint": "http://a.example", "accountKey": "A" * 24}, "blobEndpoint"),
        ({"blobEndpoint": "http://10.0.0.1", "accountKey": "A" * 24}, "blobEndpoint"),
        ({"blobEndpoint": "ftp://127.0.0.1", "accountKey": "A" * 24}, "blobEndpoint"),
        ({"blobEndpoint": "https://u:p@a.example", "accountKey": "A" * 24}, "blobEndpoint"),
        ({"blobEndpoint": "https://a.example/?sig=x", "accountKey": "A" * 24}, "blobEndpoint"),
        ({"blobEndpoint": "https://169.254.169.254", "accountKey": "A" * 24}, "blobEndpoint"),
        ({"blobEndpoint": "https://2852039166/", "accountKey": "A" * 24}, "blobEndpoint"),
        ({"blobEndpoint": "https://[::ffff:169.254.169.254]", "accountKey": "A" * 24}, "blobEndpoint"),
        ({"blobEndpoint": "https://[::", "accountKey": "A" * 24}, "blobEndpoint"),
        ({"blobEndpoint": "https://a.example", "accountKey": "A" * 24, "accountName": "No"}, "accountName"),
    ],
)
def test_back_ends_that_are_refused(served: Served, group: str, wherry: dict[str, str], target: str) -> None:
    account = f"{group}/providers/Microsoft.Storage/storageAccounts/refused"
    body: Any = {"location": "local", "properties": {"wherry": wherry}}
    with served.resources as client, pytest.raises(HttpResponseError) as refused:
        client.resources.begin_create_or_update_by_id(account, body, api_version=STORAGE)
    assert refused.value.status_code == 400
    assert target_of(refused.value) == f"properties.wherry.{target}"


def test_a_back_end_that_does_not_answer(served: Served, group: str) -> None:
    account = f"{group}/providers/Microsoft.Storage/storageAccounts/silent"
    wherry = {"blobEndpoint": "http://127.0.0.1:1", "accountKey": "A" * 24}
    body: Any = {"location": "local", "properties": {"wherry": wherry}}
    with served.resources as client:
        client.resources.begin_create_or_update_by_id(account, body, api_version=STORAGE).result()
        container = f"{account}/blobServices/default/containers/photos"
        with pytest.raises(ResourceExistsError) as refused:
            client.resources.begin_create_or_update_by_id(container, {"properties": {}}, api_version=STORAGE)
        assert code_of(refused.value) == "StorageAccountUnreachable"
        with pytest.raises(ResourceNotFoundError):
            client.resources.get_by_id(container, api_version=STORAGE)


def test_the_identity_of_an_endpoint_can_be_given_roles(served: Served, group: str) -> None:
    name = group.rpartition("/")[2]
    folder = {"properties": {"endpointType": "LocalMount", "path": "/data/x"}}
    with served.movers as movers, served.authorization as authorization:
        movers.storage_movers.create_or_update(name, "m", {"location": "local"})

        def put(kind: str) -> Any:
            body: Any = folder | {"identity": {"type": kind}}
            return movers.endpoints.create_or_update(name, "m", "e", body).identity

        made = put("SystemAssigned")
        assert (made.type, made.tenant_id) == ("SystemAssigned", served.tenant)
        assert put("SystemAssigned").principal_id == made.principal_id
        role = f"/subscriptions/{served.subscription}/providers/Microsoft.Authorization/roleDefinitions/{READER.guid}"
        told: Any = {"properties": {"roleDefinitionId": role, "principalId": made.principal_id}}
        assignment = str(uuid.uuid4())
        authorization.role_assignments.create(group, assignment, told)
        assert put("None").principal_id is None
        with pytest.raises(ResourceNotFoundError):
            authorization.role_assignments.get(group, assignment)
