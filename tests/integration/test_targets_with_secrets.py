"""Targets whose credentials lie in vaults: the how-to for buckets by its commands, vaults elsewhere, backups."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.keyvault.secrets import SecretClient

from tests.buckets import IDENTITY, SECRET, BucketServer
from tests.integration.agents import Administrator, daemon, name_for, until
from tests.integration.served import serving
from wherry.agent.state import AgentState
from wherry.cli import main
from wherry.control.broker import s3_calls
from wherry.control.broker.allowed import Allowed, VaultElsewhere
from wherry.control.broker.external_vault import ExternalVaults
from wherry.control.services.secret_uris import SecretUri
from wherry.model.errors import ApiError, RunError, Unavailable

HOW_TO = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "buckets.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
TAKEN = re.compile(r"(\w+)=\$\((.*)\)$")
WORD = re.compile(r"\$\{?(\w+)\}?")
QUICK = {"WHERRY_SETTING_REAP_SECONDS": "0.2", "WHERRY_SETTING_POLICY_RETRY_SECONDS": "0.4"}


@dataclass
class Here:
    """A served control plane, its administrator, and the vault at its own address once the how-to has made it."""

    admin: Administrator
    config: Path

    def run(self, *arguments: str, mover: str = "") -> str:
        """A command as the administrator; what it printed."""
        out = io.StringIO()
        told = {
            "WHERRY_CONFIG_DIR": str(self.config), "WHERRY_GROUP": "agents", "WHERRY_PROJECT": "p",
            "WHERRY_MOVER": mover.rpartition("/")[2],
        }  # fmt: skip
        with (
            mock.patch.dict(os.environ, {**os.environ, **self.admin.served.env, **told}, clear=True),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(out),
        ):
            assert main.call(list(arguments)) == 0, out.getvalue()
        return out.getvalue()

    def follow(self, known: dict[str, str], mover: str) -> dict[str, str]:
        """Each command of the how-to and what it printed; variables are put in, and taken, as a shell does."""
        printed: dict[str, str] = {}
        for line in "".join(BLOCK.findall(HOW_TO.read_text())).splitlines():
            taken = TAKEN.fullmatch(line)
            command = WORD.sub(lambda found: known[found[1]], taken[2] if taken else line)
            printed[line] = self.run(*shlex.split(command)[1:], mover=mover)
            if taken:
                known[taken[1]] = printed[line].strip()
        return printed

    @property
    def vault(self) -> str:
        return f"{self.admin.group}/providers/Microsoft.KeyVault/vaults/default"

    def client(self) -> SecretClient:
        served = self.admin.served
        return SecretClient(
            served.url, served.credential, verify_challenge_resource=False, connection_verify=served.ca_file,
            retry_total=0,
        )  # fmt: skip


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    folder = tmp_path_factory.mktemp("plane")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUICK.items():
            patch.setenv(name, value)
        with serving(folder / "state") as served:
            admin = Administrator(served, folder / "config")
            yield Here(admin, folder / "config")
            admin.close()


@pytest.fixture(scope="module")
def officer(here: Here) -> None:
    """The administrator may do everything with secrets of the vault at the control plane's own address."""
    here.run("vault", "create", "--name", "default")
    role = ("role", "assign", "--role", "Key Vault Secrets Officer", "--assignee", "admin")
    here.run(*role, "--scope", here.admin.group)


@pytest.fixture
def letters() -> str:
    return f"s-{uuid.uuid4().hex[:8]}"


