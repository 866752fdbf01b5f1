"""Programs sign in with Azure's own clients, unmodified, and have the rights that roles give them."""

from __future__ import annotations

import base64
import ssl
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.identity import CertificateCredential, ClientSecretCredential
from azure.mgmt.storagemover import StorageMoverMgmtClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from msal import ConfidentialClientApplication  # type: ignore[import-untyped]

from tests.integration.served import Served, code_of, serving
from wherry.trust.roles import CONTRIBUTOR, METRICS_READER, OWNER, READER, Role

ROLES = "/providers/Microsoft.Authorization/roleAssignments"
GRAPH = "/graph/v1.0"


@dataclass
class World:
    """A group with a mover in it, and the administrator of everything."""

    served: Served
    admin: httpx.Client
    group: str

    def program(self, name: str) -> dict[str, Any]:
        """An application with its service principal."""
        made = self.graph("POST", "/applications", {"displayName": name})
        return self.graph("POST", "/servicePrincipals", {"appId": made["appId"]})

    def secret(self, program: dict[str, Any]) -> dict[str, Any]:
        return self.graph("POST", f"/servicePrincipals/{program['id']}/addPassword", {})

    def graph(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        answer = self.admin.request(method, GRAPH + path, json=body)
        assert answer.is_success, answer.text
        return dict(answer.json()) if answer.content else {}

    def give(self, role: Role, scope: str, oid: str) -> str:
        path = f"{scope.rstrip('/')}{ROLES}/{uuid.uuid4()}"
        properties = {"roleDefinitionId": role.guid, "principalId": oid}
        answer = self.admin.put(path, json={"properties": properties}, params={"api-version": "2022-04-01"})
        assert answer.status_code == 201, answer.text
        return path

    def credential(self, app_id: str, secret: str) -> ClientSecretCredential:
        return ClientSecretCredential(self.served.tenant, app_id, secret, **self.authority)

    @property
    def authority(self) -> dict[str, Any]:
        return {
            "authority": self.served.url,
            "disable_instance_discovery": True,
            "connection_verify": self.served.ca_file,
        }

    def movers(self, credential: Any) -> Any:
        return StorageMoverMgmtClient(credential, self.served.subscription, **self.served.options)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serving(tmp_path_factory.mktemp("plane") / "state") as served:
        trust = ssl.create_default_context(cafile=served.ca_file)
        headers = {"Authorization": f"Bearer {served.token()}"}
        with httpx.Client(base_url=served.url, verify=trust, headers=headers) as admin:
            group = f"/subscriptions/{served.subscription}/resourceGroups/one"
            admin.put(group, json={"location": "local"}, params={"api-version": "2024-11-01"})
            yield World(served, admin, group)


@pytest.fixture(scope="module")
def pem() -> bytes:
    """A key with a certificate of its own making, as programs keep them."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "program")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)


def create(movers: Any) -> None:
    movers.storage_movers.create_or_update("one", "m", {"location": "local"})


def test_a_secret_signs_in_with_exactly_the_rights_of_its_roles(world: World) -> None:
    program = world.program("deployer")
    made = world.secret(program)
    assert made["secretText"].startswith(made["hint"])
    shown = world.graph("GET", f"/servicePrincipals/{program['id']}")["passwordCredentials"]
    assert [(one["keyId"], one["secretText"]) for one in shown] == [(made["keyId"], None)]
    assert made["secretText"] not in world.served.state.joinpath("wherry.db").read_bytes().decode("latin-1")

    with world.credential(program["appId"], made["secretText"]) as signed, world.movers(signed) as movers:
        with pytest.raises(HttpResponseError) as refused:
            create(movers)
        assert (refused.value.status_code, code_of(refused.value)) == (403, "AuthorizationFailed")
        assert f"object id '{program['id']}'" in str(refused.value)

        given = world.give(CONTRIBUTOR, world.group, program["id"])
        create(movers)
        assert movers.storage_movers.get("one", "m").system_data.created_by_type == "Application"
        mine = {"roleDefinitionId": OWNER.guid, "principalId": program["id"]}
        own = world.admin.build_request("PUT", f"{world.group}{ROLES}/{uuid.uuid4()}?api-version=2022-04-01",
                                        json={"properties": mine})  # fmt: skip
        own.headers["Authorization"] = f"Bearer {signed.get_token(f'{world.served.url}/.default').token}"
        assert world.admin.send(own).status_code == 403

        world.admin.delete(given, params={"api-version": "2022-04-01"})
        with pytest.raises(HttpResponseError) as gone:
            movers.storage_movers.get("one", "m")
        assert gone.value.status_code == 403


def test_prometheus_gets_a_token_as_it_does_and_reads_metrics_and_nothing_else(world: World) -> None:
    program = world.program("prometheus")
    secret = world.secret(program)["secretText"]
    address = f"/{world.served.tenant}/oauth2/v2.0/token"
    asked = {"grant_type": "client_credentials", "scope": f"{world.served.url}/.default"}
    trust = ssl.create_default_context(cafile=world.served.ca_file)
    with httpx.Client(base_url=world.served.url, verify=trust) as collector:
        # It tries a header first, and fields when that is refused.
        tried = collector.post(address, data=asked, auth=(program["appId"], secret))
        if tried.status_code != 200:
            tried = collector.post(
                address, data=asked | {"client_id": program["appId"], "client_secret": secret}
            )
        bearer = {"Authorization": f"Bearer {tried.json()['access_token']}"}
        assert collector.get("/metrics").status_code == 401
        assert collector.get("/metrics", headers=bearer).status_code == 403
        world.give(METRICS_READER, "", program["id"])
        scraped = collector.get("/metrics", headers=bearer)
        assert scraped.status_code == 200
        assert 'wherry_http_requests_total{class="service",status="403"} 1' in scraped.text.splitlines()
        assert 'wherry_duty_late_seconds{duty="schedules"}' in scraped.text
        for word in (program["id"], program["appId"], "prometheus", world.served.subscription):
            assert word not in scraped.text
        refused = collector.get(f"{world.group}?api-version=2024-11-01", headers=bearer)
        assert refused.status_code == 403


def test_a_group_in_a_group_gives_its_roles_until_it_ends(world: World) -> None:
    program = world.program("member")
    secret = world.secret(program)["secretText"]
    outer = world.graph("POST", "/groups", {"displayName": "outer", "mailNickname": "outer"})
    inner = world.graph("POST", "/groups", {"displayName": "inner", "mailNickname": "inner"})
    world.give(READER, world.group, outer["id"])
    for group, member in ((outer, inner), (inner, program)):
        reference = {"@odata.id": f"{world.served.url}{GRAPH}/directoryObjects/{member['id']}"}
        world.graph("POST", f"/groups/{group['id']}/members/$ref", reference)

    with world.credential(program["appId"], secret) as signed, world.movers(signed) as movers:
        assert isinstance(list(movers.storage_movers.list("one")), list)
        world.graph("DELETE", f"/groups/{inner['id']}/members/{program['id']}/$ref")
        with pytest.raises(HttpResponseError):
            list(movers.storage_movers.list("one"))


def test_secrets_are_exchanged_without_a_pause_and_one_that_is_removed_ends_its_tokens(world: World) -> None:
    program = world.program("rotating")
    world.give(READER, world.group, program["id"])
    old, new = world.secret(program), world.secret(program)
    with (
        world.credential(program["appId"], old["secretText"]) as before,
        world.credential(program["appId"], new["secretText"]) as after,
        world.movers(before) as first,
        world.movers(after) as second,
    ):
        list(first.storage_movers.list("one"))
        list(second.storage_movers.list("one"))
        world.graph("POST", f"/servicePrincipals/{program['id']}/removePassword", {"keyId": old["keyId"]})
        with pytest.raises(HttpResponseError) as ended:
            list(first.storage_movers.list("one"))
        assert ended.value.status_code == 401
        list(second.storage_movers.list("one"))
    with (
        world.credential(program["appId"], old["secretText"]) as again,
        pytest.raises(ClientAuthenticationError, match="AADSTS7000215"),
    ):
        again.get_token(f"{world.served.url}/.default")


def test_a_certificate_signs_in_as_azures_libraries_do_it(
    world: World, pem: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where this is set it counts more than the argument.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", world.served.ca_file)
    program = world.program("certified")
    world.give(READER, world.group, program["id"])
    der = x509.load_pem_x509_certificate(pem[pem.index(b"-----BEGIN CERT") :]).public_bytes(
        serialization.Encoding.DER
    )
    with (
        CertificateCredential(
            world.served.tenant, program["appId"], certificate_data=pem, **world.authority
        ) as early,
        pytest.raises(ClientAuthenticationError, match="AADSTS700027"),
    ):
        early.get_token(f"{world.served.url}/.default")
    key = {"key": base64.b64encode(der).decode(), "type": "AsymmetricX509Cert", "usage": "Verify"}
    world.graph("PATCH", f"/servicePrincipals/{program['id']}", {"keyCredentials": [key]})

    for chain in (False, True):
        with CertificateCredential(
            world.served.tenant,
            program["appId"],
            certificate_data=pem,
            send_certificate_chain=chain,
            **world.authority,
        ) as signed:
            with world.movers(signed) as movers:
                list(movers.storage_movers.list("one"))
            # The library sends the same assertion for another audience.
            assert signed.get_token("https://vault.azure.net/.default").token
    # SHA-256 thumbprint and PSS, as newer libraries and `az` have it.
    certificate = pem[pem.index(b"-----BEGIN CERT") :].decode()
    app = ConfidentialClientApplication(
        program["appId"], {"private_key": pem.decode(), "public_certificate": certificate},
        authority=f"{world.served.url}/{world.served.tenant}", instance_discovery=False, verify=world.served.ca_file,
    )  # fmt: skip
    assert "access_token" in app.acquire_token_for_client([f"{world.served.url}/.default"])


@pytest.mark.parametrize("how", ["disabled", "deleted"])
def test_a_program_that_is_out_of_service_is_out_at_once(world: World, how: str) -> None:
    program = world.program(how)
    secret = world.secret(program)["secretText"]
    given = world.give(READER, world.group, program["id"])
    with world.credential(program["appId"], secret) as signed, world.movers(signed) as movers:
        list(movers.storage_movers.list("one"))
        path = f"/servicePrincipals/{program['id']}"
        if how == "disabled":
            world.graph("PATCH", path, {"accountEnabled": False})
        else:
            world.graph("DELETE", path)
        with pytest.raises(HttpResponseError) as ended:
            list(movers.storage_movers.list("one"))
        assert ended.value.status_code == 401
    with (
        world.credential(program["appId"], secret) as again,
        pytest.raises(ClientAuthenticationError, match="AADSTS7000112"),
    ):
        again.get_token(f"{world.served.url}/.default")
    left = world.admin.get(given, params={"api-version": "2022-04-01"}).status_code
    assert left == (200 if how == "disabled" else 404)
