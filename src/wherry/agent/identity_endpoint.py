"""The machine's identity endpoint, in the shape of Azure Arc's: programs of the machine get tokens of its identity.

Off unless asked for, on 127.0.0.1 only.  A request has to carry what neither a browser nor a fooled server sends, then
prove that it can read a file (`challenges`).  Only allowed audiences are served, and the control plane allows no more
than data planes: nobody gets to the resource API this way.  Called by `agent.daemon`, or in a process of its own that
asks the agent for tokens (`identity_tokens`).
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from wherry.agent.challenges import FOLDER, Challenges
from wherry.agent.log_lines import tell
from wherry.client import kept_file
from wherry.client.connection import Unreachable
from wherry.client.proven import IdentityGone
from wherry.model.errors import ApiError, UsageError, WherryError

PATH = "/metadata/identity/oauth2/token"
VERSIONS = frozenset({"2019-08-15", "2019-11-01", "2020-06-01", "2021-02-01"})
AUDIENCES = ("https://vault.azure.net",)
"""What tokens are given for unless the owner of the machine says otherwise."""

PORT_FILE = "identity-endpoint.port"
_RELAYED = ("X-Forwarded-For", "Forwarded", "Via", "Origin", "Referer")
_SELECTORS = ("client_id", "object_id", "principal_id", "msi_res_id", "mi_res_id")
_EARLY = 120.0
_LONGEST_DELAY = 5.0
_TIMEOUT = 10.0

Issue = Callable[[str], dict[str, Any]]
"""Asks the control plane for a token for a resource."""


@dataclass(frozen=True, slots=True)
class IdentityOptions:
    """What the owner of the machine says: `wherry agent run`'s options of this name.

    With a `socket` the endpoint is a process of its own, run by `user`, that asks there.
    """

    port: int
    audiences: tuple[str, ...] = AUDIENCES
    group: str | None = None
    folder: Path = FOLDER
    socket: Path | None = None
    user: str | None = None


class Refused(WherryError):
    """A request that gets no token; `error` in OAuth's words."""

    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error = error


class IdentityEndpoint:
    """The endpoint while the agent is at work; `close` ends it.  `port` is the one that it listens on."""

    def __init__(self, options: IdentityOptions, issue: Issue, state: Path) -> None:
        self.options = options
        self._issue = issue
        self._port_file = state / PORT_FILE
        self.challenges = Challenges(options.folder, options.group, time.monotonic)
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[dict[str, Any], float]] = {}
        self._failures = 0
        self._closing = threading.Event()
        try:
            self._server = _Server(("127.0.0.1", options.port), self)
        except OSError as trouble:
            self.challenges.close()
            raise UsageError(
                f"Cannot serve the identity endpoint on port {options.port}: {trouble.strerror}."
            ) from trouble
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), name="identity")
        self._thread.start()
        kept_file.replace(self._port_file, f"{self.port}\n".encode())
        tell(logging.INFO, "identity.endpoint", "Programs of this machine get tokens.", port=self.port)

    def close(self) -> None:
        """Stop listening and take all challenges away."""
        self._closing.set()
        kept_file.remove(self._port_file)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self.challenges.close()

    def answer(self, request: BaseHTTPRequestHandler) -> dict[str, Any] | Path:
        """A token, or the challenge to redeem for one; `Refused` for what comes from elsewhere or asks too much."""
        resource = self._admitted(request)
        given = request.headers.get("Authorization")
        if given is None:
            return self.challenges.make()
        scheme, _, secret = given.partition(" ")
        if scheme.lower() != "basic" or not self.challenges.redeem(secret.strip()):
            self._slow_down()
            raise Refused(401, "invalid_client", "The challenge is unknown, used or over: ask for a new one.")
        self._failures = 0
        return self._token(resource)

    def _admitted(self, request: BaseHTTPRequestHandler) -> str:
        """The resource that is asked for, when the request may ask at all."""
        url = urlsplit(request.path)
        if url.path != PATH:
            raise Refused(404, "not_found", f"Only {PATH} is served here.")
        if request.headers.get("Host", "").lower() not in (
            f"localhost:{self.port}",
            f"127.0.0.1:{self.port}",
        ):
            raise Refused(403, "forbidden", "This endpoint goes by no other name than localhost.")
        if any(name in request.headers for name in _RELAYED):
            raise Refused(403, "forbidden", "Relayed requests and those of browsers are refused.")
        if request.headers.get("Metadata", "").lower() != "true":
            raise Refused(400, "invalid_request", "The header 'Metadata: true' is required.")
        asked = parse_qs(url.query, max_num_fields=16)
        if asked.get("api-version", [""])[0] not in VERSIONS:
            raise Refused(
                400, "invalid_request", f"api-version must be one of {', '.join(sorted(VERSIONS))}."
            )
        if any(name in asked for name in _SELECTORS):
            raise Refused(400, "invalid_request", "There is one identity here, that of the machine.")
        resource = asked.get("resource", [""])[0].removesuffix("/")
        if resource not in {one.removesuffix("/") for one in self.options.audiences}:
            raise Refused(400, "invalid_resource", "Tokens for this resource are not given here.")
        return resource

    def _slow_down(self) -> None:
        """Guessing gets slower and slower; the closing of the endpoint does not wait for it."""
        self._failures += 1
        self._closing.wait(min(_LONGEST_DELAY, 0.05 * 2 ** min(self._failures, 10)))

    def _token(self, resource: str) -> dict[str, Any]:
        with self._lock:
            found, good_until = self._kept.get(resource, ({}, 0.0))
            if time.monotonic() < good_until:
                return found
            try:
                found = self._issue(resource)
            except ApiError as refused:
                status = refused.status if refused.status in (400, 403) else 503
                raise Refused(status, refused.code, refused.message) from refused
            except IdentityGone as gone:
                raise Refused(403, "identity_deleted", str(gone)) from gone
            except Unreachable as trouble:
                raise Refused(503, "temporarily_unavailable", str(trouble)) from trouble
            self._kept[resource] = (found, time.monotonic() + float(found["expires_in"]) - _EARLY)
            return found


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 16

    def __init__(self, address: tuple[str, int], endpoint: IdentityEndpoint) -> None:
        self.endpoint = endpoint
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _TIMEOUT
    server_version = "identity"
    sys_version = ""

    def do_GET(self) -> None:
        try:
            found = self.server.endpoint.answer(self)
        except Refused as refused:
            tell(logging.WARNING, "identity.refused", str(refused), error=refused.error)
            self._send(refused.status, {"error": refused.error, "error_description": str(refused)})
            return
        if isinstance(found, Path):
            self._send(401, {"error": "invalid_client"}, f"Basic realm={found}")
        else:
            self._send(200, found)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what matters is told by the endpoint, and headers never are."""

    def _send(self, status: int, body: dict[str, Any], challenge: str = "") -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Cache-Control", "no-store")
        if challenge:
            self.send_header("WWW-Authenticate", challenge)
        self.end_headers()
        self.wfile.write(text)


def environment(state: Path) -> dict[str, str]:
    """The variables by which Azure's clients on this machine find the endpoint of a running agent."""
    try:
        port = int((state / PORT_FILE).read_text())
    except (FileNotFoundError, ValueError):
        raise UsageError(
            "No identity endpoint is served here. Start the agent with: wherry agent run --identity-endpoint PORT"
        ) from None
    return {
        "IDENTITY_ENDPOINT": f"http://127.0.0.1:{port}{PATH}",
        "IMDS_ENDPOINT": f"http://127.0.0.1:{port}",
    }