def test_each_command_of_the_how_to_works_as_it_is_told(
    here: Here, bucket_server: BucketServer, tmp_path: Path
) -> None:
    mover, bucket = here.admin.mover(), bucket_server.bucket()
    here.admin.api.put(f"{mover}/projects/p", {"properties": {}})
    state, source = AgentState(tmp_path / "agent"), tmp_path / "photos"
    here.admin.register(state, mover)
    (source / "deep").mkdir(parents=True)
    for name in ("a", "deep/b"):
        (source / name).write_bytes(b"bytes of " + name.encode())
    for name, value in (("key-id.txt", IDENTITY), ("key.txt", SECRET)):
        (tmp_path / name).write_text(value)
    known = {
        "bucket_url": f"{bucket_server.scheme}://{bucket_server.host}/{bucket}", "folder": str(source),
        "agent": name_for(mover), "endpoint": f"{mover}/endpoints/archive",
    }  # fmt: skip

    with contextlib.chdir(tmp_path), daemon(state, allow_source=(source,)):
        printed = here.follow(known, mover)

    (told,) = (json.loads(said) for line, said in printed.items() if "endpoint show" in line)
    assert (told["driver"], told["proven"], told["notLimitedTo"]) == ("s3-user", True, [])
    (started,) = (said for line, said in printed.items() if "job start" in line)
    assert "is limited to: the bucket, the folder of the job, writing without deleting" in started
    assert SECRET not in "".join(printed.values())
    client = bucket_server.client
    there = {one["Key"]: one["Size"] for one in client.list_objects_v2(Bucket=bucket)["Contents"]}
    assert there["2026/photos/a"] == len(b"bytes of a")
    assert "2026/photos/deep/b" in there
    job = here.admin.api.get(f"{mover}/projects/p/jobDefinitions/to-s3")["properties"]
    run = job["latestJobRunResourceId"]
    ended = until(
        lambda: (now := here.admin.api.get(run)["properties"]["wherry"])["accessState"] == "Ended" and now
    )
    assert (job["latestJobRunStatus"], ended["credentialDriver"]) == ("Succeeded", "s3-user")
    assert here.admin.api.get(f"{mover}/endpoints/archive")["properties"]["credentialsSetBy"] == known["me"]
    iam = s3_calls.client("iam", f"{bucket_server.scheme}://{bucket_server.host}", "", IDENTITY, SECRET)
    users = [one["UserName"] for one in iam.list_users(PathPrefix="/wherry/")["Users"]]
    iam.close()
    assert ended["credential"].startswith("wherry-")
    assert ended["credential"] not in users


def test_attack_50_secrets_elsewhere_are_named_by_who_may_read_all_here(here: Here) -> None:
    mover = here.admin.mover()
    body = {"endpointType": "S3WithHMAC", "sourceUri": "https://s3.example.net/bucket"}

    def put(uri: str) -> ApiError:
        credentials = {"type": "AzureKeyVaultS3WithHMAC", "accessKeyUri": uri, "secretKeyUri": uri}
        with pytest.raises(ApiError) as refused:
            here.admin.api.put(f"{mover}/endpoints/e", {"properties": {**body, "credentials": credentials}})
        return refused.value

    assert put("https://vault.example.net/secrets/x").status == 403
    for malformed in ("https://me@vault.example.net/secrets/x", "http://vault.example.net/secrets/x", "x"):
        refusal = put(malformed)
        assert (refusal.status, refusal.target) == (400, "properties.credentials.accessKeyUri")


@pytest.mark.parametrize(
    ("properties", "target"),
    [
        ({"sourceUri": "https://s3.example.net"}, "sourceUri"),
        ({"sourceUri": "http://s3.example.net/b"}, "sourceUri"),
        ({"sourceUri": "https://169.254.169.254/b"}, "sourceUri"),
        ({"wherry": {"iamEndpoint": "http://10.0.0.1/"}}, "wherry.iamEndpoint"),
        ({"wherry": {"stsEndpoint": "https://[fd00:ec2::254]/"}}, "wherry.stsEndpoint"),
        ({"wherry": {"roleArn": "role"}}, "wherry.roleArn"),
        ({"wherry": {"credentialDriver": "blob-sas"}}, "wherry.credentialDriver"),
    ],
)
def test_a_bucket_lies_where_buckets_may_lie(here: Here, properties: dict[str, Any], target: str) -> None:
    body = {"endpointType": "S3WithHMAC", "sourceUri": "https://s3.example.net/bucket", **properties}
    with pytest.raises(ApiError) as refused:
        here.admin.api.put(f"{here.admin.mover()}/endpoints/e", {"properties": body})
    assert (refused.value.status, refused.value.target) == (400, f"properties.{target}")


