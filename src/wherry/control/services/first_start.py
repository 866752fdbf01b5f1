"""What a new deployment's database holds: incarnation, CA, token key, first administrator.

Called by `deployment` while it builds the directory; a failure leaves nothing.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from sqlalchemy import Connection, insert

from wherry.control.db.tables_identity import meta
from wherry.control.services import certificates, role_assignments, signing, users
from wherry.trust import passwords
from wherry.trust.keys import MasterKey
from wherry.trust.roles import OWNER

FIRST_ADMINISTRATOR = "admin"


@dataclass(frozen=True, slots=True, repr=False)
class First:
    """The password is shown once, kept nowhere, and opens nothing but the page that changes it."""

    ca_certificate: bytes
    password: str


def populate(conn: Connection, master: MasterKey, subscription: str, now: float) -> First:
    """Fill a new database; `admin` owns the tenant and its subscription."""
    conn.execute(insert(meta).values(key="incarnation", value=secrets.token_hex(16)))
    certificate = certificates.create_ca(conn, master, now)
    signing.rotate(conn, master, now)
    password = passwords.random_password()
    verifier = passwords.protect(password)
    oid = users.add(conn, FIRST_ADMINISTRATOR, "Administrator", verifier, now, must_change=True)
    conn.execute(insert(meta).values(key="first_administrator", value=oid))
    for scope in ("/", f"/subscriptions/{subscription}"):
        role_assignments.create(
            conn, role=OWNER.guid, principal_id=oid, principal_type="User", scope=scope, by=oid, now=now
        )
    return First(certificate, password)
