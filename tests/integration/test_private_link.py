"""Agents of a private link scope come by its networks alone: real networks, in a namespace of their own."""

from __future__ import annotations

import os
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.mgmt.hybridcompute.models import (
    HybridComputePrivateLinkScope,
    HybridComputePrivateLinkScopeProperties,
    PrivateEndpointConnection,
    PrivateEndpointConnectionProperties,
    PrivateLinkServiceConnectionStateProperty,
    TagsResource,
)

from tests.azurite import Azurite
from tests.integration.agents import GROUP, Administrator, Running, daemon, name_for, until
from tests.integration.served import code_of, holding, serving
from tests.namespaces import PRIVATE, PUBLIC, NamespacesMissing, Site, site
from wherry.agent.register import register
from wherry.agent.state import AgentState
from wherry.client.agent_protocol import AgentProtocol
from wherry.client.connection import Unreachable
from wherry.model.errors import ApiError

pytestmark = pytest.mark.allow_hosts(["127.0.0.1", "::1", "localhost", PRIVATE, PUBLIC])


@dataclass
class World:
    """A control plane with a private and a public address, and a machine that reaches both."""

    admin: Administrator
    site: Site
    port: int
    accounts: list[str] = field(default_factory=list)

    def url(self, host: str) -> str:
        return f"https://{host}:{self.port}"

    def scope(self, name: str, access: str = "Disabled", networks: tuple[str, ...] = ()) -> str:
        """The id of a scope with a connection for these networks."""
        path = f"{self.admin.group}/providers/Microsoft.HybridCompute/privateLinkScopes/{name}"
        body: dict[str, Any] = {"location": "westeurope", "properties": {"publicNetworkAccess": access}}
        made = str(self.admin.api.put(path, body)["id"])
        if networks:
            self.connect(made, networks)
        return made

    def connect(self, scope: str, networks: tuple[str, ...], status: str = "Approved") -> None:
        state = {"status": status, "description": "by a test"}
        properties = {"privateLinkServiceConnectionState": state, "wherry": {"networks": list(networks)}}
        self.admin.api.put(f"{scope}/privateEndpointConnections/office", {"properties": properties})

    @contextmanager
    def working(self, state: AgentState, **options: Any) -> Iterator[Running]:
        """The agent of `state` at work on the other machine while the block runs."""
        agent = daemon(state, poll_seconds=0.5, **options)
        running = self.site.inside(agent.__enter__)
        try:
            yield running
        finally:
            agent.__exit__(None, None, None)

    def account(self, endpoint: str, azurite: Azurite) -> str:
        """The id of a storage account that is reached at `endpoint`."""
        name = f"acct{len(self.accounts)}"
        self.accounts.append(name)
        path = f"{self.admin.group}/providers/Microsoft.Storage/storageAccounts/{name}"
        told = {"blobEndpoint": endpoint, "accountName": azurite.account, "accountKey": azurite.key}
        self.admin.api.put(path, {"location": "westeurope", "properties": {"wherry": told}})
        return path

    def run_of(self, mover: str, source: Path, account: str, container: str) -> str:
        """The id of a run from a folder of the agent's machine into a container."""
        job = f"{mover}/projects/p/jobDefinitions/into-{account.rpartition('/')[2]}"
        self.admin.api.put(f"{mover}/projects/p", {"properties": {}})
        local = {"endpointType": "LocalMount", "path": str(source)}
        self.admin.api.put(f"{mover}/endpoints/source", {"properties": local})
        blob = {
            "endpointType": "AzureStorageBlobContainer",
            "storageAccountResourceId": account,
            "blobContainerName": container,
        }
        target = f"target-{account.rpartition('/')[2]}"
        self.admin.api.put(f"{mover}/endpoints/{target}", {"properties": blob})
        properties = {
            "copyMode": "Additive", "sourceName": "source", "targetName": target, "agentName": name_for(mover)
        }  # fmt: skip
        self.admin.api.put(job, {"properties": properties})
        return str(self.admin.api.post(f"{job}/startJob")["jobRunResourceId"])

    def ended(self, run: str) -> dict[str, Any]:
        """The properties of a run that has ended."""

        def look() -> dict[str, Any] | None:
            found: dict[str, Any] = self.admin.api.get(run)["properties"]
            return found if found["status"] in ("Succeeded", "Failed", "Canceled") else None

        found: dict[str, Any] = until(look)
        return found

    def register(self, state: AgentState, mover: str, scope: str, host: str) -> None:
        """Register from the other machine."""
        wanted = replace(self.admin.wanted(mover), url=self.url(host), private_link_scope=scope)
        steps = register(state, wanted, lambda _: time.sleep(0.05))
        self.site.inside(lambda: self.admin.follow(steps))

    def beat(self, state: AgentState, host: str | None = None) -> float:
        """A heartbeat from the other machine, or to another address of the control plane."""
        identity = state.identity()
        assert identity is not None

        def work() -> float:
            protocol = AgentProtocol(
                replace(identity, url=self.url(host), private=False) if host else identity
            )
            try:
                return protocol.heartbeat({"version": "1"})
            finally:
                protocol.close()

        return self.site.inside(work)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("plane")
    try:
        with site() as there, pytest.MonkeyPatch.context() as patch:
            patch.setenv("WHERRY_SETTING_FURTHER_HOSTS", f"{there.private_here},{there.public_here}")
            patch.setenv("WHERRY_SETTING_HEARTBEAT_SECONDS", "0.2")
            with (
                holding() as port,
                serving(
                    folder / "state", f"0.0.0.0:{port}", public_url=f"https://127.0.0.1:{port}"
                ) as served,
            ):
                admin = Administrator(served, folder / "config")
                yield World(admin, there, port)
                admin.close()
    except NamespacesMissing as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))


