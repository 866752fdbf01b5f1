"""How an agent's jobs stand, as the control plane tells the agent itself.

For whoever looks after its machine; every answer is a page at most.  Called by the admin shell and by the test of the
network.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from wherry.client.agent_protocol import AgentProtocol
from wherry.client.connection import Json, error_of, json_of, unreachable
from wherry.client.proven import AgentIdentity
from wherry.model.errors import ApiError
from wherry.model.outcomes import Outcome

PAGE = 20


@dataclass(frozen=True, slots=True)
class Page:
    """Some of what there is, and what to ask for the next with; None at the end."""

    rows: list[Json]
    after: str | None


class JobStatus:
    """The questions of one registered agent.

    Every call may raise `Unreachable`, `IdentityGone` and `ApiError`: 404 for a run that is none of the agent's.
    """

    def __init__(self, protocol: AgentProtocol) -> None:
        self._protocol = protocol

    def runs(self, after: str | None = None) -> Page:
        """The agent's runs, the latest first."""
        return self._page("/runs", "runs", after)

    def run(self, run: str) -> Json:
        """One of the agent's runs."""
        return self._ask(f"/runs/{run}")

    def copy_log(self, run: str, outcome: Outcome | None = None, after: str | None = None) -> Page:
        """A page of the copy log of one of its runs; it may be empty and still not be the last."""
        return self._page(
            f"/runs/{run}/copyLogs", "rows", after, **({"outcome": str(outcome)} if outcome else {})
        )

    def places(self) -> list[Json]:
        """The sources and targets of the agent's jobs."""
        return self._page("/places", "places", None).rows

    def _page(self, path: str, name: str, after: str | None, **query: str) -> Page:
        told = {"top": str(PAGE), **query, **({"after": after} if after else {})}
        found = self._ask(path, told)
        rows, following = found.get(name), found.get("after")
        if not isinstance(rows, list) or not all(isinstance(one, dict) for one in rows):
            raise ApiError(502, "InvalidAnswer", "The control plane's answer is malformed. Update the agent.")
        return Page(rows, str(following) if following else None)

    def _ask(self, path: str, query: dict[str, Any] | None = None) -> Json:
        try:
            answer = self._protocol.answer("GET", path, params=query or {})
        except httpx.TransportError as trouble:
            raise unreachable(self._protocol.identity.url, trouble) from trouble
        if answer.status_code >= 400:
            raise error_of(answer)
        return json_of(answer)


@contextlib.contextmanager
def asking(identity: AgentIdentity) -> Iterator[JobStatus]:
    """The questions of this agent, over a connection of its own while the block runs."""
    protocol = AgentProtocol(identity)
    try:
        yield JobStatus(protocol)
    finally:
        protocol.close()
