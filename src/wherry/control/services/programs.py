"""Programs: applications, the service principals that stand for them, and the credentials that they sign in by.

A program has several credentials at a time, so that they can be exchanged without a pause.  A secret is shown once and
kept as a hash; of a certificate there is only the public half.  A credential that is removed takes all tokens with it
that came by it: its id is their `sid`.
"""

from __future__ import annotations

import hmac
import uuid
from dataclasses import dataclass, field

from sqlalchemy import Connection, delete, insert, select, update

from wherry.control.db.tables_directory import applications, program_credentials
from wherry.control.db.tables_identity import principals
from wherry.control.services import principals as ends
from wherry.model.errors import ApiError
from wherry.trust import programs
from wherry.trust.keys import KeyTrouble, sha256
from wherry.trust.programs import Certificate

MOST_CREDENTIALS = 20
LONGEST_LIFE = 2 * 366 * 86400.0
USUAL_LIFE = 180 * 86400.0


@dataclass(frozen=True, slots=True)
class Credential:
    """One credential without its secret."""

    key_id: str
    kind: str
    name: str | None
    hint: str
    verifier: str = field(repr=False)
    certificate: str | None
    starts_at: float
    expires_at: float
    used_at: float | None


@dataclass(frozen=True, slots=True)
class Program:
    """An application; `oid` is that of its service principal, None while it has none."""

    app_id: str
    object_id: str
    name: str
    created_at: float
    oid: str | None
    enabled: bool | None


_PROGRAM = select(
    applications.c.app_id, applications.c.object_id, applications.c.display_name, applications.c.created_at,
    principals.c.oid, principals.c.enabled,
).outerjoin(principals, principals.c.client_id == applications.c.app_id)  # fmt: skip
_CREDENTIAL = select(
    program_credentials.c.key_id, program_credentials.c.kind, program_credentials.c.name, program_credentials.c.hint,
    program_credentials.c.verifier, program_credentials.c.certificate, program_credentials.c.starts_at,
    program_credentials.c.expires_at, program_credentials.c.used_at,
)  # fmt: skip


def create(conn: Connection, name: str, now: float) -> Program:
    """A new application, which cannot sign in before it has a service principal and a credential."""
    made = Program(str(uuid.uuid4()), str(uuid.uuid4()), name, now, None, None)
    conn.execute(
        insert(applications).values(
            app_id=made.app_id, object_id=made.object_id, display_name=name, created_at=now
        )
    )
    return made


def everything(conn: Connection) -> list[Program]:
    """All applications, in the order of their client ids."""
    return [Program(*row) for row in conn.execute(_PROGRAM.order_by(applications.c.app_id))]


def require(conn: Connection, told: str) -> Program:
    """The program with this client id, or object id of the application or of its service principal; else 404."""
    key = told.lower()
    ids = (applications.c.app_id == key) | (applications.c.object_id == key) | (principals.c.oid == key)
    row = conn.execute(_PROGRAM.where(ids)).first()
    if row is None:
        raise ends.absent(told)
    return Program(*row)


def appear(conn: Connection, program: Program, now: float) -> Program:
    """Give an application its service principal; 409 when it has one."""
    if program.oid is not None:
        raise ApiError(
            409,
            "Request_MultipleObjectsWithSameKeyValue",
            f"The service principal cannot be created: it exists for the appId {program.app_id} already.",
        )
    conn.execute(
        insert(principals).values(
            oid=str(uuid.uuid4()), kind="service", name=program.name, client_id=program.app_id, created_at=now
        )
    )
    return require(conn, program.app_id)


def rename(conn: Connection, program: Program, name: str) -> None:
    """Another name to show."""
    conn.execute(
        update(applications).where(applications.c.app_id == program.app_id).values(display_name=name)
    )
    conn.execute(update(principals).where(principals.c.client_id == program.app_id).values(name=name))


def remove_principal(conn: Connection, program: Program, now: float) -> None:
    """End the service principal: tokens, memberships and role assignments go at once."""
    if program.oid is not None:
        ends.end(conn, program.oid, now)


def remove(conn: Connection, program: Program, now: float) -> None:
    """End an application with its credentials and its service principal."""
    remove_principal(conn, program, now)
    conn.execute(delete(program_credentials).where(program_credentials.c.app_id == program.app_id))
    conn.execute(delete(applications).where(applications.c.app_id == program.app_id))


