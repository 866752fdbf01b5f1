"""Addresses of services that the control plane may be told to talk to.

Over TLS, or to this machine; never to an address where clouds tell machines their secrets.  Called by the checks of
properties that hold a URL; what a name in one leads to is looked at when the connection is made (`control.outbound`).
"""

from __future__ import annotations

import ipaddress
import re
import socket
from urllib.parse import urlsplit

from wherry.control.services.types.schema import invalid
from wherry.model.addresses import Address, is_never_a_service

_PLAIN = re.compile(r"https?://[A-Za-z0-9._:\[\]-]+(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/*", re.IGNORECASE)


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
    if address is not None and is_never_a_service(address):
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
