"""How hosts are named: labels of 1 to 63 characters with dots between them, or an address.

Whatever is typed by people or told by others is held against this before it is looked up: Python's own lookups raise
no `OSError` but `UnicodeError` for other names.  Pure code.
"""

from __future__ import annotations

import ipaddress
import re

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
NAME = rf"(?=[A-Za-z0-9_.-]{{1,253}}(?![A-Za-z0-9_.-])){_LABEL}(?:\.{_LABEL})*\.?"
"""The pattern of a name, to be part of others; with underscores, which names in Windows networks have."""
_NAME = re.compile(NAME)
_SCOPE = re.compile(r"[A-Za-z0-9_-]{1,15}(?:\.[0-9]{1,4})?")


def is_host(text: str) -> bool:
    """Whether it is a name or an address; one of IPv6 may say by which interface."""
    if _NAME.fullmatch(text):
        return True
    address, percent, scope = text.partition("%")
    if percent and not _SCOPE.fullmatch(scope):
        return False
    try:
        return ipaddress.ip_address(address).version == 6 or not percent
    except ValueError:
        return False


def can_be_looked_up(text: str) -> bool:
    """The same of a name in any script."""
    try:
        return is_host(text.encode("idna").decode())
    except UnicodeError:
        return False