@pytest.fixture
def state(tmp_path: Path) -> AgentState:
    return AgentState(tmp_path / "agent")


def test_an_agent_of_a_scope_works_by_its_networks_and_is_refused_elsewhere(
    world: World, state: AgentState
) -> None:
    scope = world.scope("private", networks=(world.site.private_network,))
    mover = world.admin.mover()
    world.register(state, mover, scope, world.site.private_here)
    known = state.registration()
    assert known is not None
    told = world.admin.agent(mover)
    assert told["wherry"]["privateLinkScopeResourceId"] == scope
    machine = world.admin.api.get(known.machine_id)
    assert machine["properties"]["privateLinkScopeResourceId"] == scope
    current = world.admin.api.get(f"{known.machine_id}/privateLinkScopes/current")
    assert current["publicNetworkAccess"] == "Disabled"
    assert [one["linkIdentifier"] for one in current["connectionDetails"]] == [world.site.private_network]

    with world.working(state) as running:
        until(lambda: world.admin.agent(mover).get("uptimeInSeconds"))
        running.stopping.set()
        assert running.wait() == 0
    assert world.admin.agent(mover)["localIPAddress"] == world.site.private_there

    with pytest.raises(ApiError) as caught:
        world.beat(state, world.site.public_here)
    assert "allows no access from" in caught.value.message
    world.connect(scope, (world.site.private_network,), "Rejected")
    with pytest.raises(ApiError, match="allows no access from"):
        world.beat(state)
    world.connect(scope, (world.site.private_network,))
    assert world.beat(state) > 0


class _Forward(socketserver.BaseRequestHandler):
    """Bytes to and fro between who calls and `server.onward`."""

    def handle(self) -> None:
        server: Any = self.server
        with socket.create_connection(server.onward) as onward:
            back = threading.Thread(target=_pump, args=(onward, self.request))
            back.start()
            _pump(self.request, onward)
            back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def forwarding(here: tuple[str, int], onward: tuple[str, int]) -> Iterator[tuple[str, int]]:
    """Whoever calls `here` gets to `onward`; where that is, with the port that was free."""
    with socketserver.ThreadingTCPServer(here, _Forward) as server:
        server.onward = onward  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield here[0], int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


def test_data_goes_by_the_private_network(
    world: World, state: AgentState, azurite: Azurite, tmp_path: Path
) -> None:
    """The Blob server goes by one address everywhere; on the agent's machine that leads over the private network."""
    scope = world.scope("data", networks=(world.site.private_network,))
    mover = world.admin.mover()
    world.register(state, mover, scope, world.site.private_here)
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.txt").write_text("over the private way")
    container = azurite.container()
    name, _, port = azurite.host.rpartition(":")
    with forwarding((PRIVATE, 0), (name, int(port))) as gate:
        there = forwarding((name, int(port)), gate)
        world.site.inside(there.__enter__)
        try:
            with world.working(state, allow_source=(source,)):
                done = world.ended(
                    world.run_of(mover, source, world.account(azurite.url, azurite), container.container_name)
                )
        finally:
            there.__exit__(None, None, None)

    assert done["status"] == "Succeeded", done
    assert container.download_blob("a.txt").readall() == b"over the private way"


def test_each_request_is_looked_at_not_only_the_first(world: World, state: AgentState) -> None:
    """A token that was given while public access was allowed opens nothing after it was taken away."""
    scope = world.scope("strict", "Enabled", networks=(world.site.private_network,))
    mover = world.admin.mover()
    world.register(state, mover, scope, world.site.private_here)
    identity = state.identity()
    assert identity is not None
    protocol = AgentProtocol(replace(identity, url=world.url(world.site.public_here), private=False))
    try:
        assert world.site.inside(lambda: protocol.heartbeat({"version": "1"})) > 0
        world.scope("strict", "Disabled")
        with pytest.raises(ApiError) as caught:
            world.site.inside(lambda: protocol.heartbeat({"version": "1"}))
        assert (caught.value.status, caught.value.code) == (403, "PublicNetworkAccessDenied")
    finally:
        protocol.close()


