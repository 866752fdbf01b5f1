"""Endpoints that name secrets: who may name one, and that this is asked again when it is used."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.control.stage import GROUP, MOVER, Stage
from wherry.control import audit, deployment
from wherry.control.broker.sources import DeploymentSecrets
from wherry.control.deployment import Deployment
from wherry.control.services import (
    endpoints,
    resource_store,
    role_assignments,
    run_sides,
    vault_backup,
    vault_secrets,
)
from wherry.control.services.resources import Conditions
from wherry.control.services.types.registry import target
from wherry.control.services.vault_secrets import Wanted
from wherry.model.errors import ApiError, RunError
from wherry.trust.authority import create_ca, issue_server
from wherry.trust.roles import OWNER, VAULT_SECRETS_USER

VAULTS = f"{GROUP}/providers/Microsoft.KeyVault/vaults"
ENDPOINT = f"{MOVER}/endpoints/e"
HOST = "vault.example"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    opened = deployment.create_or_open(tmp_path_factory.mktemp("plane") / "state")
    with opened.database.transaction() as conn:
        stage = Stage(conn, time.time())
        for name in ("keep", "other"):
            stage.put(f"{VAULTS}/{name}", location="x")
            for secret in ("id", "key"):
                place = vault_secrets.load(conn, f"{VAULTS}/{name}", f"https://{name}.{HOST}")
                told = Wanted(value=f"{secret} of {name}")
                vault_secrets.put(conn, opened.master, place, secret, told, "test", stage.now)
    yield opened
    opened.close()


def vault_of(host: str) -> str | None:
    name, _, domain = host.partition(".")
    return name if domain == HOST else None


def bucket(*secrets: str, **more: Any) -> dict[str, Any]:
    uris = dict(zip(("accessKeyUri", "secretKeyUri"), secrets, strict=False))
    told = {"endpointType": "S3WithHMAC", "sourceUri": "https://s3.example.net/bucket/top/", **more}
    return {"properties": told | {"credentials": {"type": "AzureKeyVaultS3WithHMAC", **uris}}}


def put(stage: Stage, oid: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = endpoints.put(stage.conn, stage.as_user(oid), target(ENDPOINT), body, Conditions(), vault_of)
    return dict(answer.body["properties"])


def test_attack_50_whoever_names_a_secret_must_be_allowed_to_read_it(made: Deployment) -> None:
    mine = [f"https://keep.{HOST}/secrets/{name}" for name in ("id", "key")]
    with made.database.transaction() as conn:
        stage = Stage(conn, time.time())
        reader, owner = stage.user(OWNER.guid), stage.user(OWNER.guid)
        role = stage.assign(VAULT_SECRETS_USER.guid, reader, f"{VAULTS}/keep", "User")
        for oid, uris in ((owner, mine), (reader, [mine[0], mine[1].replace("keep", "other")])):
            with pytest.raises(ApiError) as refused, conn.begin_nested():
                put(stage, oid, bucket(*uris))
            assert refused.value.status == 403
        assert put(stage, reader, bucket(*mine))["credentialsSetBy"] == reader
        # Whoever sends what was named elsewhere must be allowed to read it, too.
        with pytest.raises(ApiError) as refused, conn.begin_nested():
            put(stage, owner, bucket(*mine, wherry={"iamEndpoint": "https://evil.example"}))
        assert refused.value.status == 403
        assert put(stage, owner, bucket(*mine, description="told anew"))["credentialsSetBy"] == reader
        with pytest.raises(ApiError, match="There is no vault 'nothing'"), conn.begin_nested():
            put(stage, reader, bucket(mine[0].replace("keep", "nothing")))
        endpoint = resource_store.find(conn, ENDPOINT)
        assert endpoint is not None
        opening = run_sides.opening_of(conn, endpoint)
    assert opening is not None
    assert (opening.driver, opening.place) == ("s3-user", "https://s3.example.net/bucket")
    assert opening.told["iamEndpoint"] == "https://s3.example.net"

    secrets = DeploymentSecrets(made.database, made.master, time.time, vault_of)
    assert secrets.named(mine[1], opening.told["author"]) == "key of keep"
    with made.database.transaction() as conn:
        used = [one for one in audit.records(conn, limit=1000) if one["action"] == "wherry/secret-used"]
        assert [one["actor"] for one in used] == [reader]
        role_assignments.remove(conn, role)
    with pytest.raises(RunError, match="may not read it any more"):
        secrets.named(mine[1], opening.told["author"])
    for gone in (f"https://keep.{HOST}/secrets/nothing", f"https://nothing.{HOST}/secrets/id"):
        with pytest.raises(RunError):
            secrets.named(gone, reader)
    with pytest.raises(RunError, match="its operator has not named it"):
        secrets.named("https://else.example/secrets/id", reader)


def test_an_endpoint_tells_what_access_to_it_can_be_limited_to(made: Deployment) -> None:
    share = {"endpointType": "SmbMount", "host": "nas1", "shareName": "data"}
    role = {"credentialDriver": "s3-session", "roleArn": "arn:aws:iam::123456789012:role/mover"}
    with made.database.transaction() as conn:
        stage = Stage(conn, time.time())
        found: dict[str, tuple[list[str], bool, str]] = {}
        for properties in (
            share,
            share | {"wherry": {"credentialDriver": "smb-user"}},
            {"endpointType": "S3WithHMAC", "sourceUri": "https://s3.example.net/bucket", "wherry": role},
        ):
            name = f"{MOVER}/endpoints/e{len(found)}"
            answer = endpoints.put(
                conn, stage.caller, target(name), {"properties": properties}, Conditions(), vault_of
            )
            access = answer.body["properties"]["wherry"]["access"]
            found[access["driver"]] = (access["limitedTo"], access["proven"], access["warning"])
    assert found["smb-secret"][0] == []
    assert found["smb-user"][0][0] == "the share"
    assert [one[1] for one in found.values()] == [True, True, False]
    assert "It is not limited to this run." in found["smb-secret"][2]
    assert "unproven here" in found["s3-session"][2]


def test_the_authority_of_a_bucket_goes_with_its_runs(made: Deployment) -> None:
    ca = create_ca("own", time.time())
    text = ca.certificate.decode()
    leaf = issue_server(ca, ["s3.example.net"], time.time()).certificate.decode().split("-----END", 1)[0]
    role = {"credentialDriver": "s3-session", "roleArn": "arn:aws:iam::123456789012:role/mover"}

    def told(certificate: str) -> str:
        body: dict[str, Any] = {"endpointType": "S3WithHMAC", "sourceUri": "https://s3.example.net/bucket"}
        body |= {"wherry": role | {"caCertificate": certificate}}
        with made.database.transaction() as conn:
            stage = Stage(conn, time.time())
            place = target(f"{MOVER}/endpoints/own")
            endpoints.put(conn, stage.caller, place, {"properties": body}, Conditions(), vault_of)
            endpoint = resource_store.find(conn, f"{MOVER}/endpoints/own")
            opening = run_sides.opening_of(conn, endpoint) if endpoint else None
        assert opening is not None
        return str(opening.told["ca"])

    assert told(text) == text
    assert told("") == ""
    leaf += "-----END CERTIFICATE-----\n"
    for refused in ("no certificate", text[:200], text + ca.key.decode(), leaf):
        with pytest.raises(ApiError) as answer:
            told(refused)
        assert (answer.value.status, answer.value.target) == (400, "properties.wherry.caCertificate")
        assert "PRIVATE KEY-----" not in answer.value.message


def test_attack_50_a_backup_opens_in_another_vault_for_who_may_read_it_where_it_was(made: Deployment) -> None:
    with made.database.transaction() as conn:
        stage = Stage(conn, time.time())
        somebody = stage.user(OWNER.guid)
        keep = vault_secrets.load(conn, f"{VAULTS}/keep", f"https://keep.{HOST}")
        stage.put(f"{VAULTS}/third", location="x")
        third = vault_secrets.load(conn, f"{VAULTS}/third", f"https://third.{HOST}")
        text = vault_backup.backup(conn, keep, made.master, "key")["value"]
        caller = stage.as_user(somebody)
        with pytest.raises(ApiError) as refused, conn.begin_nested():
            vault_backup.restore(conn, third, made.master, caller, text)
        assert refused.value.status == 403
        stage.assign(VAULT_SECRETS_USER.guid, somebody, f"{VAULTS}/keep/secrets/key", "User")
        vault_backup.restore(conn, third, made.master, caller, text)
        assert vault_secrets.get(conn, made.master, third, "KEY", "")["value"] == "key of keep"
        with pytest.raises(ApiError) as refused:
            vault_backup.restore(conn, third, type(made.master).generate(), caller, text)
        assert refused.value.status == 400
