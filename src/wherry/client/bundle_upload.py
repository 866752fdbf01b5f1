"""Bringing a support bundle to the control plane that asked for it: in pieces, which may be sent again.

Called by `agent.bundle_errand`.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx

from wherry.client.agent_protocol import AgentProtocol
from wherry.client.connection import Json, error_of, json_of, pause, retry_after, unreachable
from wherry.client.interruptible import Interruptible
from wherry.model.errors import ApiError

PIECE = 1024 * 1024
DAMAGED = "BundleDamaged"
_ATTEMPTS = 5
_LATER = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE)


class BundleUpload:
    """One bundle on its way over `line`; `rest` waits, and says whether to stop.

    Every call may raise `Unreachable`, `IdentityGone` and `ApiError`: 404 when nobody asks for it any more.
    """

    def __init__(
        self, protocol: AgentProtocol, line: Interruptible, bundle: str, rest: Callable[[float], bool]
    ) -> None:
        self._protocol = protocol
        self._line = line
        self._path = f"/bundles/{bundle}"
        self._rest = rest

    def bring(self, file: Path, sha256: str) -> bool:
        """Send the whole file; False when told to stop before it was there."""
        offset, size = 0, file.stat().st_size
        with file.open("rb") as opened:
            while offset < size:
                opened.seek(offset)
                found = self._send("PUT", f"{self._path}/{offset}", content=opened.read(PIECE))
                if found is None:
                    return False
                there = found.get("received")
                if not isinstance(there, int) or not offset < there <= size:
                    raise ApiError(409, DAMAGED, "Somebody else brings this support bundle as well.")
                offset = there
        return self._send("POST", self._path, json={"sha256": sha256}) is not None

    def give_up(self, why: str) -> None:
        """Say that it cannot be had."""
        self._send("POST", self._path, json={"trouble": why[:500]})

    def _send(self, method: str, path: str, **options: Any) -> Json | None:
        """The answer, after some attempts; None when told to stop."""
        for attempt in range(1, _ATTEMPTS + 1):
            last = attempt == _ATTEMPTS
            try:
                with self._line.request() as extensions:
                    answer = self._protocol.answer(
                        method, path, http=self._line.http, extensions=extensions, **options
                    )
            except httpx.TransportError as trouble:
                if last:
                    raise unreachable(self._protocol.identity.url, trouble) from trouble
                seconds = pause(attempt)
            else:
                if answer.status_code < HTTPStatus.BAD_REQUEST:
                    return json_of(answer)
                if last or answer.status_code not in _LATER:
                    raise error_of(answer)
                seconds = retry_after(answer, attempt)
            if self._rest(seconds):
                return None
        return None
