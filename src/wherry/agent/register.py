"""Registration: from a key that nobody knows to an agent that a person has vouched for.

`register` is a generator of steps; whoever calls it shows them (command line, shell).  Until the last step nothing
exists at the control plane but a pending code, and an agent is registered here exactly when it is there: the last
step cannot be interrupted, and what cannot be kept here is given back.  Where the power fails in it, the next
registration under the same name, by the same key, gets what that one has made.
"""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import httpx

from wherry import __version__
from wherry.agent import facts
from wherry.agent.state import AgentState, Registration
from wherry.client import device_code, pinning
from wherry.client.agent_protocol import AgentProtocol
from wherry.client.connection import Connection, Json, error_of, json_of, pause, retry_after, unreachable
from wherry.client.device_code import DeviceCode, Endpoints
from wherry.client.profile import https_url
from wherry.client.proven import InMemory, KeyProofs, refusal
from wherry.model import ids
from wherry.model.errors import ApiError, UsageError, WherryError
from wherry.trust.enrolment import AGENT_CLIENT_ID, EnrolmentRequest, key_words
from wherry.trust.keys import PrivateKey

SCOPE = "https://management.azure.com/agent.register"
_TENANT = "organizations"
_ATTEMPTS = 6
_PUT_OFF = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)

StepName = Literal["trust", "connect", "key", "code", "approved", "registered", "unregistered"]


@dataclass(frozen=True, slots=True)
class Step:
    """Something that is done; `code` is to be shown to a person in the step of that name."""

    name: StepName
    text: str
    code: DeviceCode | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asks for.  Without `url` and certificate, the control plane that is trusted already is meant."""

    subscription: str
    group: str
    mover: str
    agent: str
    url: str | None = None
    ca_file: Path | None = None
    ca_fingerprint: str | None = None
    private_link_scope: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    def request(self) -> EnrolmentRequest:
        """What the consent is about; `UsageError` for names that cannot be."""
        for value, pattern, what in (
            (self.subscription, ids.GUID, "subscription ID"),
            (self.group, ids.GROUP_NAME, "resource group name"),
            (self.mover, ids.NAME, "storage mover name"),
            (self.agent, ids.AGENT_NAME, "agent name"),
        ):
            if not pattern.fullmatch(value):
                raise UsageError(f"'{value}' is not a valid {what}.")
        mover = ids.mover_id(self.subscription, self.group, self.mover)
        return EnrolmentRequest(mover, self.agent, facts.host_name(), __version__, self._scope(mover))

    def _scope(self, mover: str) -> str:
        """The id of the private link scope: as given, or of that name in the mover's resource group."""
        told = self.private_link_scope
        if not told or "/" in told:
            return told
        group = mover.partition("/providers/")[0]
        return f"{group}/providers/Microsoft.HybridCompute/privateLinkScopes/{told}"


def wanted_again(state: AgentState) -> Wanted:
    """What a registered agent asks for to be registered again, after it was locked or has expired."""
    known = state.registration()
    if known is None:
        raise UsageError("This agent is not registered. Register it: wherry agent register.")
    mover = ids.ResourceId.parse(known.mover)
    return Wanted(
        mover.subscription,
        str(mover.group),
        mover.name,
        known.agent,
        private_link_scope=known.private_link_scope,
    )


def register(
    state: AgentState,
    wanted: Wanted,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.time,
    *,
    again: bool = False,
) -> Generator[Step, None, None]:
    """Register this agent, step by step; `again` replaces a registration that is in force here, with a new key.

    Raises `UsageError` (asked for wrongly, registered already), `WrongFingerprint`, `Unreachable`, `SignInFailed`
    (expired, denied) and `ApiError` (unknown mover, name taken, not allowed); afterwards nothing is half made.
    """
    request = wanted.request()
    with state.alone("register"):
        known = state.registration()
        if known is not None and not again:
            raise UsageError(
                f"This agent is already registered as {known.agent_id}. Unregister it first to register it anew; if it "
                "was locked or has expired: wherry agent re-enrol."
            )
        yield trust(state, wanted.url, wanted.ca_file, wanted.ca_fingerprint)
        url = str(state.server)
        with Connection(
            url, state.ca_file, private=bool(request.private_link_scope), way=state.way()
        ) as connection:
            endpoints = Endpoints.discover(connection, _TENANT)
            yield Step("connect", f"Connected to {url}; its certificate is the trusted one.")
            key = PrivateKey.for_agent() if again else state.key()
            proofs = KeyProofs(key, clock)
            words = key_words(key.public.thumbprint)
            yield Step(
                "key", f"The agent's key is ready and never leaves this machine. Its words are {words}."
            )
            form = {
                "client_id": AGENT_CLIENT_ID,
                "scope": SCOPE,
                "authorization_details": json.dumps([request.details()]),
            }
            code = device_code.request(connection, endpoints, form, proofs)
            yield Step("code", _instruction(code, request, words), code)
            answer = device_code.redeem(connection, endpoints, code, AGENT_CLIENT_ID, proofs, sleep)
            yield Step("approved", "The request was approved.")
            with _uninterrupted():
                body = _body(state, url, wanted, request, key)
                token = str(answer.get("access_token", ""))
                registration = _finish(state, connection, proofs, request, key, token, body)
            yield Step("registered", f"Registered as {registration.agent_id}.")


