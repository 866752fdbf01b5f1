"""Everybody who may come to a control plane, and one call of each route by each of them.

Nothing is named that there is, but for a run that `agent` works on, an agent and a job on the pages: who may call a
route is decided before it is looked whether the thing is there.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from starlette.types import Message

from tests.unit.control.conftest import URL, app_of
from wherry.control.identity import sessions
from wherry.control.identity.sessions import COOKIE
from wherry.control.plane import Plane
from wherry.model.ledger import Commit
from wherry.model.outcomes import Counters
from wherry.model.wire import Progress, Sighting
from wherry.trust import proofs
from wherry.trust.keys import PrivateKey

ARM, VAULT, GRAPH, AGENT = "arm", "vault", "graph", "agent"
_PROGRESS = Progress(Commit(1, None, ()), Counters(), (), ()).to_json()
_SIGHTING = Sighting("a", "b", 1).to_json()
_STRANGER = PrivateKey.for_agent()


@dataclass(frozen=True)
class Caller:
    """What somebody shows: the token that is best at doors of each kind, the key that it is bound to, a cookie."""

    tokens: dict[str, str]
    cookie: str = ""
    key: PrivateKey = _STRANGER


@dataclass
class Cast:
    """All of them, at one control plane; what stands for the names in paths, and for the fields of forms.

    `theirs`: other fields for those who may do it, so that each finds something to take away.
    """

    plane: Plane
    callers: dict[str, Caller]
    names: dict[str, str]
    fields: dict[str, str]
    lease: dict[str, Any]
    theirs: dict[str, dict[str, str]]

    async def outcome(self, kind: str, method: str, route: str) -> str:
        """What a caller of some kind gets at a route: ok, 401, 403, sign-in; 404 where it is there."""
        status, location = await self._call(kind, method, route)
        if status in (401, 403) or (status == 404 and ("{run}" in route or not door(route))):
            return str(status)
        assert status < 500, f"{kind}: {status} at {method} {route}"
        return "sign-in" if status == 303 and location == "/signin" else "ok"

    async def _call(self, kind: str, method: str, route: str) -> tuple[int, str]:
        path, who = route, self.callers[kind]
        for name, value in self.names.items():
            path = path.replace(f"{{{name}}}", value)
        assert "{" not in path, f"nothing stands for a name in {path}"
        headers = self._headers(who, method, route, path)
        fields = urlencode(self.fields | self.theirs.get(kind, {}))
        body = self._body(who, route, fields)
        query = b"" if door(route) else fields.encode()
        scope = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": query,
            "scheme": "https", "server": ("plane.example", 443), "client": ("192.0.2.7", 1), "http_version": "1.1",
            "root_path": "", "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }  # fmt: skip
        answer: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": body}

        async def send(message: Message) -> None:
            answer.append(message)

        await app_of(self.plane)(scope, receive, send)
        told = dict(answer[0]["headers"])
        return int(answer[0]["status"]), told.get(b"location", b"").decode()

    def _headers(self, who: Caller, method: str, route: str, path: str) -> dict[str, str]:
        kind = "application/json" if door(route) else "application/x-www-form-urlencoded"
        headers = {"host": URL.partition("//")[2], "content-type": kind}
        if who.cookie:
            headers["cookie"] = f"{COOKIE}={who.cookie}"
        token = who.tokens.get(door(route), "")
        if token and door(route) == AGENT:
            now = self.plane.clock()
            headers["authorization"] = f"DPoP {token}"
            headers["dpop"] = proofs.make_dpop(
                who.key, method, URL + path, now=now, nonce=self.plane.nonces.issue(now), access_token=token
            )
            shown = json.dumps(self.lease).encode()
            headers["x-wherry-lease"] = base64.urlsafe_b64encode(shown).decode()
        elif token:
            headers["authorization"] = f"Bearer {token}"
        return headers

    def _body(self, who: Caller, route: str, fields: str) -> bytes:
        if not door(route):
            return f"form_token={sessions.form_token(self.plane, who.cookie)}&{fields}".encode()
        told = {
            "token": self.lease,
            "side": "target",
            "progress": _PROGRESS,
            "sighting": _SIGHTING,
            "events": [],
        }
        return json.dumps(told if door(route) == AGENT else {}).encode()


def door(route: str) -> str:
    """Which tokens a route is about; empty for pages and what everybody may see."""
    first = route.split("/")[1]
    known = {"agent": AGENT, "graph": GRAPH, "secrets": VAULT, "deletedsecrets": VAULT}
    arm = ("subscriptions", "providers", "{scope:path}", "tenants", "metrics")
    return known.get(first, ARM if first in arm else "")
