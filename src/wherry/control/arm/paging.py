"""Tokens in the `nextLink` of a list: where the next page begins, signed and bound to the list that they came from.

A token of another collection, another filter or another deployment, or one that was changed, is a 400.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from typing import Any

from wherry.model.errors import ApiError
from wherry.trust.keys import MasterKey

SIZE = 100
"""Resources on a page."""

_MAC = 16


def token(master: MasterKey, collection: str, after: Any) -> str:
    """The token of the place behind `after` (plain JSON) in `collection`."""
    text = json.dumps(after, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_mac(master, collection, text) + text).decode().rstrip("=")


def place(master: MasterKey, collection: str, told: str) -> Any:
    """The inverse of `token`; 400 `InvalidSkipToken`."""
    try:
        raw = base64.b64decode(told + "=" * (-len(told) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    mac, text = raw[:_MAC], raw[_MAC:]
    if not text or not hmac.compare_digest(mac, _mac(master, collection, text)):
        raise ApiError(400, "InvalidSkipToken", "The nextLink is not one of this list: begin the list anew.")
    return json.loads(text)


def _mac(master: MasterKey, collection: str, text: bytes) -> bytes:
    bound = collection.lower().encode() + b"\0" + text
    return hmac.digest(master.derive("page tokens"), bound, hashlib.sha256)[:_MAC]
