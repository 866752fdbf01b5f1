"""The service's certificate authority: one CA made at first start, server certificates below it.

CA and leaf are separate certificates (CA:TRUE and CA:FALSE): strict clients refuse a CA as a server.  Agents pin the
CA by file or by fingerprint, `fingerprint` of its certificate, and verify with `client_context`, which trusts that
CA alone.
"""

from __future__ import annotations

import hashlib
import ipaddress
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID
from joserfc.jwk import ECKey

from wherry.trust.keys import KeyTrouble, PublicKey

CA_DAYS = 3650
LEAF_DAYS = 425
RENEW_DAYS = 400
_BACKDATE = timedelta(days=400)
"""So far back and so far ahead that an agent whose clock is a year off can trust it; together no more than the 825
days that all clients take."""


@dataclass(frozen=True, slots=True, repr=False)
class Issued:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes


def create_ca(name: str, now: float) -> Issued:
    """A new CA (EC P-256, ten years)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(subject, subject, key.public_key(), now, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Issued(certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key))


def issue_server(ca: Issued, hosts: Iterable[str], now: float) -> Issued:
    """A server certificate for `hosts` (DNS names and IP addresses) below `ca`."""
    names = list(dict.fromkeys(hosts))
    issuer = x509.load_pem_x509_certificate(ca.certificate)
    signer = _signer(ca)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    certificate = (
        _builder(subject, issuer.subject, key.public_key(), now, LEAF_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in names]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, hashes.SHA256())
    )
    return Issued(certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key))


def issue_signer(ca: Issued, name: str, now: float) -> Issued:
    """A certificate below `ca` for a new key that signs statements of the service, and is good for nothing else."""
    issuer = x509.load_pem_x509_certificate(ca.certificate)
    signer = _signer(ca)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        _builder(subject, issuer.subject, key.public_key(), now, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, hashes.SHA256())
    )
    return Issued(certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key))


def signer_key(certificate: bytes, ca: bytes, name: str) -> PublicKey:
    """The key of a certificate that `issue_signer` made for `name`; `KeyTrouble` for any other certificate."""
    try:
        loaded, above = (x509.load_pem_x509_certificate(one) for one in (certificate, ca))
        loaded.verify_directly_issued_by(above)
    except (ValueError, TypeError, InvalidSignature) as broken:
        raise KeyTrouble("The certificate is not one of this certificate authority.") from broken
    own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    key = loaded.public_key()
    # Those of servers are for other uses, whatever their names.
    used = [one.oid for one in loaded.extensions if one.oid == ExtensionOID.EXTENDED_KEY_USAGE]
    if loaded.subject != own or used or not isinstance(key, ec.EllipticCurvePublicKey):
        raise KeyTrouble(f"The certificate is not for {name}.")
    return PublicKey(ECKey.import_key(key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )))  # fmt: skip


def serves(certificate: bytes, hosts: Iterable[str], now: float) -> bool:
    """Whether a server certificate is good for all `hosts` and not about to expire."""
    try:
        loaded = x509.load_pem_x509_certificate(certificate)
        names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return False
    fresh = loaded.not_valid_after_utc > datetime.fromtimestamp(now, UTC) + timedelta(days=RENEW_DAYS)
    return fresh and {_general_name(host) for host in hosts} <= set(names)


def expires(certificate: bytes) -> float:
    """When a PEM certificate ends, in seconds of the epoch."""
    try:
        return x509.load_pem_x509_certificate(certificate).not_valid_after_utc.timestamp()
    except ValueError as broken:
        raise KeyTrouble("The certificate cannot be read.") from broken


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of a PEM certificate in lower-case hexadecimal: what a person compares."""
    try:
        loaded = x509.load_pem_x509_certificate(certificate)
    except ValueError as broken:
        raise KeyTrouble("The certificate cannot be read.") from broken
    return hashlib.sha256(loaded.public_bytes(serialization.Encoding.DER)).hexdigest()


def same_fingerprint(certificate: bytes, expected: str) -> bool:
    """Whether `certificate` has the fingerprint that a person typed: any case, colons and spaces allowed."""
    typed = "".join(character for character in expected.lower() if character not in ": -")
    return typed == fingerprint(certificate)


def client_context(ca_file: str | Path) -> ssl.SSLContext:
    """TLS for a client that trusts the CA in `ca_file` and no other, and checks the host's name."""
    context = ssl.create_default_context(cafile=str(ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _signer(ca: Issued) -> ec.EllipticCurvePrivateKey:
    signer = serialization.load_pem_private_key(ca.key, password=None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise KeyTrouble("The key of the certificate authority is not an EC key.")
    return signer


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: float, days: int
) -> x509.CertificateBuilder:
    start = datetime.fromtimestamp(now, UTC).replace(microsecond=0)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - _BACKDATE)
        .not_valid_after(start + timedelta(days=days))
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