def test_registering_with_a_scope_begins_in_its_networks_too(world: World, state: AgentState) -> None:
    scope = world.scope("office", networks=("10.250.0.0/16",))
    with pytest.raises(ApiError, match="allows no access from"):
        world.register(state, world.admin.mover(), scope, world.site.private_here)
    with pytest.raises(ApiError, match="no private link scope"):
        world.register(state, world.admin.mover(), scope + "x", world.site.private_here)
    assert state.registration() is None


def test_the_agent_itself_sends_nothing_to_a_public_address(world: World, state: AgentState) -> None:
    scope = world.scope("careful", "Enabled", networks=(world.site.private_network,))
    with pytest.raises(Unreachable, match="public address"):
        world.register(state, world.admin.mover(), scope, world.site.public_here)
    mover = world.admin.mover()
    world.register(state, mover, scope, world.site.private_here)
    identity = state.identity()
    assert identity is not None
    lost = AgentProtocol(replace(identity, url=world.url(world.site.public_here)))
    with pytest.raises(Unreachable, match="nothing was sent"):
        world.site.inside(lambda: lost.heartbeat({}))
    lost.close()
    assert world.beat(state) > 0


def test_a_scope_that_is_used_stays(world: World, state: AgentState) -> None:
    scope = world.scope("used", networks=(world.site.private_network,))
    mover = world.admin.mover()
    world.register(state, mover, scope, world.site.private_here)
    with pytest.raises(ApiError) as caught:
        world.admin.api.delete(scope)
    assert caught.value.code == "PrivateLinkScopeInUse"
    world.admin.api.delete(f"{mover}/agents/{name_for(mover)}")
    world.admin.api.delete(scope)


def test_azures_sdk_makes_scopes_and_connections(world: World) -> None:
    served = world.admin.served
    clients = served.machines
    made = clients.private_link_scopes.create_or_update(
        GROUP,
        "sdk",
        HybridComputePrivateLinkScope(
            location="westeurope",
            tags={"a": "b"},
            properties=HybridComputePrivateLinkScopeProperties(public_network_access="Disabled"),
        ),
    )
    assert made.properties.public_network_access == "Disabled"
    assert made.properties.private_link_scope_id
    state = PrivateLinkServiceConnectionStateProperty(status="Approved", description="ok")
    connection = clients.private_endpoint_connections.begin_create_or_update(
        GROUP,
        "sdk",
        "office",
        PrivateEndpointConnection(
            properties=PrivateEndpointConnectionProperties(private_link_service_connection_state=state)
        ),
    ).result()
    assert connection.properties.provisioning_state == "Succeeded"
    assert connection.properties.group_ids == ["hybridcompute"]
    listed = list(clients.private_endpoint_connections.list_by_private_link_scope(GROUP, "sdk"))
    assert [one.name for one in listed] == ["office"]
    assert clients.private_endpoint_connections.get(GROUP, "sdk", "office").name == "office"
    found = clients.private_link_scopes.get(GROUP, "sdk")
    assert [one.name for one in found.properties.private_endpoint_connections] == ["office"]
    tagged = clients.private_link_scopes.update_tags(GROUP, "sdk", TagsResource(tags={"c": "d"}))
    assert tagged.tags == {"c": "d"}
    assert tagged.properties.private_link_scope_id == made.properties.private_link_scope_id
    assert "sdk" in {one.name for one in clients.private_link_scopes.list_by_resource_group(GROUP)}
    assert "sdk" in {one.name for one in clients.private_link_scopes.list()}
    offered = list(clients.private_link_resources.list_by_private_link_scope(GROUP, "sdk"))
    assert [one.properties.group_id for one in offered] == ["hybridcompute"]
    with pytest.raises(HttpResponseError) as refused:
        clients.private_link_scopes.create_or_update(
            GROUP,
            "sdk",
            HybridComputePrivateLinkScope(
                location="westeurope",
                properties=HybridComputePrivateLinkScopeProperties(public_network_access="Sometimes"),
            ),
        )
    assert code_of(refused.value) == "InvalidProperty"
    clients.private_endpoint_connections.begin_delete(GROUP, "sdk", "office").result()
    clients.private_link_scopes.begin_delete(GROUP, "sdk").result()
    assert "sdk" not in {one.name for one in clients.private_link_scopes.list()}


@pytest.mark.parametrize("network", ["8.8.8.0/24", "0.0.0.0/0", "::/0", "10.0.0.1/8", "office"])
def test_only_private_networks_are_private_endpoints(world: World, network: str) -> None:
    scope = world.scope("checked")
    with pytest.raises(ApiError) as caught:
        world.connect(scope, (network,))
    assert caught.value.status == 400
