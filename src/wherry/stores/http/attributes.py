"""Extended attributes as one word of text, for a store that keeps metadata as text.

The word is base64 of one byte and a body: 0 and the pairs as they are, or 1 and the pairs deflated, whichever is
shorter.  A pair is the length of the name (1 byte), the name, the length of the value (2 bytes, big-endian), the
value.  Called by `metadata`.
"""

from __future__ import annotations

import base64
import binascii
import zlib

from wherry.model.entry import Attributes
from wherry.model.errors import MetadataTooLarge

_PLAIN, _DEFLATED = b"\x00", b"\x01"
_LONGEST_NAME = 255
_LONGEST_VALUE = 65_535
# Far more than any store takes, and a bound on what a hostile word may unfold to.
_LONGEST = 1024 * 1024


def encode(attributes: Attributes) -> str:
    """The word for these attributes."""
    pairs = bytearray()
    for name, value in attributes:
        if not 0 < len(name) <= _LONGEST_NAME or len(value) > _LONGEST_VALUE:
            raise MetadataTooLarge("an extended attribute is longer than any store of objects takes")
        pairs += bytes([len(name)]) + name + len(value).to_bytes(2, "big") + value
    deflated = zlib.compress(pairs, 9, wbits=-zlib.MAX_WBITS)
    whole = _DEFLATED + deflated if len(deflated) < len(pairs) else _PLAIN + pairs
    return base64.b64encode(whole).decode("ascii")


def decode(word: str) -> Attributes:
    """The attributes of a word, sorted by name; none of a word that is malformed."""
    try:
        whole = base64.b64decode(word, validate=True)
        pairs = _inflated(whole[1:]) if whole[:1] == _DEFLATED else whole[1:]
    except (binascii.Error, ValueError, zlib.error):
        return ()
    if whole[:1] not in (_PLAIN, _DEFLATED):
        return ()
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(pairs):
        value = at + 1 + pairs[at]
        end = value + 2 + int.from_bytes(pairs[value : value + 2], "big")
        if not pairs[at] or value + 2 > len(pairs) or end > len(pairs):
            return ()
        found[pairs[at + 1 : value]] = pairs[value + 2 : end]
        at = end
    return tuple(sorted(found.items()))


def _inflated(body: bytes) -> bytes:
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    pairs = inflater.decompress(body, _LONGEST)
    if not inflater.eof:
        raise ValueError("longer than any that we write")
    return pairs