def trust(
    state: AgentState, url: str | None, ca_file: Path | None = None, ca_fingerprint: str | None = None
) -> Step:
    """Pin the control plane at `url` by a file or a fingerprint; with neither, keep the one that is pinned."""
    if ca_file is None and ca_fingerprint is None:
        known = state.server
        if known is not None and (url is None or https_url(url, "The URL") == known):
            return Step("trust", f"{known} was trusted before.")
        raise UsageError(
            "Give the control plane's URL and its certificate authority: a file, or the SHA-256 fingerprint."
        )
    if url is None:
        raise UsageError("Give the control plane's URL together with its certificate authority.")
    url = https_url(url, "The URL")
    if ca_file is not None:
        certificate = pinning.certificate_from_file(ca_file)
        how = f"as signed by the authority in {ca_file}"
    else:
        certificate = pinning.fetch_certificate(url, ca_fingerprint or "", state.way())
        how = "because the fingerprint of its authority is the given one"
    state.trust_server(url, certificate)
    return Step("trust", f"{url} is trusted, {how}.")


def _instruction(code: DeviceCode, request: EnrolmentRequest, words: str) -> str:
    number = f" The number that the page asks for is {code.match}." if code.match else ""
    minutes = int(code.lifetime // 60)
    return (
        f"On any machine with a browser open {code.url}, sign in and enter the code {code.user_code}.{number} "
        f"It asks to register the agent {request.agent_name}, whose key has the words {words}, and is good for "
        f"{minutes} minutes."
    )


def _finish(
    state: AgentState,
    connection: Connection,
    proofs: KeyProofs,
    request: EnrolmentRequest,
    key: PrivateKey,
    token: str,
    body: dict[str, Any],
) -> Registration:
    """The last step: there and here."""
    try:
        made = _put(connection, proofs, token, body)
    except ApiError as refused:
        if refused.code == "KeyInUse":
            state.forget()
            raise ApiError(
                409,
                refused.code,
                "This agent's key belongs to an earlier registration. It has been wiped. Start again.",
            ) from refused
        raise
    registration, join = _registration(connection.url, request, made), str(made.get("joinState", ""))
    try:
        state.kept.begin(key, join)
        state.keep_registration(registration)
    except OSError as trouble:
        raise _give_back(state, registration, InMemory(key, join), trouble) from trouble
    return registration


def _give_back(state: AgentState, made: Registration, kept: InMemory, trouble: OSError) -> UsageError:
    """What cannot be kept here must not be there, either; what to tell a person."""
    protocol = AgentProtocol(made.identity(state.ca_file, kept, state.way()))
    try:
        protocol.unregister()
        left = "Nothing is left of it. Make room, and start again."
    except WherryError:
        left = f"It could not be given back: make room, delete {made.agent_id}, and start again."
    finally:
        protocol.close()
    with contextlib.suppress(OSError):
        state.forget()
    return UsageError(f"The registration cannot be kept in {state.directory}: {trouble.strerror}. {left}")


def _body(
    state: AgentState, url: str, wanted: Wanted, request: EnrolmentRequest, key: PrivateKey
) -> dict[str, Any]:
    told: dict[str, Any] = {"mover": request.mover, "agent": request.agent_name, "key": key.public.jwk()}
    if request.private_link_scope:
        told["privateLinkScope"] = request.private_link_scope
    if wanted.tags:
        told["tags"] = dict(wanted.tags)
    return {**told, **facts.registration(url, state)}


def _put(connection: Connection, proofs: KeyProofs, token: str, body: dict[str, Any]) -> Json:
    """Register.  The same token and key get the same answer again, so a lost one is asked for again."""
    url = connection.absolute("/agent/v1/registration")
    for attempt in range(1, _ATTEMPTS + 1):
        headers = dict(proofs.headers("PUT", url, token))
        try:
            answer = connection.send("PUT", url, json=body, headers=headers)
        except httpx.TransportError as trouble:
            if attempt == _ATTEMPTS:
                raise unreachable(connection.url, trouble) from trouble
            time.sleep(pause(attempt))
            continue
        if answer.status_code < 400:
            return json_of(answer)
        if proofs.note(answer):
            continue
        if answer.status_code not in (429, 500, 502, 503, 504) or attempt == _ATTEMPTS:
            break
        time.sleep(retry_after(answer, attempt))
    if answer.status_code == 401:
        raise ApiError(
            401, refusal(answer), "The control plane does not accept the approval any more. Start again."
        )
    raise error_of(answer)


def _registration(url: str, request: EnrolmentRequest, made: Json) -> Registration:
    try:
        return Registration(
            url=url,
            mover=request.mover,
            agent=request.agent_name,
            agent_id=str(made["agentId"]),
            machine_id=str(made["machineId"]),
            principal_id=str(made["principalId"]),
            client_id=str(made["clientId"]),
            tenant_id=str(made["tenantId"]),
            token_endpoint=str(made["tokenEndpoint"]),
            issuer=str(made["issuer"]),
            heartbeat_seconds=float(made["heartbeatSeconds"]),
            private_link_scope=request.private_link_scope,
        )
    except (KeyError, ValueError, TypeError) as broken:
        raise ApiError(
            502,
            "InvalidAnswer",
            "The answer to the registration is malformed. Delete the agent, start again.",
        ) from broken


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put Ctrl-C, a closed terminal and a request to end off until the end.

    Ctrl-C then counts only if what was done has failed, the others in any case.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        pressed.append(number)

    before = {number: signal.signal(number, note) for number in _PUT_OFF}
    try:
        yield
    except BaseException:
        if signal.SIGINT in pressed:
            raise KeyboardInterrupt from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for told in pressed:
            if told != signal.SIGINT:
                signal.raise_signal(told)
