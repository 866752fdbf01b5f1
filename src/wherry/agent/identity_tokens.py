"""Between an agent and an identity endpoint that is a process of its own: tokens over a Unix socket.

The agent keeps its key and the chain of its proofs to itself; the endpoint, which every program of the machine can send
to, has nothing but this socket.  The agent asks the kernel who is at the other end, and gives tokens for the allowed
audiences only, whatever the endpoint asks for.  One line of JSON each way, one request a connection.
Called by `daemon`; `asked_at` by `wherry agent identity-endpoint`.
"""

from __future__ import annotations

import json
import logging
import os
import pwd
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from wherry.agent.identity_endpoint import IdentityEndpoint, IdentityOptions, Issue
from wherry.agent.log_lines import tell
from wherry.client.connection import Unreachable
from wherry.client.proven import IdentityGone
from wherry.model.errors import ApiError, UsageError

_LONGEST = 65536
_ASKING_SECONDS = 10.0
_ANSWER_SECONDS = 60.0
_PEER = struct.Struct("3i")


@contextmanager
def served(options: IdentityOptions | None, issue: Issue, state: Path) -> Iterator[int]:
    """Serve programs of this machine while the block runs, when the owner asked for it; at a port, else 0."""
    if options is None:
        yield 0
        return
    made = IdentityEndpoint(options, issue, state) if options.socket is None else TokenSocket(options, issue)
    with closing(made):
        yield made.port


class TokenSocket:
    """Gives an endpoint tokens from its making until `close`.  `port` is where that endpoint is to listen."""

    def __init__(self, options: IdentityOptions, issue: Issue) -> None:
        if options.socket is None:
            raise UsageError("The socket of the identity endpoint is not named.")
        self.port = options.port
        self._path = options.socket
        # One that a killed agent has left; another living one would hold the lock of the state directory.
        self._path.unlink(missing_ok=True)
        try:
            self._server = _Server(str(self._path), options, issue)
        except OSError as trouble:
            raise UsageError(f"The socket {self._path} cannot be made: {trouble.strerror}.") from trouble
        # Who may ask is decided by who they are, not by who may open it.
        self._path.chmod(0o666)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="tokens", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop giving tokens."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._path.unlink(missing_ok=True)


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 16

    def __init__(self, path: str, options: IdentityOptions, issue: Issue) -> None:
        self.user = options.user
        self.audiences = frozenset(one.removesuffix("/") for one in options.audiences)
        self.issue = issue
        super().__init__(path, _Handler)


class _Handler(socketserver.StreamRequestHandler):
    server: _Server
    timeout = _ASKING_SECONDS

    def handle(self) -> None:
        try:
            answer = self._answer()
        except (OSError, ValueError):
            return
        self.wfile.write(json.dumps(answer).encode() + b"\n")

    def _answer(self) -> dict[str, Any]:
        _, uid, _ = _PEER.unpack(self.request.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
        if not _is(uid, self.server.user):
            tell(logging.WARNING, "identity.refused", "Another user asked for tokens.", uid=uid)
            return _refused(403, "forbidden", "Only the identity endpoint is served here.")
        asked = json.loads(self.rfile.readline(_LONGEST))
        resource = str(asked["resource"]) if isinstance(asked, dict) and "resource" in asked else ""
        if resource.removesuffix("/") not in self.server.audiences:
            return _refused(400, "invalid_resource", "Tokens for this resource are not given here.")
        try:
            return {"token": self.server.issue(resource)}
        except ApiError as refused:
            return _refused(refused.status, refused.code, refused.message)
        except IdentityGone as gone:
            return _refused(403, "identity_deleted", str(gone))
        except Unreachable as trouble:
            return _refused(503, "temporarily_unavailable", str(trouble))


def asked_at(path: Path) -> Issue:
    """How an endpoint gets tokens from the agent that serves the socket at `path`."""

    def issue(resource: str) -> dict[str, Any]:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
                line.settimeout(_ANSWER_SECONDS)
                line.connect(str(path))
                line.sendall(json.dumps({"resource": resource}).encode() + b"\n")
                with line.makefile("rb") as answers:
                    found = json.loads(answers.readline(_LONGEST))
        except (OSError, ValueError) as trouble:
            raise Unreachable(
                "The agent gives no tokens: it does not run, or is not registered."
            ) from trouble
        if "error" in found:
            error = found["error"]
            raise ApiError(int(error["status"]), str(error["code"]), str(error["message"]))
        token: dict[str, Any] = found["token"]
        return token

    return issue


def _is(uid: int, user: str | None) -> bool:
    """Whether this is the agent's own user, or `user`, who may come and go with its service."""
    if uid == os.geteuid():
        return True
    try:
        return user is not None and pwd.getpwnam(user).pw_uid == uid
    except KeyError:
        return False


def _refused(status: int, code: str, message: str) -> dict[str, Any]:
    return {"error": {"status": status, "code": code, "message": message}}
