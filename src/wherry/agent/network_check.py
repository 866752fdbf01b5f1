"""Whether this machine reaches what its agent needs: by name, by TCP, by TLS and by HTTP, with what to mend if not.

Each step is tried only when the one before it has passed.  The same results are shown in the shell, printed as JSON
and told before a registration.  Nothing is sent but requests that anybody may make.  Called by the shell and
`wherry agent check`.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from wherry.agent.lookup import look_up
from wherry.agent.state import AgentState
from wherry.client.connection import http_date
from wherry.client.outward import context_for
from wherry.model import hosts
from wherry.model.addresses import is_private, read
from wherry.model.errors import UsageError
from wherry.model.way import DIRECT, Proxy, Way
from wherry.stores.http.tunnel import ProxyRefused, open_way

SECONDS = 10.0
"""How long each step may take."""
_CLOCK_SECONDS = 300.0
_NO_ENDPOINT = "That is no address: a URL or a host name is expected, such as https://plane.example:8443."
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was tried: what was seen, how long it took, and what to do when it failed."""

    name: str
    passed: bool
    seen: str
    seconds: float
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """An endpoint, with the steps that were tried, in their order; the last one says why it failed."""

    what: str
    url: str
    steps: tuple[Step, ...]

    @property
    def passed(self) -> bool:
        return all(step.passed for step in self.steps)

    def to_json(self) -> dict[str, Any]:
        """The form for programs."""
        steps = [asdict(step) for step in self.steps]
        return {"endpoint": self.what, "url": self.url, "passed": self.passed, "steps": steps}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Something to reach: `path` is asked for, `context` says whose certificates are trusted there.

    `proxy`: what leads there, None for nothing.
    """

    what: str
    url: str
    path: str
    context: Callable[[], ssl.SSLContext]
    proxy: Proxy | None = None


class _Failed(Exception):
    """A step did not pass."""

    def __init__(self, seen: str, remedy: str) -> None:
        super().__init__(seen)
        self.seen = seen
        self.remedy = remedy


def endpoints(state: AgentState, way: Way | None = None) -> list[Endpoint]:
    """What this agent talks to, by its own way or another; raises `UsageError` while no control plane is set."""
    url, way = state.server, way or state.way()
    if url is None:
        raise UsageError(
            "No control plane is set. Set it first: Network configuration, Update network configuration."
        )

    def ours() -> ssl.SSLContext:
        return context_for(state.ca_file, way)

    proxy = way.proxy_to(urlsplit(url).hostname or "")
    return [
        Endpoint("control plane", url, "/healthz", ours, proxy),
        Endpoint("identity", url, "/organizations/v2.0/.well-known/openid-configuration", ours, proxy),
        Endpoint("vault", url, "/secrets?api-version=7.4", ours, proxy),
    ]


def endpoint(text: str, way: Way = DIRECT) -> Endpoint:
    """Any endpoint that a person names: a URL, or a host that speaks HTTPS; raises `UsageError`."""
    url = text if "://" in text else f"https://{text}"
    parts = _split(url)
    if not hosts.can_be_looked_up(str(parts.hostname)):
        raise UsageError(_NO_ENDPOINT)
    path = parts.path or "/"

    def known() -> ssl.SSLContext:
        context = ssl.create_default_context()
        if way.ca_pem:
            context.load_verify_locations(cadata=way.ca_pem)
        return context

    # What is not sealed goes by no proxy: nothing that the agent does is of that kind.
    proxy = way.proxy_to(str(parts.hostname)) if parts.scheme == "https" else None
    return Endpoint("endpoint", url, f"{path}?{parts.query}" if parts.query else path, known, proxy)


def check(found: Endpoint) -> Result:
    """Try one endpoint, step by step."""
    return Result(found.what, found.url, tuple(_steps(found)))


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        known = False
    if not known:
        raise UsageError(_NO_ENDPOINT)
    return parts


def _steps(found: Endpoint) -> Iterator[Step]:
    parts = _split(found.url)
    host, secure = str(parts.hostname), parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    proxy = found.proxy
    near, door = (proxy.host, proxy.port) if proxy else (host, port)
    step, addresses = _tried("name lookup", lambda: _look_up(near, door))
    yield step
    if addresses is None:
        return
    step, line = _tried("TCP", lambda: _connect(addresses, door))
    yield step
    if line is None:
        return
    with line:
        if proxy is not None:
            step, passed = _tried("proxy", lambda: _pass(line, proxy, host, port))
            yield step
            if passed is None:
                return
        if secure:
            step, sealed = _tried("TLS", lambda: _shake_hands(line, host, found.context()))
            yield step
            if sealed is None:
                return
            with sealed:
                yield _tried("HTTP", lambda: _ask(sealed, host, found.path))[0]
        else:
            yield _tried("HTTP", lambda: _ask(line, host, found.path))[0]


def _tried(name: str, work: Callable[[], tuple[str, T]]) -> tuple[Step, T | None]:
    """What came of a step, and what the next one needs of it."""
    begun = time.monotonic()
    try:
        seen, result = work()
    except _Failed as failed:
        return Step(name, False, failed.seen, time.monotonic() - begun, failed.remedy), None
    except UnicodeError:
        # By a proxy a name is not looked up before it has to fit into TLS.
        return Step(
            name, False, "this is no name of a host", time.monotonic() - begun, "Check the name."
        ), None
    return Step(name, True, seen, time.monotonic() - begun), result


def _look_up(host: str, port: int) -> tuple[str, list[str]]:
    try:
        found = look_up(host, port)
    except OSError as trouble:
        raise _Failed(
            f"{host} is not found ({trouble.strerror})",
            "Check the name, and the DNS servers of this machine.",
        ) from trouble
    addresses = list(dict.fromkeys(str(where[0]) for _, where in found))
    kinds = {
        "private" if is_private(one) or _is_loopback(one) else "public" for one in addresses if read(one)
    }
    return f"{', '.join(addresses)} ({' and '.join(sorted(kinds)) or 'unknown'})", addresses


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _connect(addresses: list[str], port: int) -> tuple[str, socket.socket]:
    last: OSError | None = None
    for address in addresses:
        try:
            line = socket.create_connection((address, port), SECONDS)
        except OSError as trouble:
            last = trouble
        else:
            return f"{address} port {port} answers", line
    why = "no answer in time" if isinstance(last, TimeoutError) else (last.strerror if last else "no address")
    raise _Failed(
        f"port {port} cannot be reached ({why})",
        "Let the firewall pass TCP to it from here, and see whether the service runs.",
    )


def _pass(line: socket.socket, proxy: Proxy, host: str, port: int) -> tuple[str, bool]:
    try:
        open_way(line, proxy, host, port)
    except ProxyRefused as refused:
        remedy = (
            "Set the proxy's user and password: Network configuration, Update network configuration, Proxy."
            if refused.is_for_want_of_password
            else f"Let the proxy pass connections to {host} port {port}, or do without it for this host."
        )
        raise _Failed(str(refused), remedy) from refused
    except OSError as trouble:
        raise _Failed(
            f"the proxy {proxy.url} does not answer ({trouble.strerror or 'no answer in time'})",
            "See whether a proxy runs at that address and port.",
        ) from trouble
    return f"the proxy {proxy.url} opens the way", True


def _shake_hands(line: socket.socket, host: str, context: ssl.SSLContext) -> tuple[str, ssl.SSLSocket]:
    try:
        sealed = context.wrap_socket(line, server_hostname=host)
    except ssl.SSLCertVerificationError as refused:
        raise _Failed(
            f"its certificate is not trusted: {refused.verify_message}", _of_certificate(refused)
        ) from refused
    except OSError as trouble:
        raise _Failed(
            f"no TLS is spoken there ({getattr(trouble, 'reason', None) or trouble.strerror or 'no answer in time'})",
            "See whether the address and the port are those of an HTTPS service, and whether a proxy takes TLS apart.",
        ) from trouble
    name, _, bits = sealed.cipher() or ("", "", 0)
    until = dict(sealed.getpeercert() or {}).get("notAfter", "")
    return f"{sealed.version()}, {name} ({bits} bits), certificate good until {until}", sealed


def _of_certificate(refused: ssl.SSLCertVerificationError) -> str:
    """What to do about a certificate that is not trusted, by OpenSSL's own number for why."""
    if refused.verify_code in (9, 10):
        return "Set this machine's clock; if it is right, the certificate has to be renewed."
    if refused.verify_code in (62, 63, 64):
        return "Use a name that the certificate is for."
    return "See whether somebody takes TLS apart on the way; else set the control plane anew, with its fingerprint."


def _ask(line: socket.socket, host: str, path: str) -> tuple[str, int]:
    line.settimeout(SECONDS)
    asking = http.client.HTTPConnection(host)
    asking.sock = line
    try:
        asking.request("GET", path, headers={"User-Agent": "wherry-agent-check"})
        answer = asking.getresponse()
    except (OSError, http.client.HTTPException) as trouble:
        raise _Failed(
            f"no answer to a request ({type(trouble).__name__})", "See whether it is an HTTP service."
        ) from trouble
    skew = _skew(answer.headers.get("Date", ""))
    if abs(skew) > _CLOCK_SECONDS:
        raise _Failed(
            f"{answer.status} {answer.reason}; this machine's clock is {skew:+.0f} s from the server's",
            "Set this machine's clock, or its time servers.",
        )
    # That it answers is what counts: who asks without a token is refused in many places.
    return f"{answer.status} {answer.reason}; the clocks differ by {abs(skew):.0f} s", answer.status


def _skew(date: str) -> float:
    """Seconds by which this machine's clock is ahead of the server's; 0 where that is not known."""
    then = http_date(date)
    return 0.0 if then is None else time.time() - then
