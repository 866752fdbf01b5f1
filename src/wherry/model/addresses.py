"""Addresses of machines: which are reached from the Internet."""

from __future__ import annotations

import ipaddress


def is_private(address: str) -> bool:
    """Whether an address is not reached from the Internet: loopback, link-local, RFC 1918, unique local."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    found = getattr(found, "ipv4_mapped", None) or found
    return found.is_private or found.is_loopback or found.is_link_local
