"""Vaults as Azure's own `SecretClient` uses them, unmodified, with its check of the challenge left on."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import socket
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.keyvault.secrets import SecretClient

from tests.integration.served import Served, code_of, serving
from wherry.cli import main
from wherry.client.device_code import DeviceCode
from wherry.client.login import SignIn
from wherry.client.profile import Profile
from wherry.control import audit, breakglass
from wherry.control.db.engine import Database
from wherry.control.services import role_assignments
from wherry.trust.authority import client_context
from wherry.trust.roles import READER, VAULT_READER, VAULT_SECRETS_OFFICER, VAULT_SECRETS_USER

GROUP = "/subscriptions/{}/resourceGroups/vaults/providers/Microsoft.KeyVault/vaults"
CANARY = "canary-4711-of-the-vault"


@dataclass
class Vaults:
    """A control plane that goes by a name, with a vault below it."""

    served: Served
    me: str
    vault_id: str
    url: str

    def client(self, **options: Any) -> Any:
        told = {"connection_verify": self.served.ca_file, "retry_total": 0, **options}
        return SecretClient(told.pop("vault_url", self.url), self.served.credential, **told)

    def database(self) -> Database:
        return Database(f"sqlite:///{self.served.state / 'wherry.db'}")

    def assign(self, role: str, scope: str) -> str:
        database = self.database()
        with database.transaction() as conn:
            made = role_assignments.create(
                conn, role=role, principal_id=self.me, principal_type="User", scope=scope, by=self.me, now=1.0
            )
        database.close()
        return made

    def unassign(self, name: str) -> None:
        database = self.database()
        with database.transaction() as conn:
            role_assignments.remove(conn, name)
        database.close()

    def trail(self, action: str) -> list[dict[str, Any]]:
        database = self.database()
        with database.snapshot() as conn:
            found = [one for one in audit.records(conn, limit=100_000) if one["action"] == action]
        database.close()
        return found


def arm(served: Served, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
    """PUT a resource, or DELETE it without a body."""
    with httpx.Client(base_url=served.url, verify=client_context(served.ca_file)) as client:
        return client.request(
            "DELETE" if body is None else "PUT", f"{path}?api-version=2023-07-01", json=body,
            headers={"Authorization": f"Bearer {served.token()}"},
        )  # fmt: skip


@pytest.fixture(scope="module")
def vaults(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vaults]:
    real = socket.getaddrinfo

    def below_localhost(host: Any, *rest: Any, **more: Any) -> Any:
        return real("127.0.0.1" if str(host).endswith(".localhost") else host, *rest, **more)

    with (
        pytest.MonkeyPatch.context() as patch,
        serving(tmp_path_factory.mktemp("plane") / "state", "localhost:0") as served,
    ):
        patch.setattr(socket, "getaddrinfo", below_localhost)
        arm(served, f"/subscriptions/{served.subscription}/resourceGroups/vaults", {"location": "local"})
        for name in ("default", "keep"):
            told = {"location": "local", "properties": {"softDeleteRetentionInDays": 7}}
            made = arm(served, f"{GROUP.format(served.subscription)}/{name}", told).json()
        with served.authorization as client:
            me = next(iter(client.role_assignments.list_for_subscription())).principal_id
        yield Vaults(served, str(me), made["id"], made["properties"]["vaultUri"])


@pytest.fixture
def officer(vaults: Vaults) -> Iterator[None]:
    made = vaults.assign(VAULT_SECRETS_OFFICER.guid, vaults.vault_id)
    yield
    vaults.unassign(made)


@pytest.fixture
def name() -> str:
    return f"s-{uuid.uuid4().hex[:8]}"


def test_a_secret_has_versions_and_what_is_said_of_them(vaults, officer, name):
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
    with vaults.client() as client:
        first = client.set_secret(
            name,
            "one",
            content_type="text/plain",
            tags={"a": "b"},
            expires_on=ends,
            not_before=ends - timedelta(5),
        )
        second = client.set_secret(name, "two \u2603")
        assert client.get_secret(name).value == "two \u2603"
        old = client.get_secret(name, first.properties.version)
        assert (old.value, old.properties.content_type, old.properties.tags) == (
            "one",
            "text/plain",
            {"a": "b"},
        )
        assert (old.properties.expires_on, old.properties.recoverable_days) == (ends, 7)
        assert old.properties.recovery_level == "CustomizedRecoverable+Purgeable"
        assert old.properties.vault_url == vaults.url.rstrip("/")
        changed = client.update_secret_properties(name, second.properties.version, enabled=False, tags={})
        assert (changed.enabled, changed.tags) == (False, {})
        with pytest.raises(HttpResponseError) as refused:
            client.get_secret(name)
        assert (refused.value.status_code, code_of(refused.value)) == (403, "Forbidden")
        versions = [one.version for one in client.list_properties_of_secret_versions(name, max_page_size=1)]
        assert versions == [first.properties.version, second.properties.version]
        listed = {one.name: one for one in client.list_properties_of_secrets(max_page_size=1)}
        assert listed[name].enabled is False
        with pytest.raises(ResourceNotFoundError):
            client.get_secret(name, "0" * 32)
        with pytest.raises(ResourceNotFoundError):
            client.get_secret("nothing-of-this-name")


def test_what_is_deleted_comes_back_until_it_is_purged(vaults, officer, name):
    with vaults.client() as client:
        client.set_secret(name, "one")
        gone = client.begin_delete_secret(name, _polling_interval=0).result()
        assert gone.scheduled_purge_date - gone.deleted_date == timedelta(days=7)
        with pytest.raises(ResourceNotFoundError):
            client.get_secret(name)
        with pytest.raises(ResourceExistsError):
            client.set_secret(name, "two")
        assert name in [one.name for one in client.list_deleted_secrets()]
        client.begin_recover_deleted_secret(name, _polling_interval=0).wait()
        assert client.get_secret(name).value == "one"
        client.begin_delete_secret(name, _polling_interval=0).wait()
        client.purge_deleted_secret(name)
        with pytest.raises(ResourceNotFoundError):
            client.get_deleted_secret(name)
        assert client.set_secret(name, "anew").value == "anew"


def test_the_address_of_the_control_plane_is_the_vault_called_default(vaults, name):
    made = vaults.assign(VAULT_SECRETS_OFFICER.guid, vaults.vault_id.replace("/keep", "/default"))
    with vaults.client(vault_url=vaults.served.url, verify_challenge_resource=False) as client:
        client.set_secret(name, "here")
        assert client.get_secret(name).id.startswith(f"{vaults.served.url}/secrets/{name}/")
    vaults.unassign(made)
    with vaults.client() as client, pytest.raises(HttpResponseError) as refused:
        client.get_secret(name)
    assert refused.value.status_code == 403


def test_an_owner_reads_nothing_and_a_role_for_one_secret_opens_that_one(vaults, officer, name):
    with vaults.client() as client:
        for one in (name, f"{name}-2"):
            client.set_secret(one, CANARY)
    (mine,) = (one for one in vaults.trail("Microsoft.KeyVault/vaults/secrets/setSecret/action")
               if one["scope"].endswith(f"/{name}"))  # fmt: skip
    vaults.unassign(mine["assignment"])
    with vaults.client() as client:
        with pytest.raises(HttpResponseError) as refused:
            client.get_secret(name)
        assert (refused.value.status_code, code_of(refused.value)) == (403, "AuthorizationFailed")
        roles = [
            vaults.assign(VAULT_SECRETS_USER.guid, f"{vaults.vault_id}/secrets/{name}"),
            vaults.assign(VAULT_READER.guid, vaults.vault_id),
            vaults.assign(READER.guid, vaults.vault_id),
        ]
        assert client.get_secret(name).value == CANARY
        assert len(list(client.list_properties_of_secrets())) >= 2
        for refused_call in (
            lambda: client.get_secret(f"{name}-2"),
            lambda: client.set_secret(name, "x"),
            lambda: client.begin_delete_secret(name),
        ):
            with pytest.raises(HttpResponseError) as refused:
                refused_call()
            assert refused.value.status_code == 403
    for one in roles:
        vaults.unassign(one)
    read = [one for one in vaults.trail("Microsoft.KeyVault/vaults/secrets/getSecret/action")
            if f"/secrets/{name}" in one.get("scope", "")]  # fmt: skip
    assert [one["result"] for one in read] == ["denied", "allowed", "denied"]
    assert read[1]["actor"] == vaults.me
    left = [vaults.served.state.with_suffix(".log"), *vaults.served.state.glob("wherry.db*")]
    assert not [path for path in left if CANARY.encode() in path.read_bytes()]


def test_a_role_may_be_assigned_at_a_secret_by_the_api(vaults, name):
    with vaults.served.authorization as client:
        scope = f"{vaults.vault_id}/secrets/{name}"
        role = f"/providers/Microsoft.Authorization/roleDefinitions/{VAULT_SECRETS_USER.guid}"
        told = {"role_definition_id": role, "principal_id": vaults.me, "principal_type": "User"}
        made = client.role_assignments.create(scope, str(uuid.uuid4()), told)
        assert made.scope == scope
        client.role_assignments.delete(scope, made.name)


def test_nobody_and_tokens_for_something_else_are_told_where_to_go(vaults):
    host = vaults.url.partition("//")[2].rstrip("/")
    domain = host.partition(".")[2]
    context = client_context(vaults.served.ca_file)
    with httpx.Client(base_url=vaults.served.url, verify=context, headers={"Host": host}) as client:
        for headers in ({}, {"Authorization": f"Bearer {vaults.served.token()}"}):
            answer = client.get("/secrets/x/?api-version=7.6", headers=headers)
            assert answer.status_code == 401
            challenge = answer.headers["WWW-Authenticate"]
            assert (
                f'authorization="https://{domain.removeprefix("vault.")}/{vaults.served.tenant}"' in challenge
            )
            assert f'resource="https://{domain}"' in challenge
        for other in (f"nothing.{domain}", f"a.b.{domain}", "evil.example", f"{host}.evil.example"):
            token = vaults.served.credential.get_token(f"https://{domain}/.default").token
            told = {"Host": other, "Authorization": f"Bearer {token}"}
            answer = client.get("/secrets?api-version=7.6", headers=told)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "VaultNotFound")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/secrets", None),
        ("GET", "/secrets?api-version=1", None),
        ("GET", "/secrets?api-version=7.6&maxresults=26", None),
        ("GET", "/secrets?api-version=7.6&$skiptoken=x", None),
        ("GET", "/secrets/a_b/?api-version=7.6", None),
        ("PUT", "/secrets/a?api-version=7.6", {}),
        ("PUT", "/secrets/a?api-version=7.6", {"value": "x" * (25 * 1024 + 1)}),
        ("PUT", "/secrets/a?api-version=7.6", {"value": "x", "tags": {"a": 1}}),
        ("PUT", "/secrets/a?api-version=7.6", {"value": "x", "attributes": {"exp": "soon"}}),
        ("PUT", "/secrets/a?api-version=7.6", {"value": "x", "attributes": {"exp": 5, "nbf": 5}}),
        ("PUT", "/secrets/a?api-version=7.6", {"value": "x", "attributes": {"enabled": 1}}),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(vaults, officer, method, path, body):
    host = vaults.url.partition("//")[2].rstrip("/")
    token = vaults.served.credential.get_token("https://vault.azure.net/.default").token
    context = client_context(vaults.served.ca_file)
    headers = {"Host": host, "Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=vaults.served.url, verify=context, headers=headers) as client:
        assert client.request(method, path, json=body).status_code == 400


def test_a_vault_with_secrets_stays_and_its_name_is_its_own(vaults, officer, name):
    with vaults.client() as client:
        client.set_secret(name, "x")
    group = vaults.vault_id.partition("/providers/")[0]
    for path in (group, vaults.vault_id):
        answer = arm(vaults.served, path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "VaultNotEmpty")
    arm(vaults.served, f"{group}-2", {"location": "local"})
    answer = arm(
        vaults.served,
        vaults.vault_id.replace("/vaults/providers", "/vaults-2/providers"),
        {"location": "local"},
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "ResourceExists")


def test_a_refused_credential_is_told_so(vaults):
    class Other:
        def get_token(self, *scopes: str, **options: Any) -> Any:
            raise ClientAuthenticationError(f"asked for {scopes[0]}")

    with (
        SecretClient(vaults.url, Other(), connection_verify=vaults.served.ca_file) as client,
        pytest.raises(ClientAuthenticationError, match=r"asked for https://vault\.localhost:\d+/\.default"),
    ):
        client.get_secret("x")


def run(vaults: Vaults, config: Path, *arguments: str, code: int = 0, stdin: str = "") -> str:
    """A command as the administrator; what it printed."""
    out = io.StringIO()
    told = {**os.environ, **vaults.served.env, "WHERRY_CONFIG_DIR": str(config), "WHERRY_GROUP": "vaults"}
    with (
        mock.patch.dict(os.environ, told, clear=True),
        mock.patch.object(sys, "stdin", io.StringIO(stdin)),
        contextlib.redirect_stdout(out),
    ):
        assert main.call(list(arguments)) == code
    return out.getvalue()


HOW_TO = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "secrets.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
TAKEN = re.compile(r"(\w+)=\$\((.*)\)$")


def signed_in(vaults: Vaults, config: Path) -> None:
    """Sign the administrator in by our own client."""

    def approve(code: DeviceCode) -> None:
        breakglass.approve(vaults.served.state, code.user_code)

    SignIn(Profile.from_environment(vaults.served.env), config).sign_in(approve)


def test_each_command_of_the_how_to_works_as_it_is_told(vaults, tmp_path):
    signed_in(vaults, tmp_path)
    (tmp_path / "nas-password.txt").write_text("canary-of-the-nas\n")
    known: dict[str, str] = {}
    printed: dict[str, str] = {}
    with contextlib.chdir(tmp_path):
        for line in "".join(BLOCK.findall(HOW_TO.read_text())).splitlines():
            taken = TAKEN.fullmatch(line)
            command = re.sub(r"\$(\w+)", lambda found: known[found[1]], taken[2] if taken else line)
            printed[line] = run(vaults, tmp_path, *shlex.split(command)[1:])
            if taken:
                known[taken[1]] = printed[line].strip()
    revealed = [line for line, said in printed.items() if "canary-of-the-nas" in said]
    assert len(revealed) == 1
    assert "--reveal" in revealed[0]
    (why,) = (json.loads(said) for line, said in printed.items() if "access why" in line)
    assert (why["allowed"], why["reason"]) == (True, "role Key Vault Secrets Officer")


def test_the_command_line_never_takes_or_repeats_a_value(vaults, officer, name, tmp_path):
    signed_in(vaults, tmp_path)
    secret = ("--vault", "keep", "--name", name)
    said = run(
        vaults, tmp_path, "vault", "secret", "set", *secret, "--file", "-", "--expires", "2099-01-31",
        stdin=f"{CANARY}-cli\n",
    )  # fmt: skip
    said += run(vaults, tmp_path, "vault", "secret", "show", *secret)
    assert name in said
    assert CANARY not in said
    run(vaults, tmp_path, "vault", "secret", "delete", *secret, "--yes")
    assert name in run(vaults, tmp_path, "vault", "secret", "list", "--vault", "keep", "--deleted")
    run(vaults, tmp_path, "vault", "secret", "purge", *secret, "--yes")
    run(vaults, tmp_path, "vault", "secret", "show", *secret, code=3)
    made = json.loads(run(vaults, tmp_path, "vault", "create", "--name", f"v{name}"[:20]))
    assert made["properties"]["vaultUri"] in run(vaults, tmp_path, "vault", "list")
    run(vaults, tmp_path, "vault", "delete", "--name", made["name"], "--yes")
    asked = ("--principal", "admin", "--scope", vaults.vault_id, "--action")
    denied = json.loads(
        run(vaults, tmp_path, "access", "why", *asked, "Microsoft.KeyVault/vaults/x", "--data", code=1)
    )
    assert denied["allowed"] is False
    (holder,) = json.loads(run(vaults, tmp_path, "access", "who", "--target", vaults.vault_id))
    assert (holder["principal"], holder["may"]) == ("admin", ["read", "write", "delete"])
