"""An HTTPS server in this process that answers as a test tells it, also in ways that a real control plane never would.

It has a certificate authority of its own, made by `trust.authority`; `authority` adds discovery and a token endpoint
that check proofs and assertions for real.
"""

from __future__ import annotations

import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from wherry.trust import authority, proofs
from wherry.trust.keys import PrivateKey
from wherry.trust.proofs import NonceNeeded, Nonces
from wherry.trust.signed import Untrusted

TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "99999999-8888-7777-6666-555555555555"


@dataclass(frozen=True)
class Request:
    """What came in."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.body.decode()).items()}


@dataclass(frozen=True)
class Answer:
    """What goes out; status 0 drops the connection without a word."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


DROP = Answer(0)
Handler = Callable[[Request], Answer]


class TlsServer:
    """A running server; `on` says who answers what, the latest first."""

    def __init__(
        self, folder: Path, hosts: tuple[str, ...] = ("127.0.0.1",), address: str = "127.0.0.1"
    ) -> None:
        now = time.time()
        self.ca = authority.create_ca("test", now)
        leaf = authority.issue_server(self.ca, hosts, now)
        self.ca_file = folder / "ca.pem"
        self.ca_file.write_bytes(self.ca.certificate)
        chain = folder / "server.pem"
        chain.write_bytes(leaf.certificate + leaf.key)
        self.clock: Callable[[], float] = time.time
        self.requests: list[Request] = []
        self._handlers: list[tuple[str, re.Pattern[str], Handler]] = []
        self._server = _Listener((address, 0), _make(self))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        self._server.context = context
        self.url = f"https://{address}:{self._server.server_address[1]}"

    def on(self, method: str, path: str, handler: Handler | Answer) -> None:
        """Answer `method` on paths that match `path` wholly by `handler`."""
        found: Handler = (lambda _request: handler) if isinstance(handler, Answer) else handler
        self._handlers.insert(0, (method, re.compile(path), found))

    def script(self, method: str, path: str, *answers: Answer) -> None:
        """Answer one after the other; the last one for ever."""
        left = list(answers)
        self.on(method, path, lambda _request: left.pop(0) if len(left) > 1 else left[0])

    def seen(self, path: str) -> list[Request]:
        """The requests so far whose path matches wholly."""
        return [one for one in self.requests if re.fullmatch(path, one.path)]

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        for method, path, handler in self._handlers:
            if method == request.method and path.fullmatch(request.path):
                return handler(request)
        return Answer(404, {"error": {"code": "NotFound", "message": f"no {request.path}"}})


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    context: ssl.SSLContext

    def finish_request(self, request: Any, client_address: Any) -> None:
        try:
            secured = self.context.wrap_socket(request, server_side=True)
        except (ssl.SSLError, OSError):
            return
        try:
            super().finish_request(secured, client_address)
        except (ssl.SSLError, OSError):
            return
        finally:
            secured.close()


def _make(owner: TlsServer) -> type[BaseHTTPRequestHandler]:
    class _Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length", "0"))
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(length)
            answer = owner.answer(Request(self.command, parts.path, parts.query, headers, body))
            if answer.status == 0:
                self.close_connection = True
                return
            content = (
                answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body or {}).encode()
            )
            if answer.status == 204:
                content = b""
            self.send_response_only(answer.status)
            self.send_header("Date", formatdate(owner.clock(), usegmt=True))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - named by the port

        def log_message(self, *args: object) -> None:
            """Silent."""

    return _Handler


@contextmanager
def tls_server(
    folder: Path, hosts: tuple[str, ...] = ("127.0.0.1",), address: str = "127.0.0.1"
) -> Iterator[TlsServer]:
    """A server for the length of a test."""
    folder.mkdir(parents=True, exist_ok=True)
    server = TlsServer(folder, hosts, address)
    thread = threading.Thread(target=server._server.serve_forever, kwargs={"poll_interval": 0.005})
    thread.start()
    try:
        yield server
    finally:
        server._server.shutdown()
        thread.join()
        server._server.server_close()


class Authority:
    """Discovery, tokens and the door of the agent protocol, with real checks of proofs."""

    def __init__(self, server: TlsServer) -> None:
        self.server = server
        self.nonces = Nonces(b"n" * 32)
        self.issuer = f"{server.url}/{TENANT}/v2.0"
        self.token_endpoint = f"{server.url}/{TENANT}/oauth2/v2.0/token"
        self.tokens: list[str] = []
        self.revoked: set[str] = set()
        self.deleted = False
        self.key: PrivateKey | None = None
        server.on("GET", "/[^/]+/v2.0/.well-known/openid-configuration", self._discovery)

    def _discovery(self, request: Request) -> Answer:
        base = f"{self.server.url}/{request.path.split('/')[1]}/oauth2/v2.0"
        return Answer(
            200,
            {
                "issuer": self.issuer,
                "token_endpoint": f"{base}/token",
                "device_authorization_endpoint": f"{base}/devicecode",
            },
        )

    def proven(self, request: Request, token: str | None = None) -> Answer | None:
        """None when the request carries a good proof, else the refusal."""
        nonce = {"DPoP-Nonce": self.nonces.issue(self.server.clock())}
        try:
            proofs.verify_dpop(
                request.headers.get("dpop", ""),
                method=request.method,
                urls=[self.server.url + request.path],
                now=self.server.clock(),
                nonces=self.nonces,
                access_token=token,
            )
        except NonceNeeded:
            return Answer(401, {"error": {"code": "use_dpop_nonce", "message": "nonce"}}, nonce)
        except Untrusted as refused:
            return Answer(401, {"error": {"code": "invalid_dpop_proof", "message": str(refused)}})
        return None

    def agent_tokens(self, key: PrivateKey, lifetime: float = 600) -> None:
        """Serve access tokens to the agent with `key`."""

        def token(request: Request) -> Answer:
            if refused := self.proven(request):
                code = refused.body["error"]["code"]
                return Answer(400, {"error": code, "error_description": "AADSTS9009: no."}, refused.headers)
            if self.deleted:
                text = "AADSTS700027: The client assertion was refused: identity_deleted: gone. Trace ID: x"
                return Answer(401, {"error": "invalid_client", "error_description": text})
            try:
                assertion = request.form["client_assertion"]
                proofs.verify_assertion(assertion, key.public, CLIENT, self.issuer, now=self.server.clock())
            except Untrusted as refused:
                return Answer(400, {"error": "invalid_client", "error_description": str(refused)})
            self.tokens.append(f"token-{len(self.tokens) + 1}")
            return Answer(
                200, {"access_token": self.tokens[-1], "expires_in": lifetime, "token_type": "DPoP"}
            )

        self.server.on("POST", f"/{TENANT}/oauth2/v2.0/token", token)

    def guard(self, handler: Handler | Answer) -> Handler:
        """`handler` behind a door that wants a living token and a proof."""

        def guarded(request: Request) -> Answer:
            scheme, _, token = request.headers.get("authorization", "").partition(" ")
            if scheme != "DPoP" or token not in self.tokens or token in self.revoked:
                return Answer(401, {"error": {"code": "invalid_token", "message": "The token is not good."}})
            if refused := self.proven(request, token):
                return refused
            if self.deleted:
                return Answer(401, {"error": {"code": "identity_deleted", "message": "gone"}})
            return handler if isinstance(handler, Answer) else handler(request)

        return guarded
