"""The steps of a sign-in, as a device, a person and an agent take them."""

from __future__ import annotations

import json
from typing import Any

import httpx
from sqlalchemy import select

from tests.forms import hidden
from tests.unit.control.conftest import URL
from wherry.control.db.tables_identity import principals
from wherry.control.plane import Plane
from wherry.control.services import agent_trust
from wherry.trust import clients, proofs
from wherry.trust.enrolment import AGENT_CLIENT_ID, EnrolmentRequest
from wherry.trust.keys import PrivateKey

SCOPE = f"{URL}/.default openid profile offline_access"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"


async def device_code(client: httpx.AsyncClient, **fields: str) -> dict[str, Any]:
    """A code for the Azure CLI."""
    form = {"client_id": clients.AZURE_CLI, "scope": SCOPE, **fields}
    answer = await client.post("/organizations/oauth2/v2.0/devicecode", data=form)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def poll(client: httpx.AsyncClient, code: dict[str, Any], **fields: str) -> httpx.Response:
    """One poll, as msal sends it."""
    secret = code["device_code"]
    form = {
        "grant_type": DEVICE_CODE, "client_id": clients.AZURE_CLI, "client_info": "1", "code": secret,
        "device_code": secret, **fields,
    }  # fmt: skip
    return await client.post("/organizations/oauth2/v2.0/token", data=form)


async def consent_page(client: httpx.AsyncClient, user_code: str, password: str) -> httpx.Response:
    """Enter the code, sign in: the page that asks for a decision."""
    page = await client.get("/device")
    page = await client.post("/device", data={**hidden(page.text), "user_code": user_code})
    if 'name="password"' in page.text:
        page = await client.post(
            "/signin", data={**hidden(page.text), "login": "admin", "password": password}
        )
    return page


async def decide(
    client: httpx.AsyncClient, page: httpx.Response, decision: str, **fields: str
) -> httpx.Response:
    """Press a button on the page that asks for a decision."""
    return await client.post("/device/decide", data={**hidden(page.text), "decision": decision, **fields})


async def signed_in(client: httpx.AsyncClient, password: str) -> dict[str, Any]:
    """The tokens of a whole sign-in."""
    code = await device_code(client)
    done = await decide(client, await consent_page(client, code["user_code"], password), "approve")
    assert "Approved" in done.text
    answer = await poll(client, code)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


class Agent:
    """An agent's key and what it sends."""

    def __init__(self, client: httpx.AsyncClient, plane: Plane, mover: str, name: str = "agent-1") -> None:
        self.client = client
        self.plane = plane
        self.key = PrivateKey.for_agent()
        self.join_state: str | None = None
        self.request = EnrolmentRequest(mover, name, "host.example", "0.1.0")

    def proof(self, url: str, method: str = "POST", key: PrivateKey | None = None, **more: Any) -> str:
        now = self.plane.clock()
        more = {"nonce": self.plane.nonces.issue(now), **more}
        return proofs.make_dpop(key or self.key, method, URL + url, now=now, **more)

    async def post(self, path: str, form: dict[str, str], key: PrivateKey | None = None) -> httpx.Response:
        return await self.client.post(path, data=form, headers={"DPoP": self.proof(path, key=key)})

    async def ask(self) -> httpx.Response:
        """Ask for a code to be registered with."""
        form = {
            "client_id": AGENT_CLIENT_ID,
            "scope": f"{URL}/agent.register",
            "authorization_details": json.dumps([self.request.details()]),
        }
        return await self.post(f"/{self.plane.tenant}/oauth2/v2.0/devicecode", form)

    async def redeem(self, code: dict[str, Any], key: PrivateKey | None = None) -> httpx.Response:
        form = {"grant_type": DEVICE_CODE, "client_id": AGENT_CLIENT_ID, "device_code": code["device_code"]}
        return await self.post(f"/{self.plane.tenant}/oauth2/v2.0/token", form, key)

    def joined(self, claimed: str) -> str:
        """The join state that it holds: of its last token, else of its registration."""
        if self.join_state is None:
            with self.plane.database.transaction() as conn:
                oid = conn.execute(select(principals.c.oid).where(principals.c.client_id == claimed)).scalar()
                if oid is None:
                    return ""
                self.join_state = agent_trust.state_of(conn, self.plane.master, oid, self.plane.clock())
        return self.join_state

    async def sign_in(self, claimed: str, assertion: str | None = None, **fields: str) -> httpx.Response:
        """`client_credentials` with an assertion and the join state, keeping the next one."""
        made = assertion or proofs.make_assertion(
            self.key, claimed, self.plane.issuer, now=self.plane.clock()
        )
        form = {
            "grant_type": "client_credentials",
            "client_id": claimed,
            "scope": f"{self.plane.agent_audience}/.default",
            "client_assertion_type": proofs.ASSERTION_TYPE,
            "client_assertion": made,
            "join_state": self.joined(claimed),
            **fields,
        }
        answer = await self.post(f"/{self.plane.tenant}/oauth2/v2.0/token", form)
        self.join_state = answer.json().get("join_state", self.join_state)
        return answer
