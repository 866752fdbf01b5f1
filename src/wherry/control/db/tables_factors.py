"""Tables of second factors: authenticator apps, passkeys, recovery codes.

The secret of an app is sealed with the master key and bound to its row; of a passkey only the public half is known
here; recovery codes are hashes of 79 random bits.  All go with their user.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Float, ForeignKey, Index, Integer, LargeBinary, String, Table

from wherry.control.db.metadata import metadata

factors = Table(
    "factors",
    metadata,
    Column("id", String, primary_key=True, comment="GUID"),
    Column("oid", ForeignKey("users.oid", ondelete="CASCADE"), nullable=False),
    Column("kind", String, CheckConstraint("kind IN ('totp', 'passkey')", name="kind"), nullable=False),
    Column("name", String, nullable=False),
    Column("sealed", LargeBinary, comment="secret of an authenticator app"),
    Column("credential_id", String, unique=True, comment="of a passkey, base64url"),
    Column("credential", LargeBinary, comment="public half of a passkey, as WebAuthn has it"),
    Column(
        "counter",
        Integer,
        nullable=False,
        comment="last time step that was accepted, or last signature counter: neither goes back",
    ),
    Column("created_at", Float, nullable=False),
    Column("used_at", Float),
    Index("ix_factors_oid", "oid"),
)

recovery_codes = Table(
    "recovery_codes",
    metadata,
    Column("hash", String, primary_key=True),
    Column("oid", ForeignKey("users.oid", ondelete="CASCADE"), nullable=False),
    Index("ix_recovery_codes_oid", "oid"),
)

factor_guesses = Table(
    "factor_guesses",
    metadata,
    Column("oid", ForeignKey("users.oid", ondelete="CASCADE"), primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("locked_until_at", Float, nullable=False),
)
