"""Checksums by which a service finds out whether it received what was sent.

CRC-64/NVME (Amazon's name; Microsoft's is CRC64) by the processor's own instructions, ten times and more as fast as
MD5; MD5 for services that know nothing else.  Two libraries do it: the one that is the quicker for large bodies takes
longer to load than a thousand small ones to send, and is loaded when the first large one comes.  Called by the
requests of each adapter.
"""

from __future__ import annotations

import base64
import hashlib

import anycrc

_SMALL = 64 * 1024
_of_small = anycrc.Model("CRC64-NVME").calc


def crc64(data: bytes | memoryview) -> int:
    """CRC-64/NVME."""
    if len(data) < _SMALL:
        found: int = _of_small(data)
    else:
        from awscrt import checksums  # noqa: PLC0415 - see above

        found = checksums.crc64nvme(data)
    return found


def md5(data: bytes | memoryview) -> str:
    """The value of Content-MD5."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
