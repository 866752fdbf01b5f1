"""The client's half of the device authorization grant (RFC 8628): for people (`login`), for agents (`agent.register`).

One code is asked for, shown, and redeemed by polling.  `proofs` adds what binds the code to a key (DPoP); a
person's sign-in has none.  Each way in which it can end badly is a `SignInFailed` that says what to do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import httpx

from wherry.client.connection import Connection, Json, error_of, json_of, pause, retry_after, unreachable
from wherry.model.errors import WherryError

GRANT = "urn:ietf:params:oauth:grant-type:device_code"
SLOW_DOWN = 5.0

Reason = Literal["expired", "denied", "refused"]


class SignInFailed(WherryError):
    """The sign-in ended without a token: the code expired, a person denied it, or the authority refused it."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Proofs(Protocol):
    """Who proves possession of a key on each request (`proven.KeyProofs`)."""

    def headers(self, method: str, url: str) -> Mapping[str, str]:
        """Headers for one request."""

    def note(self, answer: httpx.Response) -> bool:
        """Learn nonce and time from an answer; whether the request should be sent again because of them."""


class NoProofs:
    """For clients that have no key."""

    def headers(self, method: str, url: str) -> Mapping[str, str]:
        return {}

    def note(self, answer: httpx.Response) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where an authority lets itself be asked."""

    issuer: str
    device: str
    token: str

    @classmethod
    def discover(cls, connection: Connection, tenant: str) -> Endpoints:
        """Read the authority's discovery document; `tenant` may be `organizations`."""
        answer = connection.ask("GET", f"/{tenant}/v2.0/.well-known/openid-configuration")
        if answer.status_code != 200:
            raise error_of(answer)
        found = json_of(answer)
        try:
            return cls(
                str(found["issuer"]),
                str(found["device_authorization_endpoint"]),
                str(found["token_endpoint"]),
            )
        except KeyError as missing:
            raise SignInFailed(
                "refused", f"{connection.url} is no control plane: it names no {missing}."
            ) from missing


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """A code to be typed by a person.  `match` is a number to compare, where the authority gives one.

    `expires_at` is on the monotonic clock.  The device code itself stays out of every text form.
    """

    user_code: str
    url: str
    message: str
    match: str
    interval: float
    lifetime: float
    expires_at: float
    secret: str

    def __repr__(self) -> str:
        return f"DeviceCode({self.user_code!r}, {self.url!r})"


def request(
    connection: Connection, endpoints: Endpoints, form: Mapping[str, str], proofs: Proofs | None = None
) -> DeviceCode:
    """Ask for a code; `form` holds client id, scope and what else is to be consented to."""
    try:
        answer = _post(connection, endpoints.device, form, proofs or NoProofs())
    except httpx.TransportError as trouble:
        raise unreachable(connection.url, trouble) from trouble
    if answer.status_code != 200:
        raise error_of(answer)
    try:
        return _code(json_of(answer))
    except (KeyError, ValueError, TypeError) as broken:
        raise SignInFailed(
            "refused", f"{connection.url} answered with something that is no code."
        ) from broken


def _code(found: Json) -> DeviceCode:
    lifetime = float(found["expires_in"])
    return DeviceCode(
        user_code=str(found["user_code"]),
        url=str(found["verification_uri"]),
        message=str(found.get("message", "")),
        match=str(found.get("match") or ""),
        interval=float(found.get("interval", 5)),
        lifetime=lifetime,
        expires_at=time.monotonic() + lifetime,
        secret=str(found["device_code"]),
    )


def redeem(
    connection: Connection,
    endpoints: Endpoints,
    code: DeviceCode,
    client_id: str,
    proofs: Proofs | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Json:
    """Poll until a person has decided; the token answer, or `SignInFailed`."""
    form = {"grant_type": GRANT, "client_id": client_id, "device_code": code.secret, "code": code.secret}
    interval = code.interval
    attempt = 0
    while True:
        sleep(interval)
        attempt += 1
        try:
            answer = _post(connection, endpoints.token, form, proofs or NoProofs())
        except httpx.TransportError as trouble:
            if time.monotonic() >= code.expires_at:
                raise unreachable(connection.url, trouble) from trouble
            sleep(pause(attempt))
            continue
        if answer.status_code == 200:
            return json_of(answer)
        error = str(json_of(answer).get("error", ""))
        if answer.status_code == 429 or answer.status_code >= 500:
            sleep(retry_after(answer, attempt))
        elif error == "slow_down":
            interval += SLOW_DOWN
        elif error != "authorization_pending":
            raise _ended(answer, error)
        if time.monotonic() >= code.expires_at:
            raise _expired()


def _post(connection: Connection, url: str, form: Mapping[str, str], proofs: Proofs) -> httpx.Response:
    for _ in range(3):
        answer = connection.send("POST", url, data=dict(form), headers=dict(proofs.headers("POST", url)))
        if not proofs.note(answer):
            break
    return answer


def _ended(answer: httpx.Response, error: str) -> WherryError:
    if error in ("expired_token", "code_expired"):
        return _expired()
    if error in ("authorization_declined", "access_denied"):
        detail = error_of(answer).message
        return SignInFailed("denied", f"The request was denied on the sign-in page. {detail}".strip())
    return SignInFailed("refused", f"The sign-in was refused: {error_of(answer).message} ({error})")


def _expired() -> SignInFailed:
    return SignInFailed(
        "expired", "The code expired before anybody approved it. Start again and enter the new code."
    )
