"""A control plane to attack with tokens: its keys, somebody who is signed in to it, and doors to be refused at.

Nothing that the tests send gets in, so that one is enough for a module; what has to change is made in the test.
"""

from __future__ import annotations

import base64
import itertools
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from joserfc import jws
from sqlalchemy import select

from tests.unit.control.conftest import START, URL, Clock, Made
from wherry.control import deployment
from wherry.control.db.tables_identity import meta
from wherry.control.plane import Plane
from wherry.control.services import principals, refresh, signing
from wherry.control.settings import Settings
from wherry.trust import clients, signed, tokens
from wherry.trust.keys import PrivateKey
from wherry.trust.principals import FULL_SCOPE, Principal
from wherry.trust.tokens import KeyRing

DOORS = ("/tenants?api-version=2022-12-01", "/graph/v1.0/users", "/graph/v1.0/me")
_DOORS = itertools.cycle(DOORS)


@dataclass
class Target:
    """A control plane, its keys, and somebody who is signed in to it."""

    plane: Plane
    ring: KeyRing
    who: Principal
    clock: Clock

    @property
    def genuine(self) -> str:
        return tokens.issue_access(self.who, self.ring, self.plane.issuer)

    def claims(self) -> dict[str, Any]:
        return part(self.genuine, 1)

    def forged(
        self, typ: str = tokens.ACCESS, key: PrivateKey | None = None, kid: Any = None, **changes: Any
    ) -> str:
        """The genuine token with other claims (`...` takes one away), signed as ours are."""
        claims = {name: value for name, value in (self.claims() | changes).items() if value is not ...}
        return signed.write(claims, key or self.ring.signer, typ, {"kid": kid or self.ring.kid})


@contextmanager
def attacked(made: Made, folder: Path) -> Iterator[Target]:
    """A control plane of one's own while the block runs."""
    state = shutil.copytree(made.path, folder / "state")
    opened, clock = deployment.create_or_open(state, START), Clock()
    plane = Plane(
        opened.database, opened.master, opened.tenant, opened.subscription, URL, opened.ca_file.read_text(),
        clock=clock, settings=Settings(second_factor=False),
    )  # fmt: skip
    with opened.database.transaction() as conn:
        admin = conn.execute(select(meta.c.value).where(meta.c.key == "first_administrator")).scalar_one()
        ring = signing.ring(conn, opened.master, START)
    yield Target(plane, ring, signed_in(plane, admin, "admin"), clock)
    opened.close()


def signed_in(plane: Plane, oid: str, name: str) -> Principal:
    """A sign-in of somebody, as the token authority records it."""
    with plane.database.transaction() as conn:
        family = refresh.begin(conn, oid, clients.AZURE_CLI, START).family
        row = principals.require(conn, oid)
    return Principal(
        "user", oid, plane.tenant, name, frozenset({FULL_SCOPE}), URL, clients.AZURE_CLI, family, "uti",
        epoch=row.epoch, issued_at=int(START), expires_at=int(START) + 3600,
    )  # fmt: skip


def b64(document: Any) -> str:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def part(value: str, number: int) -> dict[str, Any]:
    text = value.split(".")[number]
    return dict(json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))))


def with_header(target: Target, header: dict[str, Any]) -> str:
    """A token whose signature holds, by our own key, under a header that we would never write."""
    head = {"alg": "RS256", "typ": tokens.ACCESS, "kid": target.ring.kid, **header}
    first = f"{b64(head)}.{b64(target.claims())}"
    algorithm = jws.JWSRegistry.algorithms["RS256"]
    key = target.ring.signer.jose
    return f"{first}.{b64(algorithm.sign(first.encode(), key))}"


async def door(client: httpx.AsyncClient, token: str, path: str = DOORS[0]) -> httpx.Response:
    return await client.get(path, headers={"authorization": f"Bearer {token}"})


async def refused(client: httpx.AsyncClient, token: str, code: str = "InvalidAuthenticationToken") -> None:
    """At one door after the other: they have one lock."""
    answer = await door(client, token, next(_DOORS))
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, code), answer.text
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
