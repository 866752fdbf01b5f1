"""Requests with proof of a key: DPoP (RFC 9449) with the server's nonces and time, tokens by `private_key_jwt`.

`KeyProofs` makes the proofs and keeps what the server said of nonce and clock, so that an agent whose own clock is
wrong still works.  `ProvenConnection` is a registered agent's door: it gets and renews the access token by itself.
Both are shared by threads.  Called by `agent_protocol` and, for the first token, by `agent.register`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx

from wherry.client.connection import Connection, NotKept, error_of, http_date, json_of
from wherry.model.errors import ApiError, WherryError
from wherry.model.way import DIRECT, Way
from wherry.trust.keys import PrivateKey
from wherry.trust.proofs import ASSERTION_TYPE, make_assertion, make_dpop

RENEW_BEFORE = 60.0
_TRIES = 3
_CLOCK_STEP = 5.0
_LAPSED = {
    "identity_locked": "This agent is locked: somebody else holds its key too, or an old copy of this machine was "
    "started. Register it again: wherry agent re-enrol.",
    "identity_expired": "This agent's key has expired. Register it again: wherry agent re-enrol.",
}
# `Date` has whole seconds: a small difference is no news.
_CLOCK_NOISE = 2.0


class IdentityGone(WherryError):
    """The control plane has deleted this agent's identity: what the agent holds is worth nothing any more."""

    def __init__(self) -> None:
        super().__init__("The control plane has removed this agent's identity. Register the agent anew.")


class Kept(Protocol):
    """What an agent proves itself with, where all that act as it find it: the key and the last join state."""

    def exclusive(self) -> AbstractContextManager[None]:
        """Be the only one who asks for a token."""

    def key(self) -> PrivateKey:
        """The key of this moment."""

    def join_state(self) -> str:
        """What came with the last token."""

    def keep_join_state(self, text: str) -> None:
        """Keep it for the next one, for good."""

    def go_back(self) -> bool:
        """The key is not known to the control plane: whether there is an older one to prove with."""


