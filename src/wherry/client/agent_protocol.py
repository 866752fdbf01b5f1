"""The agent protocol as the agent speaks it: heartbeats, leases, and the ledger of a run over the network.

`AgentProtocol` is one registered agent.  `LeasedLedger` is the `Ledger` port of the engine for one lease: what fails
in passing (no answer, 429, 5xx) is tried again until the lease's own time is over, what the control plane decides comes
out as `LeaseLost` or `RunError`.  Called by `agent.daemon` and `agent.session`.
"""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import httpx

from wherry import __version__
from wherry.client.connection import TIMEOUT, Json, error_of, json_of, pause, retry_after, unreachable
from wherry.client.interruptible import Interruptible
from wherry.client.proven import AgentIdentity, ProvenConnection
from wherry.model import ids
from wherry.model.agent_versions import Notice
from wherry.model.errors import CODES, ApiError, LeaseLost, RunError, UsageError, WherryError
from wherry.model.ledger import Slice, Token, WorkItem
from wherry.model.outcomes import encode_lines, segment_name
from wherry.model.wire import (
    HEARTBEAT_SECONDS,
    Grant,
    Progress,
    Renewal,
    SegmentName,
    Sighting,
    Start,
    item_from_json,
    pack,
    token_to_json,
)

_BASE = "/agent/v1"
_LEASE_LOST = "AZSM1023"
_GRACE = 15.0
_LONGEST_DETAIL = 2000


class Unanswered(LeaseLost):
    """No useful answer came as long as it was waited for.  `heard`: the service told of a failure of its own."""

    def __init__(self, heard: bool = False) -> None:
        super().__init__("the control plane could not be reached before the lease was over")
        self.heard = heard

    def __reduce__(self) -> tuple[type[LeaseLost], tuple[str, ...]]:
        return LeaseLost, (self.detail,)


@dataclass(frozen=True, slots=True)
class Credential:
    """What opens the target: a SAS for a container, a key with its id for a bucket, nothing for a folder.

    `expires_at` in ISO 8601; `ca` holds certificates that its server is trusted by, where that is not the system's.
    """

    secret: str = field(repr=False)
    expires_at: str = ""
    identity: str = ""
    region: str = ""
    ca: str = ""


