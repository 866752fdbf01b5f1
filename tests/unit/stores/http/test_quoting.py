"""Names in URLs are those of the standard library."""

from __future__ import annotations

from urllib.parse import quote_from_bytes

from hypothesis import given
from hypothesis import strategies as st

from wherry.stores.http.quoting import quoted


@given(st.binary(max_size=40))
def test_a_name_is_encoded_as_the_standard_library_does(name: bytes) -> None:
    assert quoted(name) == quote_from_bytes(name, safe="/~")


def test_every_byte_has_its_own() -> None:
    assert len({quoted(bytes([byte])) for byte in range(256)}) == 256
