"""Checksums by which a service finds out whether it received what was sent.

CRC-64/NVME (Amazon's name; Microsoft's is CRC64) by the processor's own instructions, ten times and more as fast as
MD5; MD5 for services that know nothing else.  Called by the requests of each adapter.
"""

from __future__ import annotations

import base64
import hashlib

from awscrt import checksums


def crc64(data: bytes | memoryview) -> int:
    """CRC-64/NVME."""
    found: int = checksums.crc64nvme(data)
    return found


def crc64_of_both(first: int, second: int, size: int) -> int:
    """That of two pieces one after the other; `size` is that of the second one."""
    found: int = checksums.combine_crc64nvme(first, second, size)
    return found


def md5(data: bytes | memoryview) -> str:
    """The value of Content-MD5."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
