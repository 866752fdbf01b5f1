"""Programs at the token endpoint with an assertion: once for each audience, and for this endpoint only."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.unit.control.conftest import START, URL
from wherry.control import audit
from wherry.control.plane import Plane
from wherry.control.services import principals, programs
from wherry.trust import proofs


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


@dataclass
class Program:
    """A program with a registered certificate, and what it sends."""

    client: httpx.AsyncClient
    plane: Plane
    app_id: str
    oid: str
    key_id: str
    key: ec.EllipticCurvePrivateKey
    thumbprint: bytes

    def assertion(self, **changed: Any) -> str:
        now = self.plane.clock()
        endpoint = f"{URL}/{self.plane.tenant}/oauth2/v2.0/token"
        claims = {
            "iss": self.app_id, "sub": self.app_id, "aud": endpoint, "exp": now + 600, "jti": "one", **changed
        }  # fmt: skip
        head = {"alg": "ES256", "typ": "JWT", "x5t#S256": encoded(self.thumbprint)}
        text = ".".join(encoded(json.dumps(part).encode()) for part in (head, claims))
        r, s = decode_dss_signature(self.key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{text}.{encoded(r.to_bytes(32) + s.to_bytes(32))}"

    async def sign_in(self, assertion: str, scope: str = f"{URL}/.default", **more: str) -> httpx.Response:
        form = {
            "grant_type": "client_credentials", "client_id": self.app_id, "scope": scope,
            "client_assertion_type": proofs.ASSERTION_TYPE, "client_assertion": assertion, **more,
        }  # fmt: skip
        return await self.client.post(f"/{self.plane.tenant}/oauth2/v2.0/token", data=form)


@pytest.fixture
def program(client: httpx.AsyncClient, plane: Plane) -> Program:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "program")])
    begins = datetime.fromtimestamp(START, UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(begins).not_valid_after(begins + timedelta(days=1)).sign(key, hashes.SHA256())
    )  # fmt: skip
    with plane.database.transaction() as conn:
        made = programs.appear(conn, programs.create(conn, "program", START), START)
        content = certificate.public_bytes(serialization.Encoding.DER)
        added = programs.add_certificate(conn, made.app_id, None, content, None, START)
    thumbprint = certificate.fingerprint(hashes.SHA256())
    return Program(client, plane, made.app_id, str(made.oid), added.key_id, key, thumbprint)


async def test_attack_13_an_assertion_that_is_sent_again_gets_nothing(program: Program) -> None:
    told = program.assertion()
    assert (await program.sign_in(told)).status_code == 200
    again = await program.sign_in(told)
    assert (again.status_code, again.json()["error"]) == (401, "invalid_client")
    # Azure's libraries do this as long as it lives.
    assert (await program.sign_in(told, "https://vault.azure.net/.default")).status_code == 200
    assert (await program.sign_in(told, "https://vault.azure.net/.default")).status_code == 401
    with program.plane.database.snapshot() as conn:
        trail = [one for one in audit.records(conn) if one["action"] == "wherry/signin"]
    assert [one["result"] for one in trail] == ["allowed", "denied", "allowed", "denied"]
    assert {(one["actor"], one["actor_kind"]) for one in trail} == {(program.oid, "service")}


@pytest.mark.parametrize(
    "changed",
    [{"aud": "https://evil.example/token"}, {"aud": [f"{URL}/organizations/oauth2/v2.0/token"]}, {"aud": URL},
     {"sub": "11111111-1111-4111-8111-111111111111"}, {"exp": START + 3600}, {"exp": START - 100}, {"jti": ""}],
)  # fmt: skip
async def test_attack_14_15_an_assertion_for_elsewhere_or_too_long_gets_nothing(
    program: Program, changed: dict[str, Any]
) -> None:
    refused = await program.sign_in(program.assertion(**changed))
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")


async def test_names_of_the_endpoint_that_clients_know(program: Program) -> None:
    names = (f"{URL}/organizations/oauth2/v2.0/token", f"{URL}/adfs/oauth2/token", program.plane.issuer)
    for number, name in enumerate(names):
        done = await program.sign_in(program.assertion(aud=name, jti=f"{number}"))
        assert done.status_code == 200, name


async def test_what_else_is_wrong_with_an_assertion(program: Program) -> None:
    told = program.assertion()
    assert (await program.sign_in(told, client_assertion_type="another")).json()["error"] == "invalid_client"
    assert (await program.sign_in("x.y.z")).json()["error"] == "invalid_client"
    assert (await program.sign_in(told, client_id="another")).json()["error"] == "invalid_client"


@pytest.mark.parametrize("how", ["removed", "expired", "disabled"])
async def test_a_certificate_that_is_good_no_more(
    program: Program, plane: Plane, clock: Any, how: str
) -> None:
    token = (await program.sign_in(program.assertion())).json()["access_token"]
    path, headers = "/tenants?api-version=2022-12-01", {"Authorization": f"Bearer {token}"}
    assert (await program.client.get(path, headers=headers)).status_code == 200
    with plane.database.transaction() as conn:
        if how == "removed":
            programs.remove_credential(conn, program.app_id, program.key_id)
        elif how == "disabled":
            principals.enable(conn, program.oid, False)
    if how == "expired":
        clock.now += 86400
    else:
        assert (await program.client.get(path, headers=headers)).status_code == 401
    refused = await program.sign_in(program.assertion(jti="two"))
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
