"""Which certificate authority to trust: a file, or a certificate fetched and compared with a fingerprint from a person.

The one place that opens TLS without trust.  It sends nothing but a request for the public certificate, and what
comes back is worth nothing unless its fingerprint is the one that was typed.  Called by `agent.register`.
"""

from __future__ import annotations

import re
import ssl
from pathlib import Path

import httpx

from wherry.client.connection import unreachable
from wherry.client.outward import proxy_for
from wherry.model.errors import UsageError
from wherry.model.way import DIRECT, Way
from wherry.trust.authority import fingerprint, same_fingerprint
from wherry.trust.keys import KeyTrouble

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]{1,16000}-----END CERTIFICATE-----")
_HEX = re.compile(r"[0-9a-f]{64}")


class WrongFingerprint(UsageError):
    """The certificate that a host shows is not the one that a person expects there."""


def certificate_from_file(path: Path) -> bytes:
    """The authority's certificates in a PEM file."""
    try:
        content = path.read_bytes()
        fingerprint(content)
    except (OSError, KeyTrouble) as broken:
        raise UsageError(f"{path} holds no certificate that can be read.") from broken
    return content


def fetch_certificate(url: str, expected: str, way: Way = DIRECT) -> bytes:
    """The certificate of the authority at `url`, when `expected` is its SHA-256 (hexadecimal, colons allowed)."""
    if not _HEX.fullmatch(re.sub(r"[: -]", "", expected.lower())):
        raise UsageError(
            "A fingerprint has 64 hexadecimal digits (SHA-256), with colons or without. "
            "The control plane prints it when it starts."
        )
    found = _CERTIFICATE.search(_fetch(url, way))
    if found is None:
        raise UsageError(f"{url} is no control plane: it shows no certificate authority.")
    # Only what was compared is kept: whatever else the answer holds was not vouched for.
    certificate = found[0] + b"\n"
    try:
        if same_fingerprint(certificate, expected):
            return certificate
        shown = fingerprint(certificate)
    except KeyTrouble as broken:
        raise UsageError(f"{url} shows a certificate that cannot be read.") from broken
    raise WrongFingerprint(
        f"The certificate authority at {url} has the fingerprint {shown}, which is not the one that was given. "
        "Either it was mistyped or somebody stands between this machine and the control plane. Nothing was sent."
    )


def _fetch(url: str, way: Way) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with httpx.Client(
            base_url=url,
            verify=context,
            timeout=10.0,
            follow_redirects=False,
            proxy=proxy_for(url, way),
            trust_env=False,
        ) as http:
            answer = http.get("/ca.pem")
    except httpx.TransportError as trouble:
        raise unreachable(url, trouble) from trouble
    if answer.status_code != 200:
        raise UsageError(f"{url} is no control plane: it answers {answer.status_code} when asked who it is.")
    return answer.content
