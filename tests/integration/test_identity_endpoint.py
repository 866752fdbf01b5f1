"""The machine's identity endpoint: Azure's own clients get tokens by it, others get nothing."""

from __future__ import annotations

import http.client
import json
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msal  # type: ignore[import-untyped]
import pytest
import requests
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.identity import ManagedIdentityCredential
from azure.keyvault.secrets import SecretClient

from tests.integration.agents import LOCATION, Administrator, daemon, until
from tests.integration.served import Served, serving
from wherry.agent import identity_endpoint
from wherry.agent.challenges import LIFETIME, MOST, Challenges
from wherry.agent.identity_endpoint import PATH, IdentityEndpoint, IdentityOptions
from wherry.agent.state import AgentState
from wherry.control import audit
from wherry.control.db.engine import Database
from wherry.model.errors import ApiError, UsageError
from wherry.trust.roles import VAULT_SECRETS_USER

VAULT = "https://vault.azure.net"
QUERY = f"?api-version=2020-06-01&resource={VAULT}"
METADATA = {"Metadata": "true"}


@dataclass
class Machine:
    """An agent at work with its identity endpoint."""

    served: Served
    admin: Administrator
    state: AgentState
    principal: str
    tokens: Path


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("machine")
    tokens = folder / "tokens"
    with serving(folder / "state") as served:
        admin = Administrator(served, folder / "config")
        state = AgentState(folder / "agent")
        admin.register(state, admin.mover())
        known = state.registration()
        assert known is not None
        options = IdentityOptions(0, folder=tokens)
        with daemon(state, identity=options, poll_seconds=0.2), pytest.MonkeyPatch.context() as patch:
            found = until(lambda: environment_of(state))
            for name, value in found.items():
                patch.setenv(name, value)
            # The one folder that the clients look in is fixed in them and belongs to the whole machine.
            patch.setitem(
                msal.managed_identity._supported_arc_platforms_and_their_prefixes, "linux", str(tokens)
            )
            yield Machine(served, admin, state, known.principal_id, tokens)
        admin.close()


def environment_of(state: AgentState) -> dict[str, str]:
    try:
        return identity_endpoint.environment(state.directory)
    except UsageError:
        return {}


def trail(served: Served, action: str) -> list[dict[str, Any]]:
    database = Database(f"sqlite:///{served.state / 'wherry.db'}")
    with database.snapshot() as conn:
        found = [one for one in audit.records(conn, limit=100_000) if one["action"] == action]
    database.close()
    return found


def test_azures_own_clients_get_tokens_that_open_what_the_identity_may(machine):
    group = f"{machine.admin.group}/providers/Microsoft.KeyVault/vaults/default"
    machine.admin.api.put(group, LOCATION, api_version="2023-07-01")
    credential = ManagedIdentityCredential()
    options: dict[str, Any] = {
        "connection_verify": machine.served.ca_file, "verify_challenge_resource": False, "retry_total": 0
    }  # fmt: skip
    token = credential.get_token(f"{VAULT}/.default")
    assert 500 < token.expires_on - time.time() <= 600
    headers = {"Authorization": f"Bearer {token.token}"}
    url = f"{machine.served.url}/secrets/password/?api-version=7.6"
    refused = requests.get(url, headers=headers, verify=machine.served.ca_file, timeout=30)
    assert refused.status_code == 403
    assignment = (
        f"{group}/providers/Microsoft.Authorization/roleAssignments/11111111-1111-4111-8111-111111111111"
    )
    role = f"/providers/Microsoft.Authorization/roleDefinitions/{VAULT_SECRETS_USER.guid}"
    machine.admin.api.put(
        assignment, {"properties": {"roleDefinitionId": role, "principalId": machine.principal}}
    )
    allowed = requests.get(url, headers=headers, verify=machine.served.ca_file, timeout=30)
    assert (allowed.status_code, allowed.json()["error"]["code"]) == (404, "SecretNotFound")
    for path in (f"/subscriptions/{machine.served.subscription}", "/agent/v1/heartbeat"):
        answer = requests.get(
            f"{machine.served.url}{path}?api-version=2022-12-01", headers=headers,
            verify=machine.served.ca_file, timeout=30,
        )  # fmt: skip
        assert answer.status_code in (401, 405)
    with SecretClient(machine.served.url, credential, **options) as client, pytest.raises(HttpResponseError):
        client.get_secret("password")
    (record, *_) = trail(machine.served, "wherry/identity-token")
    assert (record["actor"], record["details"]["audience"]) == (machine.principal, VAULT)
    assert list(machine.tokens.iterdir()) == []


def test_msal_gets_one_too_and_not_for_the_resource_api(machine):
    with requests.Session() as session:
        client = msal.ManagedIdentityClient(msal.SystemAssignedManagedIdentity(), http_client=session)
        found = client.acquire_token_for_client(resource=VAULT)
        assert found["token_type"] == "Bearer"
        refused = client.acquire_token_for_client(resource="https://management.azure.com")
    assert refused["error"] == "invalid_request"
    with pytest.raises(ClientAuthenticationError):
        ManagedIdentityCredential().get_token("https://management.azure.com/.default")


def test_attack_38_the_control_plane_gives_tokens_for_data_planes_only(machine):
    from wherry.client.agent_protocol import AgentProtocol

    identity = machine.state.identity()
    assert identity is not None
    protocol = AgentProtocol(identity)
    for resource in (machine.served.url, "https://management.azure.com", f"{machine.served.url}/agent", "x"):
        with pytest.raises(ApiError) as refused:
            protocol.identity_token(resource)
        assert refused.value.code == "invalid_resource"
    protocol.close()


