"""`wherry serve`: one control plane in this process, from opening its state to a clean end.

The socket is bound before anything else is started, so that port 0 is known when the certificate and the issuer are
made; the ready line is printed when connections are accepted.  SIGTERM and SIGINT end it with 0: long polls are
answered, transactions finished, counts written.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import logging
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn
import uvloop

from wherry.control import breakglass, deployment, journal, outbound
from wherry.control.app import create_app
from wherry.control.connections import BoundedConnection
from wherry.control.deployment import Deployment
from wherry.control.plane import Plane
from wherry.control.settings import Settings, hosts_of
from wherry.control.shown_certificate import Files, kept_fresh
from wherry.model.errors import UsageError

log = logging.getLogger("wherry.control")

STOP_SECONDS = 10
KEEP_ALIVE_SECONDS = 75
_PARTING_SECONDS = 0.5
_LOCAL = ("localhost", "127.0.0.1", "::1")


def run(
    state: Path,
    listen: str,
    public_url: str | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    log_level: str = "info",
    *,
    break_glass: bool = True,
    master_key: str | None = None,
) -> int:
    """Serve until told to stop; the exit code.  Raises `UsageError` for everything that a person can put right.

    Prints `{"ready": true, "url": …}` on standard output when it accepts connections, and on the first start of a new
    state the first administrator's password on standard error, once.
    """
    if (tls_cert is None) != (tls_key is None):
        raise UsageError("--tls-cert and --tls-key belong together.")
    journal.start(log_level)
    os.umask(0o077)
    with _bound(listen) as bound, _opened(state, master_key) as opened:
        _tell_password(opened)
        host = _host_name(bound, listen)
        url = _public_url(public_url) or f"https://{_in_url(host)}:{bound.getsockname()[1]}"
        settings = Settings.load(opened.state, os.environ)
        further = hosts_of(settings.further_hosts)
        plane = _plane(opened, bound, (host, *further), url, settings)
        files = _files(opened, _names(host, url, further), tls_cert, tls_key)
        files.renew()
        opened.publish(url, opened.ca_file if tls_cert is None else tls_cert.absolute())
        server = _server(plane, files, log_level)
        guarded = outbound.guarding(settings.outbound_networks)
        with guarded, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(server, bound, files, plane, break_glass=break_glass))
    return 0


class _Server(uvicorn.Server):
    """uvicorn that says when it is ready and ends without raising its signals again."""

    def __init__(self, config: uvicorn.Config, plane: Plane) -> None:
        super().__init__(config)
        self._plane = plane

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            print(json.dumps({"ready": True, "url": self._plane.public_url}), flush=True)  # noqa: T201
            _tell_systemd("READY=1")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        parting = asyncio.create_task(self._drop_idle())
        try:
            await super().shutdown(sockets)
        finally:
            parting.cancel()

    async def _drop_idle(self) -> None:
        """Break off what has no request under way: a peer that never says goodbye would hold up the end."""
        while True:
            await asyncio.sleep(_PARTING_SECONDS)
            if self.server_state.tasks:
                continue
            for connection in list(self.server_state.connections):
                if connection.transport is not None:
                    connection.transport.abort()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        yield

    def _stop(self) -> None:
        self._plane.stopping.set()
        self.should_exit = True


def _tell_systemd(line: str) -> None:
    """What a unit of `Type=notify` waits for; nobody is told where nobody asked."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as teller:
        try:
            teller.sendto(line.encode(), f"\0{address[1:]}" if address.startswith("@") else address)
        except OSError as trouble:
            log.warning("systemd cannot be told that the service is ready", extra={"reason": str(trouble)})


async def _serve(
    server: _Server, bound: socket.socket, files: Files, plane: Plane, *, break_glass: bool
) -> None:
    state, context = plane.state, server.config.ssl
    assert state is not None  # noqa: S101 - of every plane that is served
    assert context is not None  # noqa: S101 - there is no service without TLS
    breakglass.remove(state)
    async with contextlib.AsyncExitStack() as stack:
        if break_glass:
            await stack.enter_async_context(breakglass.listening(plane, state))
        await stack.enter_async_context(kept_fresh(context, files, plane.settings.certificate_seconds))
        await server.serve([bound])
    log.info("stopped")


