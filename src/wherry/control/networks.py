"""Networks as a setting names them: `private`, `any`, `none`, or addresses and networks with spaces or commas between.

`private` is all that is not reached from the Internet: loopback, link-local, RFC 1918, unique local.  The address is
the one that the socket knows: behind a proxy it is the proxy's.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from wherry.model.errors import UsageError

PRIVATE = "private"
_SEPARATORS = re.compile(r"[\s,]+")


def check(told: str) -> None:
    """`UsageError` for a setting that cannot be read."""
    for word in _words(told):
        if word not in (PRIVATE, "any", "none"):
            try:
                ipaddress.ip_network(word, strict=False)
            except ValueError as broken:
                raise UsageError(
                    f"'{word}' is no network: give private, any, none, or such as 203.0.113.0/24."
                ) from broken


def contains(told: str, address: str) -> bool:
    """Whether an address is in one of the networks of a setting; one that cannot be read is in none but `any`."""
    return any(_in(word, address) for word in _words(told))


def _words(told: str) -> Iterable[str]:
    return [word for word in _SEPARATORS.split(told.lower()) if word]


def _in(word: str, address: str) -> bool:
    if word in ("any", "none"):
        return word == "any"
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    found = getattr(found, "ipv4_mapped", None) or found
    if word == PRIVATE:
        return found.is_private or found.is_loopback or found.is_link_local
    return found in ipaddress.ip_network(word, strict=False)
