"""Addresses of machines: which are reached from the Internet, and which nobody may be sent to."""

from __future__ import annotations

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
_METADATA = frozenset(
    ipaddress.ip_address(one) for one in ("fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192")
)
"""Where clouds tell machines their secrets, beside the link-local addresses."""


def is_private(address: str) -> bool:
    """Whether an address is not reached from the Internet: loopback, link-local, RFC 1918, unique local."""
    found = read(address)
    return found is not None and (found.is_private or found.is_loopback or found.is_link_local)


def is_never_a_service(address: Address) -> bool:
    """Whether nobody serves storage or sign-ins there: link-local, where clouds tell secrets, these in disguise."""
    if isinstance(address, ipaddress.IPv6Address):
        # IPv4 in another dress: mapped, 6to4, translated (RFC 6052), compatible.
        inner = address.ipv4_mapped or address.sixtofour
        if address in _TRANSLATED or 1 < int(address) < 2**32:
            inner = ipaddress.IPv4Address(int(address) & (2**32 - 1))
        if inner is not None:
            return is_never_a_service(inner)
    return address.is_link_local or address.is_multicast or address.is_unspecified or address in _METADATA


def read(address: str) -> Address | None:
    """An address as sockets tell it, IPv4 where it stands for one; None for what is none."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