def _files(opened: Deployment, names: list[str], tls_cert: Path | None, tls_key: Path | None) -> Files:
    """The certificate of the operator, or ours, which is made anew when it is not there or near its end."""
    if tls_cert is not None and tls_key is not None:
        return Files(tls_cert, tls_key)
    renew = partial(_renew, opened, names)
    return Files(opened.certificate_file, opened.key_file, renew)


def _renew(opened: Deployment, names: list[str]) -> None:
    opened.ensure_certificate(names, time.time())


def _server(plane: Plane, files: Files, log_level: str) -> _Server:
    config = uvicorn.Config(
        create_app(plane),
        http=BoundedConnection,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning" if log_level == "info" else log_level,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
        ssl_certfile=str(files.certificate),
        ssl_keyfile=str(files.key),
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as broken:
        raise UsageError(
            f"The certificate {files.certificate} or its key {files.key} cannot be used: {broken}."
        ) from broken
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    return _Server(config, plane)


def _plane(
    opened: Deployment, bound: socket.socket, hosts: Iterable[str], url: str, settings: Settings
) -> Plane:
    port = bound.getsockname()[1]
    return Plane(
        opened.database,
        opened.master,
        opened.tenant,
        opened.subscription,
        url,
        opened.ca_file.read_text(),
        origins=frozenset(f"https://{_in_url(name)}:{port}" for name in (*hosts, *_LOCAL)),
        settings=settings,
        state=opened.state,
    )


@contextlib.contextmanager
def _bound(listen: str) -> Iterator[socket.socket]:
    host, port = _host_and_port(listen)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as trouble:
        raise UsageError(f"Cannot listen on {listen}: {trouble.strerror}.") from trouble
    with bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(address)
        except OSError as trouble:
            raise UsageError(f"Cannot listen on {listen}: {trouble.strerror}.") from trouble
        bound.set_inheritable(False)
        yield bound


@contextlib.contextmanager
def _opened(state: Path, master_key: str | None) -> Iterator[Deployment]:
    opened = deployment.create_or_open(state, key_from=master_key)
    try:
        yield opened
    finally:
        opened.close()


def _host_and_port(listen: str) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"'{listen}' is not HOST:PORT, such as 127.0.0.1:8443 or [::]:8443.")
    return host.strip("[]"), int(port)


def _host_name(bound: socket.socket, listen: str) -> str:
    """The name that this control plane goes by: the one it listens on, the machine's for all addresses."""
    host, _ = _host_and_port(listen)
    if not host or ipaddress.ip_address(bound.getsockname()[0].partition("%")[0]).is_unspecified:
        return socket.gethostname()
    return host


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _names(host: str, url: str, further: Iterable[str]) -> list[str]:
    public = urlsplit(url).hostname or host
    return list(dict.fromkeys([host, public, *_below(public), *further, *_LOCAL]))


def _below(public: str) -> list[str]:
    """The names of vaults, where the control plane goes by a name itself."""
    try:
        ipaddress.ip_address(public)
    except ValueError:
        return [f"*.vault.{public}"]
    return []


def _public_url(text: str | None) -> str | None:
    if text is None:
        return None
    parts = urlsplit(text.rstrip("/"))
    if parts.scheme != "https" or not parts.hostname or parts.path or parts.query or parts.username:
        raise UsageError(f"--public-url must be https://HOST[:PORT] and nothing more, not '{text}'.")
    return text.rstrip("/")


def _tell_password(opened: Deployment) -> None:
    if opened.first_password is not None:
        line = f"First administrator: user name admin, password {opened.first_password} (shown this once)"
        print(line, file=sys.stderr, flush=True)  # noqa: T201
        opened.first_password = None