@pytest.mark.parametrize(
    "resource",
    ["https://management.azure.com", "https://management.azure.com/", "https://vault.azure.net.evil.example", "", "x",
     f"{VAULT}@evil.example", f"{VAULT}%00", f"{VAULT.upper()}/x"],
)  # fmt: skip
def test_attack_38_a_resource_that_is_not_allowed_gets_no_challenge(tmp_path, endpoint, resource):
    line = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=20)
    line.request("GET", f"{PATH}?api-version=2020-06-01&resource={resource}", headers=METADATA)
    answer = line.getresponse()
    told = json.loads(answer.read())
    line.close()

    assert (answer.status, told["error"]) == (400, "invalid_resource")
    assert "WWW-Authenticate" not in answer.headers
    assert not list((tmp_path / "tokens").iterdir())


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[IdentityEndpoint]:
    def issue(resource: str) -> dict[str, Any]:
        return {"access_token": f"token for {resource}", "expires_in": "600"}

    made = IdentityEndpoint(IdentityOptions(0, folder=tmp_path / "tokens"), issue, tmp_path)
    yield made
    made.close()


def ask(endpoint: IdentityEndpoint, path: str = PATH + QUERY, **headers: str) -> tuple[int, str]:
    """Status, and the challenge if there is one."""
    line = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=20)
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    line.request("GET", path, headers=told)
    answer = line.getresponse()
    answer.read()
    line.close()
    return answer.status, answer.headers.get("WWW-Authenticate", "").removeprefix("Basic realm=")


@pytest.mark.parametrize(
    ("status", "path", "headers"),
    [
        (400, PATH + QUERY, {}),
        (400, PATH + QUERY, {"Metadata": "false"}),
        (403, PATH + QUERY, {"Metadata": "true", "X_Forwarded_For": "10.0.0.1"}),
        (403, PATH + QUERY, {"Metadata": "true", "Origin": "https://evil.example"}),
        (403, PATH + QUERY, {"Metadata": "true", "Host": "evil.example"}),
        (403, PATH + QUERY, {"Metadata": "true", "Host": "localhost"}),
        (404, "/metadata/instance" + QUERY, {"Metadata": "true"}),
        (400, f"{PATH}?resource={VAULT}", {"Metadata": "true"}),
        (400, f"{PATH}?api-version=2020-06-01", {"Metadata": "true"}),
        (400, f"{PATH}?api-version=2020-06-01&resource=https://management.azure.com", {"Metadata": "true"}),
        (400, f"{PATH}{QUERY}&client_id=x", {"Metadata": "true"}),
    ],
)  # fmt: skip
def test_attack_35_what_comes_from_elsewhere_leaves_no_file(endpoint, status, path, headers):
    assert ask(endpoint, path, **headers)[0] == status
    assert list(endpoint.challenges.folder.iterdir()) == []


def test_attack_36_a_secret_is_good_once_and_for_who_can_read_the_file(endpoint):
    status, place = ask(endpoint, **METADATA)
    assert (status, Path(place).parent) == (401, endpoint.challenges.folder)
    assert stat.S_IMODE(Path(place).stat().st_mode) == 0o400
    assert stat.S_IMODE(Path(place).parent.stat().st_mode) == 0o700
    secret = Path(place).read_text()
    begun = time.monotonic()
    assert ask(endpoint, **METADATA, Authorization="Basic guess") == (401, "")
    assert ask(endpoint, **METADATA, Authorization="Basic guess") == (401, "")
    assert time.monotonic() - begun > 0.25
    assert ask(endpoint, **METADATA, Authorization=f"Basic {secret}")[0] == 200
    assert not Path(place).exists()
    assert ask(endpoint, **METADATA, Authorization=f"Basic {secret}")[0] == 401


def test_attack_36_files_that_others_planted_are_not_followed(tmp_path, endpoint):
    writable = tmp_path / "writable"
    writable.mkdir()
    writable.chmod(0o777)
    linked = tmp_path / "linked"
    linked.symlink_to(endpoint.challenges.folder)
    for folder in (writable, linked):
        with pytest.raises(UsageError):
            Challenges(folder, None, time.monotonic)
    with pytest.raises(UsageError, match="no group"):
        Challenges(tmp_path / "other", "no-such-group-here", time.monotonic)


def test_attack_37_challenges_are_few_and_short_lived(tmp_path):
    now = 0.0
    challenges = Challenges(tmp_path / "tokens", None, lambda: now)
    first = challenges.make()
    secret = first.read_text()
    for _ in range(200):
        last = challenges.make()
    assert len(list(challenges.folder.iterdir())) == MOST
    assert not first.exists()
    assert not challenges.redeem(secret)
    secret, now = last.read_text(), LIFETIME
    assert not challenges.redeem(secret)
    assert list(challenges.folder.iterdir()) == []
    left = challenges.make()
    again = Challenges(tmp_path / "tokens", None, lambda: now)
    assert not left.exists()
    again.close()
    challenges.close()


def test_parallel_redeems_of_one_secret_give_one_token(endpoint):
    _, place = ask(endpoint, **METADATA)
    secret, found = Path(place).read_text(), []
    threads = [
        threading.Thread(
            target=lambda: found.append(ask(endpoint, **METADATA, Authorization=f"Basic {secret}")[0])
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [200, 401, 401]