def test_a_secret_of_a_vault_elsewhere(here: Here, officer: None, tmp_path: Path, letters: str) -> None:
    """This process is the control plane here, the served one is the vault elsewhere."""
    served = here.admin.served
    made = json.loads(here.run("service-principal", "create", "--name", letters))
    (tmp_path / "password").write_text(f"{made['secretText']}\n")
    with here.client() as client:
        client.set_secret(letters, "value of it")
    secret = SecretUri.parse(f"{served.url}/secrets/{letters}")
    place = VaultElsewhere(
        secret.host, f"{served.url}/{served.tenant}/oauth2/v2.0/token", made["appId"], tmp_path / "password",
        f"{served.url}/vault/.default", served.ca_file,
    )  # fmt: skip

    def ask(**changed: Any) -> str:
        known = {name: getattr(place, name) for name in VaultElsewhere.__dataclass_fields__}
        return ExternalVaults({secret.host: VaultElsewhere(**{**known, **changed})}).read(secret)

    with pytest.raises(RunError, match="was refused: 403"):
        ask()
    here.run(
        "role", "assign", "--role", "Key Vault Secrets User", "--assignee", letters, "--scope", here.vault
    )
    assert ask() == "value of it"
    with pytest.raises(RunError, match=r"a token for .* was refused: 40"):
        ask(client_id=str(uuid.uuid4()))
    with pytest.raises(Unavailable, match="cannot be reached"):
        ask(ca_file="")
    with pytest.raises(RunError, match="cannot be read"):
        ask(secret_file=tmp_path / "nothing")
    with pytest.raises(RunError, match="its operator has not named it"):
        ExternalVaults().read(secret)


def test_the_operator_names_vaults_and_servers(tmp_path: Path) -> None:
    broken: Any
    assert Allowed.load(None) == Allowed.load(tmp_path) == Allowed()
    vault = {"host": "KV.example.net", "tokenUrl": "https://l/t", "clientId": "c", "clientSecretFile": "/s"}
    told = {"vaults": [vault], "samba": [{"host": "NAS", "command": ["/bin/x", "y"]}]}
    (tmp_path / "brokers.json").write_text(json.dumps(told))
    found = Allowed.load(tmp_path)
    assert found.vaults["kv.example.net"].scope == "https://vault.azure.net/.default"
    assert found.samba == {"nas": ("/bin/x", "y")}
    for broken in (
        {"vaults": [vault | {"tokenUrl": "http://l/t"}]}, {"vaults": [{}]},
        {"samba": [{"host": "h", "command": ["x"]}]}, {"samba": [{"host": "h", "command": "/bin/sh -c x"}]}, [],
    ):  # fmt: skip
        (tmp_path / "brokers.json").write_text(json.dumps(broken))
        with pytest.raises(Exception, match="is malformed"):
            Allowed.load(tmp_path)


def test_a_secret_is_backed_up_and_restored(here: Here, officer: None, letters: str) -> None:
    with here.client() as client:
        first = client.set_secret(letters, "one", tags={"a": "b"})
        client.set_secret(letters, "two")
        text = client.backup_secret(letters)
        assert b"two" not in text
        with pytest.raises(HttpResponseError) as taken:
            client.restore_secret_backup(text)
        assert taken.value.status_code == 409
        client.begin_delete_secret(letters, _polling_interval=0).wait()
        with pytest.raises(HttpResponseError):
            client.restore_secret_backup(text)
        client.purge_deleted_secret(letters)
        with pytest.raises(ResourceNotFoundError):
            client.get_secret(letters)
        assert client.restore_secret_backup(text).name == letters
        assert client.get_secret(letters).value == "two"
        old = client.get_secret(letters, first.properties.version)
        assert (old.value, old.properties.tags) == ("one", {"a": "b"})
        for broken in (b"bm90aGluZw", text[:-8], b"A" * len(text)):
            with pytest.raises(HttpResponseError) as refused:
                client.restore_secret_backup(broken)
            assert refused.value.status_code == 400