class AgentProtocol:
    """All calls of one registered agent, for any number of threads.

    Calls outside of a lease raise `Unreachable` when no answer came; every call may raise `IdentityGone`.
    What the last answer to a heartbeat said: `key_is_due`, a new key is asked for; `offered`, a version of the agent's
    program that is there to be fetched; `notice`, that this one is old; `bundle`, a support bundle that somebody asks
    for; `upload_limit`, the agent's bandwidth schedule, as it was told.  `version` is what it asks for work as.
    """

    def __init__(
        self, identity: AgentIdentity, clock: Callable[[], float] = time.time, version: str = __version__
    ) -> None:
        self.identity = identity
        self.key_is_due = False
        self.offered: str | None = None
        self.notice: Notice | None = None
        self.bundle: str | None = None
        self._version = version
        self.upload_limit: Any = None
        self._door = ProvenConnection(identity, clock)

    def close(self) -> None:
        self._door.close()

    def heartbeat(self, facts: Json, line: Interruptible | None = None) -> float:
        """Say that the agent is there; the seconds until the next time."""
        with _over(line) as options:
            found = self._once("POST", "/heartbeat", facts, **options)
        self.key_is_due = bool(found.get("changeKey"))
        self.offered = str(found["package"])[:64] if found.get("package") else None
        asked = str(found.get("bundle") or "")
        self.bundle = asked if ids.GUID.fullmatch(asked) else None
        self.upload_limit = found.get("uploadLimit")
        with _well_formed():
            self.notice = Notice.from_json(found["notice"]) if found.get("notice") else None
            return float(found.get("interval", HEARTBEAT_SECONDS))

    def take(self, wait: float, line: Interruptible | None = None) -> Grant | None:
        """A lease, waiting up to `wait` seconds for one; `line.interrupt()` ends the waiting from another thread."""
        timeout = httpx.Timeout(wait + _GRACE, connect=TIMEOUT.connect)
        told = {"wait": wait, "version": self._version}
        with _over(line) as options:
            found = self._once("POST", "/leases", told, timeout=timeout, **options)
        with _well_formed():
            return Grant.from_json(found) if found else None

    def offer_key(self, offer: str) -> None:
        """Let the control plane know the key that is to follow; `offer` is what `trust.key_change` makes."""
        self._once("POST", "/keys", {"offer": offer})

    def package(self, version: str, offset: int, size: int) -> bytes:
        """Up to `size` bytes of the package of a version from `offset`; fewer only at its end."""
        headers = {"Range": f"bytes={offset}-{offset + size - 1}"}
        try:
            answer = self.answer("GET", f"/packages/{version}", headers=headers)
        except httpx.TransportError as trouble:
            raise unreachable(self.identity.url, trouble) from trouble
        if answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return b""
        if answer.status_code >= 400:
            raise error_of(answer)
        return answer.content if answer.status_code == HTTPStatus.PARTIAL_CONTENT else b""

    def sign_in_anew(self) -> None:
        """Get another token, by the key of this moment.  Raises what `ProvenConnection` raises, and `Unreachable`."""
        try:
            self._door.sign_in_anew()
        except httpx.TransportError as trouble:
            raise unreachable(self.identity.url, trouble) from trouble

    def identity_token(self, resource: str) -> Json:
        """A bearer token of the agent's identity, for programs on its machine."""
        found = self._once("POST", "/token", {"resource": resource})
        with _well_formed():
            return {**found, "expires_in": str(int(found["expires_in"]))}

    def unregister(self) -> None:
        """Give the identity back: afterwards no call works any more."""
        self._once("DELETE", "/registration")

    def ledger(self, run: str, remaining: Callable[[], float]) -> LeasedLedger:
        """The ledger for one lease on `run`; `remaining` gives the seconds that the lease still lasts."""
        return LeasedLedger(self, run, remaining)

    def answer(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The answer to one request, not repeated.  `httpx.TransportError` when none came."""
        return self._door.send(method, _BASE + path, **options)

    def _once(self, method: str, path: str, body: Json | None = None, **options: Any) -> Json:
        if body is not None:
            options["json"] = body
        try:
            answer = self.answer(method, path, **options)
        except httpx.TransportError as trouble:
            raise unreachable(self.identity.url, trouble) from trouble
        if answer.status_code >= 400:
            raise error_of(answer)
        return json_of(answer)


class LeasedLedger:
    """The engine's `Ledger` for one lease on one run, with what else a holder may ask for.

    `keep` may be called by several threads, also while another call is on its way.
    """

    def __init__(self, protocol: AgentProtocol, run: str, remaining: Callable[[], float]) -> None:
        self._protocol = protocol
        self._run = run
        self._remaining = remaining

    def renew(self, token: Token, progress: bool) -> Renewal:
        """More time; `progress` when anything moved since the last renewal."""
        return _renewal(self._call("renew", {"token": token_to_json(token), "progress": progress}))

    def commit(self, token: Token, progress: Progress) -> Renewal:
        """Record what is finished; the same commit may be sent again."""
        return _renewal(self._call("commit", {"token": token_to_json(token), "progress": progress.to_json()}))

    def items(self, token: Token, work: Slice, after: bytes, limit: int) -> list[WorkItem]:
        """Up to `limit` work items of the leased slice that come behind `after`."""
        body = {"token": token_to_json(token), "after": pack(after), "limit": limit}
        with _well_formed():
            found = [item_from_json(item) for item in self._call("items", body)["items"]]
        return [item for item in found if work.after < item.key <= work.through]

    def keep(self, token: Token, seq: int, lines: bytes) -> SegmentName:
        """Store lines of the copy log as a segment; it exists for readers once a commit names it."""
        segment = encode_lines(lines)
        name = segment_name(self._run, token.partition, token.epoch, seq, segment)
        self.put(token, name, segment)
        return SegmentName(name, lines.count(b"\n"))

    def put(self, token: Token, name: str, segment: bytes) -> None:
        """Store a segment under the name that its content asks for."""
        self._persist("PUT", f"/segments/{name}", content=segment, headers=lease_header(token))

    def sight(self, token: Token, sighting: Sighting) -> Start:
        """Tell what both sides are."""
        body = {"token": token_to_json(token), "sighting": sighting.to_json()}
        with _well_formed():
            answer = self._call("sighting", body)
            return Start(int(answer["since"]), bool(answer.get("restarted")))

    def credential(self, token: Token) -> Credential:
        """What opens the target, as long as leases of this run live."""
        found = self._call("credential", {"token": token_to_json(token), "side": "target"})
        told = (str(found.get(name) or "") for name in ("secret", "expiresAt", "identity", "region", "ca"))
        return Credential(*told)

    def commit_late(self, token: Token, progress: Json) -> None:
        """Record what was finished under a lease that may be over by now; the same may be sent again."""
        self._persist(
            "POST",
            f"/runs/{self._run}/commit",
            json={"token": token_to_json(token), "progress": progress, "late": True},
        )

    def release(self, token: Token, code: str = "", detail: str = "") -> None:
        """Give the lease back: without a code for others to go on, with one to say why it cannot."""
        body = {"token": token_to_json(token), "code": code, "detail": detail[:_LONGEST_DETAIL]}
        self._call("release", body)

    def tell(self, events: Sequence[Json], spool: str = "", seq: int = 0) -> None:
        """Rows for the run log: time, level, code and message each.

        From a spool they are told once: `seq` is the number of the first there.
        """
        place = {"spool": spool, "seq": seq} if spool else {}
        self._call("events", {"events": list(events), **place})

    def _call(self, what: str, body: Json) -> Json:
        return json_of(self._persist("POST", f"/runs/{self._run}/{what}", json=body))

    def _persist(self, method: str, path: str, **options: Any) -> httpx.Response:
        attempt, heard = 0, False
        while (left := self._remaining()) > 0:
            attempt += 1
            try:
                answer = self._protocol.answer(
                    method, path, timeout=httpx.Timeout(min(left, 30.0), connect=min(left, 10.0)), **options
                )
            except httpx.TransportError:
                self._rest(pause(attempt))
                continue
            except (
                ApiError
            ) as refused:  # The sign-in before it: as long as a service is starting that fails, too.
                if not _is_passing(refused.status):
                    raise
                self._rest(pause(attempt))
                continue
            if _is_passing(answer.status_code):
                heard |= answer.status_code == HTTPStatus.INTERNAL_SERVER_ERROR
                self._rest(retry_after(answer, attempt))
                continue
            if answer.status_code >= 400:
                raise failure(answer)
            return answer
        raise Unanswered(heard)

    def _rest(self, seconds: float) -> None:
        time.sleep(max(0.0, min(seconds, self._remaining())))


def _is_passing(status: int) -> bool:
    return status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR


@contextlib.contextmanager
def _over(line: Interruptible | None) -> Iterator[dict[str, Any]]:
    """What a request over a line of its own is sent with."""
    if line is None:
        yield {}
        return
    with line.request() as extensions:
        yield {"http": line.http, "extensions": extensions}


def lease_header(token: Token) -> dict[str, str]:
    """The header that shows a lease where there is no body for it."""
    text = json.dumps(token_to_json(token), separators=(",", ":")).encode()
    return {"X-Wherry-Lease": base64.urlsafe_b64encode(text).decode().rstrip("=")}


def failure(answer: httpx.Response) -> WherryError:
    """What an answer of the protocol means to the holder of a lease."""
    trouble = error_of(answer)
    if trouble.code == _LEASE_LOST or answer.status_code == 404:
        return LeaseLost(trouble.message.removeprefix(CODES[_LEASE_LOST].message).strip())
    if trouble.code in CODES:
        return RunError(trouble.code, trouble.message.removeprefix(CODES[trouble.code].message).strip())
    return trouble


def _renewal(found: Json) -> Renewal:
    with _well_formed():
        return Renewal.from_json(found)


@contextlib.contextmanager
def _well_formed() -> Iterator[None]:
    """Turn an answer that makes no sense into the control plane's error, not one of the caller."""
    try:
        yield
    except (KeyError, TypeError, ValueError, UsageError) as broken:
        raise ApiError(
            502, "InvalidAnswer", "The control plane's answer is malformed. Update the agent."
        ) from broken
