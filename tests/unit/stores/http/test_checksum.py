"""CRC-64/NVME: one polynomial by two libraries, and the larger of them only where it is worth its loading."""

from __future__ import annotations

import subprocess
import sys

import pytest
from awscrt import checksums

from wherry.stores.http.checksum import crc64

# "Check" of the polynomial in the catalogue of CRCs.
CHECK = 0xAE8B14860A799888


def test_the_catalogue_agrees() -> None:
    assert crc64(b"123456789") == CHECK


@pytest.mark.parametrize("size", [0, 1, 4096, 65535, 65536, 65537, 1_000_003])
def test_both_ways_agree(size: int) -> None:
    data = bytes(range(251)) * (size // 251 + 1)
    whole = memoryview(data)[:size]

    assert crc64(whole) == crc64(bytes(whole)) == checksums.crc64nvme(whole)


def test_small_bodies_do_without_what_is_long_in_loading() -> None:
    program = (
        "import sys; from wherry.stores.http.checksum import crc64\n"
        "for size in 4096, 65536: crc64(bytes(size)); print('_awscrt' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert told.split() == ["False", "True"]