class InMemory:
    """A key that never changes and a join state that ends with the process."""

    def __init__(self, key: PrivateKey, join_state: str = "") -> None:
        self._key = key
        self._join_state = join_state

    def exclusive(self) -> AbstractContextManager[None]:
        return nullcontext()

    def key(self) -> PrivateKey:
        return self._key

    def join_state(self) -> str:
        return self._join_state

    def keep_join_state(self, text: str) -> None:
        self._join_state = text

    def go_back(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class AgentIdentity:
    """Who a registered agent is, to whom, and what it proves that with.  `private`: only at private addresses."""

    url: str
    ca_file: Path
    client_id: str
    token_endpoint: str
    issuer: str
    audience: str
    kept: Kept = field(repr=False)
    private: bool = False
    way: Way = DIRECT


class KeyProofs:
    """Proofs by one key.  Learns nonce and server time from every answer that it is shown."""

    def __init__(self, key: PrivateKey, clock: Callable[[], float] = time.time) -> None:
        self._key = key
        self._clock = clock
        self._offset = 0.0
        self._nonce: str | None = None

    @property
    def now(self) -> float:
        """The server's time, as far as known."""
        return self._clock() + self._offset

    def prove_by(self, key: PrivateKey) -> None:
        """Prove by this key from now on."""
        self._key = key

    def headers(self, method: str, url: str, access_token: str | None = None) -> Mapping[str, str]:
        """The headers of one request; never for two."""
        proof = make_dpop(self._key, method, url, now=self.now, nonce=self._nonce, access_token=access_token)
        return {"DPoP": proof, **({"Authorization": f"DPoP {access_token}"} if access_token else {})}

    def note(self, answer: httpx.Response) -> bool:
        """Learn from an answer; True when it was refused for want of the nonce or time that it brings."""
        moved = self._note_time(answer)
        nonce = answer.headers.get("DPoP-Nonce")
        if nonce:
            self._nonce = nonce
        if answer.status_code not in (400, 401):
            return False
        return bool(nonce and refusal(answer) == "use_dpop_nonce") or moved

    def _note_time(self, answer: httpx.Response) -> bool:
        date = http_date(answer.headers.get("Date", ""))
        if date is None:
            return False
        offset = date - self._clock()
        step = abs(offset - self._offset)
        if step > _CLOCK_NOISE:
            self._offset = offset if abs(offset) > _CLOCK_NOISE else 0.0
        return step > _CLOCK_STEP


class ProvenConnection:
    """A registered agent's connection: each request with its token and a proof.

    Raises `IdentityGone` when the control plane says so, `ApiError` when it gives no token for another
    reason, `httpx.TransportError` when no answer came.
    """

    def __init__(self, identity: AgentIdentity, clock: Callable[[], float] = time.time) -> None:
        self.identity = identity
        self.proofs = KeyProofs(identity.kept.key(), clock)
        self.connection = Connection(
            identity.url, identity.ca_file, private=identity.private, way=identity.way
        )
        self._lock = threading.Lock()
        self._token = ""
        self._good_until = 0.0

    def close(self) -> None:
        self.connection.close()

    def send(
        self,
        method: str,
        path: str,
        *,
        http: httpx.Client | None = None,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> httpx.Response:
        """One request, sent again only where nonce, time or token were out of date.  `http`: over other connections."""
        url = self.connection.absolute(path)
        client = http or self.connection.http
        guarded = self.connection.guarded(options)
        token = self._current()
        renewed = False
        for _ in range(_TRIES):
            proof = self.proofs.headers(method, url, token)
            answer = client.request(method, url, headers={**(headers or {}), **proof}, **guarded)
            if answer.status_code != 401:
                self.proofs.note(answer)
                return answer
            if refusal(answer) == "identity_deleted":
                raise IdentityGone
            if self.proofs.note(answer):
                continue
            if renewed:
                break
            token, renewed = self._renew(token), True
        return answer

    def _current(self) -> str:
        with self._lock:
            if not self._token or time.monotonic() >= self._good_until:
                self._fetch()
            return self._token

    def _renew(self, refused: str) -> str:
        with self._lock:
            if self._token == refused:
                self._fetch()
            return self._token

    def sign_in_anew(self) -> None:
        """Get another token, by the key of this moment."""
        with self._lock:
            self._fetch()

    def _fetch(self) -> None:
        with self.identity.kept.exclusive():
            asked = time.monotonic()
            answer = self._ask_token()
            if _unknown_key(answer) and self.identity.kept.go_back():
                answer = self._ask_token()
            if answer.status_code != 200:
                raise self._refused(answer)
            body = json_of(answer)
            if body.get("join_state"):
                self._keep(str(body["join_state"]))
        try:
            self._token, lifetime = str(body["access_token"]), float(body["expires_in"])
        except (KeyError, ValueError, TypeError) as broken:
            raise ApiError(502, "InvalidToken", "The control plane gave no usable token.") from broken
        self._good_until = asked + max(lifetime / 2, lifetime - RENEW_BEFORE)

    def _keep(self, join_state: str) -> None:
        """On disk before the token is used: whoever came back with an older one would look like a copy."""
        try:
            self.identity.kept.keep_join_state(join_state)
        except OSError as trouble:
            raise NotKept(
                f"The agent's state cannot be written: {trouble.strerror}. Make room on its disk; it goes on by itself."
            ) from trouble

    def _ask_token(self) -> httpx.Response:
        key = self.identity.kept.key()
        self.proofs.prove_by(key)
        for _ in range(_TRIES):
            answer = self._request_token(key)
            if not self.proofs.note(answer):
                break
        return answer

    def _request_token(self, key: PrivateKey) -> httpx.Response:
        who = self.identity
        form = {
            "grant_type": "client_credentials",
            "client_id": who.client_id,
            "scope": f"{who.audience}/.default",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": make_assertion(key, who.client_id, who.issuer, now=self.proofs.now),
            "join_state": who.kept.join_state(),
        }
        url = self.connection.absolute(who.token_endpoint)
        return self.connection.send("POST", url, data=form, headers=self.proofs.headers("POST", url))

    @staticmethod
    def _refused(answer: httpx.Response) -> WherryError:
        trouble = error_of(answer)
        if trouble.code != "invalid_client":
            return trouble
        if "identity_deleted" in trouble.message:
            return IdentityGone()
        for code, what in _LAPSED.items():
            if code in trouble.message:
                return ApiError(401, code, what)
        return trouble


def _unknown_key(answer: httpx.Response) -> bool:
    trouble = error_of(answer) if answer.status_code in (400, 401) else None
    return trouble is not None and trouble.code == "invalid_client" and "is not known" in trouble.message


def refusal(answer: httpx.Response) -> str:
    """The word that an answer is refused with: of its body, else of its challenge."""
    error = json_of(answer).get("error")
    if isinstance(error, Mapping):
        return str(error.get("code", ""))
    if isinstance(error, str):
        return error
    challenge: str = answer.headers.get("WWW-Authenticate", "")
    return challenge.partition('error="')[2].partition('"')[0]
