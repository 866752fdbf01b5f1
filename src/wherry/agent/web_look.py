"""One request to a web service, and all that can be told of the answer but its body.

The name is looked up once and every address is judged before one is connected to: neither link-local addresses, where
clouds tell machines their secrets, nor this agent's own identity endpoint is asked anything.  A redirect is shown and
not followed, a body not read.  Called by the restricted shell.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import SplitResult, urlsplit

from wherry.agent.identity_endpoint import PORT_FILE
from wherry.agent.lookup import look_up
from wherry.agent.state import AgentState
from wherry.client.outward import context_for
from wherry.model import addresses, hosts
from wherry.model.errors import UsageError
from wherry.model.way import Proxy, Way
from wherry.stores.http.tunnel import ProxyRefused, open_way

SECONDS = 10.0
METHODS = ("HEAD", "GET")
_MOST_HEADERS = 50
_AGENT = "wherry-agent-check"


def look(state: AgentState, url: str, method: str = "HEAD") -> Iterator[str]:
    """Lines about an answer: address, TLS, status, headers; raises `UsageError` and `OSError`."""
    parts = _split(url)
    host, secure = str(parts.hostname), parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    if port == _identity_port(state):
        raise UsageError(
            f"Port {port} is that of this agent's own identity endpoint, which is not shown here."
        )
    way = state.way()
    proxy = way.proxy_to(host) if secure else None
    found = _addresses(host, port) if proxy is None else _door(proxy, host)
    with ExitStack() as stack:
        plain = stack.enter_context(_connected(found))
        peer = plain.getpeername()
        yield f"Connected to {peer[0]} port {peer[1]}"
        if proxy is not None:
            _pass(plain, proxy, host, port)
            yield f"The proxy {proxy.url} opens the way to {host} port {port}"
        line = plain
        if secure:
            line = stack.enter_context(_context(state, parts, way).wrap_socket(plain, server_hostname=host))
            yield from _sealed(line)
        asking = http.client.HTTPConnection(host, port)
        asking.sock = line
        try:
            asking.request(method, _target(parts), headers={"User-Agent": _AGENT, "Connection": "close"})
            answer = asking.getresponse()
        except http.client.HTTPException as strange:
            raise UsageError(f"That is no answer of HTTP ({type(strange).__name__}).") from strange
        yield f"HTTP/{answer.version / 10:.1f} {answer.status} {answer.reason}".rstrip()
        for name, value in answer.getheaders()[:_MOST_HEADERS]:
            yield f"{name}: {value}"
        if 300 <= answer.status < 400 and answer.headers.get("Location"):
            yield "The redirect is not followed."


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and hosts.is_host(parts.hostname or "") and parts.port != 0
    except ValueError:
        known = False
    if not known or not url.isascii() or not url.isprintable():
        raise UsageError("That is no address: http://HOST[:PORT]/PATH or https:// is expected.")
    if parts.username is not None or parts.password is not None:
        raise UsageError("A user or password has no place in an address.")
    return parts


def _target(parts: SplitResult) -> str:
    path = parts.path or "/"
    return f"{path}?{parts.query}" if parts.query else path


def _door(proxy: Proxy, host: str) -> list[tuple[str, int]]:
    """Where the proxy is.  It looks names up itself: only an address that is given as one can be judged."""
    if addresses.read(host) is not None:
        _judge(host)
    return [(str(where[0]), proxy.port) for _, where in look_up(proxy.host, proxy.port)]


def _pass(line: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    try:
        open_way(line, proxy, host, port)
    except ProxyRefused as refused:
        raise UsageError(f"There is no way by the proxy: {refused}.") from refused


def _addresses(host: str, port: int) -> list[tuple[str, int]]:
    """Where to connect to; refuses as a whole what leads to one address that nobody may be sent to."""
    found = [str(where[0]) for _, where in look_up(host, port)]
    for address in found:
        _judge(address)
    return [(address, port) for address in dict.fromkeys(found)]


def _judge(address: str) -> None:
    read = addresses.read(address)
    if read is None or addresses.is_never_a_service(read):
        raise UsageError(f"{address} is asked nothing: there clouds tell machines their secrets.")


def _identity_port(state: AgentState) -> int:
    """Where this machine's identity endpoint is; 0 while it is served nowhere."""
    try:
        return int((state.directory / PORT_FILE).read_text())
    except (OSError, ValueError):
        return 0


def _connected(found: list[tuple[str, int]]) -> socket.socket:
    last: OSError | None = None
    for where in found:
        try:
            return socket.create_connection(where, SECONDS)
        except OSError as trouble:
            last = trouble
    raise last or OSError("the name has no address")


def _context(state: AgentState, parts: SplitResult, way: Way) -> ssl.SSLContext:
    """The agent's own authority for its own control plane, the system's for everybody else; its owner's for all."""
    own = urlsplit(state.server or "")
    if own.hostname and (parts.hostname, parts.port or 443) == (own.hostname, own.port or 443):
        return context_for(state.ca_file, way)
    context = ssl.create_default_context()
    if way.ca_pem:
        context.load_verify_locations(cadata=way.ca_pem)
    return context


def _sealed(line: ssl.SSLSocket) -> Iterator[str]:
    name, _, bits = line.cipher() or ("unknown", "", 0)
    yield f"{line.version()}, {name} ({bits} bits)"
    certificate: dict[str, Any] = dict(line.getpeercert() or {})
    yield f"Certificate of {_name(certificate, 'subject')}, by {_name(certificate, 'issuer')}"
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind in ("DNS", "IP Address")]
    yield f"  good for {', '.join(names[:20]) or 'no name'}"
    yield f"  from {certificate.get('notBefore', '?')} to {certificate.get('notAfter', '?')}"


def _name(certificate: dict[str, Any], which: str) -> str:
    fields = [f"{key}={value}" for part in certificate.get(which, ()) for key, value in part]
    return ", ".join(fields) or "nobody"