def credentials(conn: Connection, app_id: str) -> list[Credential]:
    """All credentials of a program, the oldest first."""
    order = (program_credentials.c.starts_at, program_credentials.c.key_id)
    found = conn.execute(_CREDENTIAL.where(program_credentials.c.app_id == app_id).order_by(*order))
    return [Credential(*row) for row in found]


def add_secret(
    conn: Connection, app_id: str, name: str | None, starts_at: float, expires_at: float | None
) -> tuple[Credential, str]:
    """A new secret, which is shown this once."""
    secret = programs.new_secret()
    ends_at = starts_at + USUAL_LIFE if expires_at is None else expires_at
    made = Credential(
        str(uuid.uuid4()), "secret", name, secret[: programs.HINT], sha256(secret), None, starts_at, ends_at, None
    )  # fmt: skip
    return _add(conn, app_id, made), secret


def add_certificate(
    conn: Connection, app_id: str, name: str | None, content: bytes, expires_at: float | None, now: float
) -> Credential:
    """Let a program sign in with the key of a certificate, until that ends; 400 when it cannot be used."""
    try:
        read = Certificate.read(content)
    except KeyTrouble as broken:
        raise ApiError(400, "InvalidCertificate", str(broken)) from broken
    if read.ends_at <= now:
        raise ApiError(400, "InvalidCertificate", "The certificate has expired: register one that is good.")
    if any(one.verifier == read.sha256 for one in credentials(conn, app_id)):
        raise ApiError(409, "CertificateExists", "The program has this certificate already.")
    ends_at = read.ends_at if expires_at is None else min(expires_at, read.ends_at)
    made = Credential(
        str(uuid.uuid4()), "certificate", name, read.sha1, read.sha256, read.pem, read.starts_at, ends_at, None
    )  # fmt: skip
    return _add(conn, app_id, made)


def remove_credential(conn: Connection, app_id: str, key_id: str, kind: str = "") -> None:
    """Take a credential away, with all tokens that came by it; 404 for none."""
    which = (program_credentials.c.app_id == app_id) & (program_credentials.c.key_id == key_id.lower())
    if kind:
        which &= program_credentials.c.kind == kind
    if not conn.execute(delete(program_credentials).where(which)).rowcount:
        raise ApiError(404, "CredentialNotFound", f"The program has no credential '{key_id}'.")


def match_secret(conn: Connection, app_id: str, secret: str, now: float) -> tuple[Credential | None, bool]:
    """The credential of a program that `secret` is, and whether it may be used now."""
    digest, found = sha256(secret), None
    for one in credentials(conn, app_id):
        if one.kind == "secret" and hmac.compare_digest(one.verifier, digest):
            found = one
    return found, found is not None and good(found, now)


def good(credential: Credential, now: float) -> bool:
    """Whether a credential has begun and not ended."""
    return credential.starts_at <= now + 300 and now < credential.expires_at


def used(conn: Connection, key_id: str, now: float) -> None:
    """Note when a credential was used last."""
    conn.execute(
        update(program_credentials).where(program_credentials.c.key_id == key_id).values(used_at=now)
    )


def still_there(conn: Connection, key_id: str, client_id: str) -> bool:
    """Whether the credential that a token came by has not been removed."""
    which = (program_credentials.c.key_id == key_id) & (program_credentials.c.app_id == client_id)
    return conn.execute(select(program_credentials.c.key_id).where(which)).first() is not None


def _add(conn: Connection, app_id: str, made: Credential) -> Credential:
    if len(credentials(conn, app_id)) >= MOST_CREDENTIALS:
        raise ApiError(
            400, "TooManyCredentials", f"A program has at most {MOST_CREDENTIALS} credentials: remove one."
        )
    if made.kind == "secret" and not made.starts_at < made.expires_at <= made.starts_at + LONGEST_LIFE:
        raise ApiError(400, "InvalidExpiry", "A secret ends after it begins, and within two years.")
    conn.execute(
        insert(program_credentials).values(
            key_id=made.key_id, app_id=app_id, kind=made.kind, name=made.name, hint=made.hint,
            verifier=made.verifier, certificate=made.certificate, starts_at=made.starts_at,
            expires_at=made.expires_at,
        )
    )  # fmt: skip
    return made
