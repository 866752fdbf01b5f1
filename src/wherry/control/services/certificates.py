"""The deployment's CA in the database and the server certificates that it issues.  Called by `deployment`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import Connection, insert, select

from wherry.control.db.tables_identity import signing_keys
from wherry.control.services import signing
from wherry.trust import authority
from wherry.trust.authority import Issued
from wherry.trust.keys import MasterKey

_DAY = 86400.0


def create_ca(conn: Connection, master: MasterKey, now: float) -> bytes:
    """Make the CA of a new deployment; answers its certificate (PEM)."""
    ca = authority.create_ca("Wherry certificate authority", now)
    kid = authority.fingerprint(ca.certificate)
    until = now + authority.CA_DAYS * _DAY
    conn.execute(
        insert(signing_keys).values(
            kid=kid,
            purpose="ca",
            sealed=master.seal(ca.key, signing.context(kid)),
            public=ca.certificate.decode(),
            created_at=now,
            signs_from_at=now,
            signs_until_at=until,
            verifies_until_at=until,
        )
    )
    return ca.certificate


def issue(conn: Connection, master: MasterKey, hosts: Iterable[str], now: float) -> Issued:
    """A server certificate for `hosts` by the deployment's CA."""
    return authority.issue_server(_ca(conn, master), hosts, now)


def issue_signer(conn: Connection, master: MasterKey, name: str, now: float) -> Issued:
    """A certificate by the deployment's CA for a new key that signs statements of `name`."""
    return authority.issue_signer(_ca(conn, master), name, now)


def ca_certificate(conn: Connection) -> bytes:
    """The CA's certificate (PEM)."""
    found = conn.execute(select(signing_keys.c.public).where(signing_keys.c.purpose == "ca")).scalar_one()
    return str(found).encode()


def good_for(certificate_file: Path, hosts: Iterable[str], now: float) -> bool:
    """Whether the certificate in a file is there, names all `hosts` and will last a while."""
    return certificate_file.exists() and authority.serves(certificate_file.read_bytes(), hosts, now)


def _ca(conn: Connection, master: MasterKey) -> Issued:
    row = conn.execute(select(signing_keys).where(signing_keys.c.purpose == "ca")).one()
    return Issued(row.public.encode(), master.unseal(row.sealed, signing.context(row.kid)))
