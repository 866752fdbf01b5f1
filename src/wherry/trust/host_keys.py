"""Keys of SSH services, as people compare them.  Called by the agent for its own."""

from __future__ import annotations

import base64
import hashlib

from cryptography.hazmat.primitives import serialization

from wherry.trust.keys import KeyTrouble


def fingerprint(private: bytes) -> str:
    """The SHA-256 fingerprint of a private key in OpenSSH's form, as `ssh` shows it; raises `KeyTrouble`."""
    try:
        key = serialization.load_ssh_private_key(private, None)
    except ValueError as broken:
        raise KeyTrouble("It is no private key in OpenSSH's form.") from broken
    shown = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    digest = hashlib.sha256(base64.b64decode(shown.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
