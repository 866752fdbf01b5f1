"""What every route of a running control plane may use: deployment, database, keys, clock, the names it goes by.

One `Plane` a process, in `app.state.plane`; handlers get it by `plane(request)` and who calls by `caller(request)`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from starlette.requests import Request

from wherry.control.audit import Counters
from wherry.control.db.engine import Database
from wherry.control.hashing import Hashing
from wherry.control.pulse import Pulse
from wherry.control.services import signing
from wherry.control.settings import Settings
from wherry.trust.keys import MasterKey
from wherry.trust.principals import Principal
from wherry.trust.proofs import Nonces, Seen
from wherry.trust.tokens import KeyRing

ARM_ALIASES = ("https://management.azure.com", "https://management.core.windows.net")
"""Audiences that Azure's clients ask for when nobody told them ours; equal to it here."""

_RING_SECONDS = 60.0

T = TypeVar("T")


@dataclass(slots=True)
class Plane:
    """A running control plane.

    `public_url` has no trailing slash; `origins` are all `https://host:port` that proofs may name; `stopping` is
    set when the process is asked to stop, so that long polls answer at once.  `state` is the state directory,
    for what is kept in files there; `hashing` bounds how many passwords are checked and wait for it.
    """

    database: Database
    master: MasterKey
    tenant: str
    subscription: str
    public_url: str
    ca_pem: str
    origins: frozenset[str] = frozenset()
    clock: Callable[[], float] = time.time
    settings: Settings = field(default_factory=Settings)
    state: Path | None = None
    counters: Counters = field(default_factory=Counters)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    nonces: Nonces = field(default_factory=Nonces)
    seen: Seen = field(default_factory=Seen)
    hashing: Hashing = field(default_factory=Hashing)
    pulse: Pulse = field(default_factory=Pulse)
    parts: dict[type, object] = field(default_factory=dict)
    _ring: tuple[float, KeyRing] | None = None

    def __post_init__(self) -> None:
        self.public_url = self.public_url.rstrip("/")
        self.origins = frozenset({self.public_url, *self.origins})

    @property
    def issuer(self) -> str:
        """The one name of the token authority, whatever path or host a client used."""
        return f"{self.public_url}/{self.tenant}/v2.0"

    @property
    def authority(self) -> str:
        """Where clients are sent for tokens."""
        return f"{self.public_url}/{self.tenant}"

    @property
    def arm_audiences(self) -> frozenset[str]:
        return frozenset({self.public_url, *ARM_ALIASES})

    @property
    def agent_audience(self) -> str:
        """The audience of agents' own tokens: the agent protocol, nothing else."""
        return f"{self.public_url}/agent"

    @property
    def vault_audiences(self) -> frozenset[str]:
        named = f"https://{self.vault_domain}"
        return frozenset({named, f"{self.public_url}/vault", "https://vault.azure.net"})

    def vault_resource(self, host: str) -> str:
        """What a client that takes `host` for a vault has to get a token for."""
        own = f"https://{host.lower()}" in self.origins
        return f"{self.public_url}/vault" if own else f"https://{self.vault_domain}"

    @property
    def vault_domain(self) -> str:
        """The host, with its port if it has one, below which vaults have their names."""
        return f"vault.{urlsplit(self.public_url).netloc}".lower()

    @property
    def graph_audience(self) -> str:
        """The audience of the directory, and the address below which it is served."""
        return f"{self.public_url}/graph"

    @property
    def graph_audiences(self) -> frozenset[str]:
        """What the directory takes: its own tokens, and those of the resource API, which can do more."""
        return frozenset({self.graph_audience, "https://graph.microsoft.com"}) | self.arm_audiences

    @property
    def host(self) -> str:
        return urlsplit(self.public_url).hostname or ""

    async def ring(self) -> KeyRing:
        """The keys that sign and verify now; read again every minute."""
        now = self.clock()
        if self._ring is None or not 0 <= now - self._ring[0] < _RING_SECONDS:
            self._ring = (now, await self.database.read(signing.ring, self.master, now))
        return self._ring[1]

    def part(self, kind: type[T]) -> T:
        """What an area's context (`areas.CONTEXTS`) put here for its routes, by its class."""
        found = self.parts[kind]
        assert isinstance(found, kind)  # noqa: S101 - kept under its own class
        return found

    def urls(self, path: str) -> list[str]:
        """The addresses by which a request to `path` may have been meant for this service."""
        return [origin + path for origin in self.origins]


def plane(request: Request) -> Plane:
    """The control plane that serves this request."""
    found = request.app.state.plane
    assert isinstance(found, Plane)  # noqa: S101 - set by create_app
    return found


def caller(request: Request) -> Principal:
    """Who makes this request; only on routes that are not public."""
    found = request.state.principal
    assert isinstance(found, Principal)  # noqa: S101 - set by the guard
    return found


def request_id(request: Request) -> str:
    """The id of this request, as in the answer's `x-ms-request-id`."""
    return str(getattr(request.state, "request_id", ""))


def source(request: Request) -> str:
    """The address that the request came from, as the socket knows it; no header is believed."""
    return request.client.host if request.client else ""
