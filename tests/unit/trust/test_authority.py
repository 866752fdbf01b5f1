"""The certificate authority, judged by Python's own TLS."""

from __future__ import annotations

import ssl
import time

import pytest
from cryptography import x509

from wherry.trust import authority
from wherry.trust.authority import Issued
from wherry.trust.keys import KeyTrouble, PrivateKey

NOW = time.time()


@pytest.fixture(scope="module")
def ca() -> Issued:
    return authority.create_ca("test", NOW)


def handshake(ca: Issued, leaf: Issued, name: str, folder) -> str:
    """The TLS version that client and server agree on, over a pair of memory buffers."""
    files = {"ca.pem": ca.certificate, "leaf.pem": leaf.certificate, "leaf.key": leaf.key}
    for file, content in files.items():
        (folder / file).write_bytes(content)
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(folder / "leaf.pem", folder / "leaf.key")
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = authority.client_context(folder / "ca.pem").wrap_bio(to_client, to_server, server_hostname=name)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return str(client.version())


@pytest.mark.parametrize("name", ["plane.example", "localhost", "127.0.0.1", "::1"])
def test_a_server_is_trusted_by_every_name_it_has(ca, tmp_path, name):
    leaf = authority.issue_server(ca, ["plane.example", "localhost", "127.0.0.1", "::1"], NOW)
    assert handshake(ca, leaf, name, tmp_path) == "TLSv1.3"


def test_another_name_and_another_authority_are_not(ca, tmp_path):
    leaf = authority.issue_server(ca, ["plane.example"], NOW)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(ca, leaf, "evil.example", tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(authority.create_ca("other", NOW), leaf, "plane.example", tmp_path)


def test_an_expired_server_is_not(ca, tmp_path):
    leaf = authority.issue_server(ca, ["plane.example"], NOW - 430 * 86400)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        handshake(ca, leaf, "plane.example", tmp_path)


@pytest.mark.parametrize("days", [-366, 366])
def test_attack_42_an_agent_whose_clock_is_a_year_off_trusts_it(tmp_path, days):
    """What counts is the difference: here it is the certificates that were made at another time."""
    made = NOW + days * 86400
    ca = authority.create_ca("test", made)
    leaf = authority.issue_server(ca, ["plane.example"], made)
    assert handshake(ca, leaf, "plane.example", tmp_path) == "TLSv1.3"


def test_a_certificate_lives_no_longer_than_clients_bear(ca):
    leaf = x509.load_pem_x509_certificate(authority.issue_server(ca, ["a"], NOW).certificate)
    assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).days <= 825


def test_authority_and_server_are_different_certificates(ca):
    leaf = x509.load_pem_x509_certificate(authority.issue_server(ca, ["a", "10.0.0.1"], NOW).certificate)
    root = x509.load_pem_x509_certificate(ca.certificate)
    assert root.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.1"]


def test_whether_a_certificate_still_serves(ca):
    certificate = authority.issue_server(ca, ["a", "::1"], NOW).certificate
    assert authority.serves(certificate, ["a"], NOW)
    assert not authority.serves(certificate, ["a", "b"], NOW)
    assert authority.serves(certificate, ["a"], NOW + 24 * 86400)
    assert not authority.serves(certificate, ["a"], NOW + 26 * 86400)
    assert not authority.serves(b"nothing", ["a"], NOW)
    assert not authority.serves(ca.certificate, ["a"], NOW)


def test_fingerprints_are_compared_as_people_type_them(ca):
    printed = authority.fingerprint(ca.certificate)
    assert len(printed) == 64
    spaced = ":".join(printed[i : i + 2] for i in range(0, 64, 2)).upper()
    assert authority.same_fingerprint(ca.certificate, printed)
    assert authority.same_fingerprint(ca.certificate, f" {spaced} ")
    assert not authority.same_fingerprint(ca.certificate, printed[:-1])
    assert not authority.same_fingerprint(ca.certificate, "")
    with pytest.raises(KeyTrouble):
        authority.fingerprint(b"nothing")


def test_only_an_ec_authority_signs(ca):
    with pytest.raises(KeyTrouble):
        authority.issue_server(Issued(ca.certificate, PrivateKey.for_service().pem()), ["a"], NOW)


def test_private_keys_are_not_shown(ca):
    assert "PRIVATE" not in repr(ca)
