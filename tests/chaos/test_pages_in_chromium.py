"""The pages in a real browser: forms, script and passkeys work as over plain HTTP, and no policy is violated."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.chromium import chromium
from tests.integration.served import serving

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
KEY = {
    "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
    "isUserVerified": True, "automaticPresenceSimulation": True,
}  # fmt: skip
PASSWORD = "a lone green tree"


@pytest.mark.long
@pytest.mark.skipif(not PROGRAM, reason="install chromium")
def test_the_first_administrator_signs_in_with_a_passkey(tmp_path: Path) -> None:
    with serving(tmp_path / "state", "localhost:0", first_start=True) as served:
        found = re.search(r"password (\S+) \(shown", served.state.with_suffix(".log").read_text())
        assert found is not None
        with chromium(PROGRAM, key_of(served.state / "tls" / "server.pem")) as tab:
            tab.ask("WebAuthn.addVirtualAuthenticator", options=KEY)
            tab.open(f"{served.url}/signin")
            tab.fill(login="admin", password=found[1])
            tab.click("form button")
            assert "Choose a password" in tab.text()
            tab.fill(password=found[1], new=PASSWORD, again=PASSWORD)
            tab.click("form button")
            assert "Set up a second factor" in tab.text()
            tab.click("button[data-make]")
            assert "Keep these codes" in tab.text()
            tab.open(f"{served.url}/factors")
            assert "Passkey" in tab.text()
            tab.click("form[action='/signout'] button")
            tab.fill(login="admin", password=PASSWORD)
            tab.click("form button")
            assert "One more proof" in tab.text()
            tab.click("button[data-options]")
            assert tab.run("location.pathname") == "/device"
            assert tab.troubles() == []


def key_of(certificate: Path) -> str:
    """SHA-256 of the public key of a certificate."""
    public = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return base64.b64encode(
        hashlib.sha256(public.public_bytes(serialization.Encoding.DER, form)).digest()
    ).decode()
