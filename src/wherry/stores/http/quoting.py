"""Names of objects as paths of URLs have them.  Called by the requests of each adapter, once for each object."""

from __future__ import annotations

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-~/")
# By byte, which is a character of its own in Latin-1: the quickest way there is to look each of them up.
_CODED = {byte: chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in range(256)}


def quoted(name: bytes) -> str:
    """The name, percent-encoded but for its slashes."""
    return name.decode("latin-1").translate(_CODED)
