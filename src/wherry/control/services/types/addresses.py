"""Addresses of services that the control plane may be told to talk to.

Over TLS, or to this machine; never to an address where clouds tell machines their secrets.  Called by the checks of
properties that hold a URL.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from urllib.parse import urlsplit

from wherry.control.services.types.schema import invalid

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_PLAIN = re.compile(r"https?://[A-Za-z0-9._:\[\]-]+(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/*", re.IGNORECASE)
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
_METADATA = frozenset(
    ipaddress.ip_address(one) for one in ("fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192")
)
"""Where clouds tell machines their secrets, beside the link-local addresses."""


def service_url(value: str, target: str) -> str:
    """The URL of a service: https, or http to this machine; never to an address of cloud metadata."""
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname or "", parts.port
    except ValueError as broken:
        raise invalid(target, "The URL of a service is expected.") from broken
    if parts.scheme not in ("http", "https") or not host or not value.isascii() or not value.isprintable():
        raise invalid(target, "The URL of a service is expected, such as https://account.blob.example.net.")
    if not _PLAIN.fullmatch(value) or parts.username is not None:
        raise invalid(target, "The URL must hold neither credentials, nor a query, nor anything encoded.")
    address = _address(host.rstrip("."))
    if address is not None and _is_never_storage(address):
        raise invalid(target, f"{host} is not the address of a storage service.")
    if parts.scheme == "http" and host != "localhost" and not (address is not None and address.is_loopback):
        raise invalid(
            target, "Use https; http is only for a service on this machine (127.0.0.1, ::1, localhost)."
        )
    return value.rstrip("/")


def _address(host: str) -> Address | None:
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        try:
            # Reads what resolvers read: 2852039166, 0xA9FEA9FE, 169.254.43518.
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except OSError:
            return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


def _is_never_storage(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        # IPv4 in another dress: 6to4, translated (RFC 6052), compatible.
        inner = address.sixtofour
        if address in _TRANSLATED or 1 < int(address) < 2**32:
            inner = ipaddress.IPv4Address(int(address) & (2**32 - 1))
        if inner is not None:
            return _is_never_storage(inner)
    return address.is_link_local or address.is_multicast or address.is_unspecified or address in _METADATA
