"""The way out of a machine: by a proxy or not, and whose certificates are trusted besides.  Pure values.

Set in the agent's shell, carried by all that makes connections: `client` to the control plane, `stores.http` to stores.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from wherry.model import hosts
from wherry.model.errors import UsageError

_MOST_DIRECT = 64
_LONGEST = 255


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy that opens tunnels by CONNECT.

    `direct`: whom it is not used for: names with all below them, addresses, networks.  This very machine is always one.
    """

    host: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)
    direct: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _is_host(self.host) or not 0 < self.port < 1 << 16:
            raise UsageError("A proxy is a host and a port: http://HOST:PORT.")
        if any(ord(char) < 0x20 or ord(char) == 0x7F for char in self.user + self.password):
            raise UsageError("User and password of a proxy have no control characters.")
        if ":" in self.user or len(self.user) > _LONGEST or len(self.password) > _LONGEST:
            raise UsageError(
                f"A proxy's user has no colon, and user and password {_LONGEST} characters at most."
            )
        if self.password and not self.user:
            raise UsageError("A password needs a user.")
        if len(self.direct) > _MOST_DIRECT:
            raise UsageError(f"At most {_MOST_DIRECT} hosts and networks without the proxy.")
        for one in self.direct:
            if _network(one) is None and not _is_host(one.removeprefix(".")):
                raise UsageError(f"'{one}' is neither a host, nor an address, nor a network.")

    @classmethod
    def parse(cls, text: str, user: str = "", password: str = "", direct: tuple[str, ...] = ()) -> Proxy:
        """The proxy of a URL, or of HOST:PORT; raises `UsageError`."""
        try:
            parts = urlsplit(text if "://" in text else f"http://{text}")
            host, port = parts.hostname or "", 80 if parts.port is None else parts.port
        except ValueError:
            host, port, parts = "", 0, urlsplit("")
        if parts.username is not None:
            raise UsageError("User and password of a proxy are not part of its URL; they are asked for.")
        if parts.scheme != "http" or parts.path.strip("/") or parts.query or parts.fragment:
            raise UsageError("A proxy is spoken to by http: http://HOST:PORT. What goes through it is TLS.")
        return cls(host, port, user, password, direct)

    @property
    def url(self) -> str:
        """Without user and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def authorization(self) -> str:
        """The value of the header that the proxy knows us by; empty where it asks for none."""
        if not self.user:
            return ""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()

    def leads_to(self, host: str) -> bool:
        """Whether this host is to be reached by the proxy."""
        name = host.lower().rstrip(".")
        address = _address(name)
        if name == "localhost" or (address is not None and address.is_loopback):
            return False
        for one in self.direct:
            network = _network(one)
            if network is not None:
                if address is not None and address in network:
                    return False
            elif name == one.lstrip(".").lower() or name.endswith(f".{one.lstrip('.').lower()}"):
                return False
        return True


@dataclass(frozen=True, slots=True)
class Way:
    """How a machine gets out; `ca_pem`: certificates of authorities that are trusted besides those of each place."""

    proxy: Proxy | None = None
    ca_pem: str = field(default="", repr=False)

    def proxy_to(self, host: str) -> Proxy | None:
        """The proxy to this host; None where it is reached directly."""
        return self.proxy if self.proxy is not None and self.proxy.leads_to(host) else None

    def directly(self) -> Way:
        """The same without a proxy."""
        return replace(self, proxy=None)

    def to_json(self) -> dict[str, Any]:
        """With the password: for the agent's own state alone."""
        told: dict[str, Any] = {"ca": self.ca_pem}
        if self.proxy is not None:
            one = self.proxy
            told["proxy"] = {
                "host": one.host, "port": one.port, "user": one.user, "password": one.password,
                "direct": list(one.direct),
            }  # fmt: skip
        return told

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Way:
        """Raises `KeyError`, `TypeError`, `ValueError` and `UsageError` for what `to_json` has not made."""
        proxy = told.get("proxy")
        if proxy is not None:
            proxy = Proxy(
                str(proxy["host"]), int(proxy["port"]), str(proxy["user"]), str(proxy["password"]),
                tuple(str(one) for one in proxy["direct"]),
            )  # fmt: skip
        return cls(proxy, str(told.get("ca", "")))


DIRECT = Way()


def _is_host(text: str) -> bool:
    """Without a dot at its end, by which no host is told."""
    return hosts.is_host(text) and not text.endswith(".")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
