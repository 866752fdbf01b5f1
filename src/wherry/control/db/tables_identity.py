"""Tables of identity: who there is, what they prove themselves with, what they were given.

Secrets are never in the clear: passwords and codes as hashes, keys sealed with the master key (`trust.keys`).
Times are Unix seconds, UTC, in columns named `*_at`.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from wherry.control.db.metadata import metadata

meta = Table(
    "meta",
    metadata,
    Column("key", String, primary_key=True),
    Column("value", String, nullable=False),
    comment="`incarnation`: changes when a database is restored, so that nothing from before is accepted",
)

principals = Table(
    "principals",
    metadata,
    Column("oid", String, primary_key=True),
    Column(
        "kind",
        String,
        CheckConstraint("kind IN ('user', 'agent', 'service', 'group')", name="kind"),
        nullable=False,
    ),
    Column(
        "name", String, nullable=False, comment="of a user the one to sign in with, of all others to show"
    ),
    Column(
        "client_id", String, unique=True, comment="what an agent or program calls itself when it signs in"
    ),
    Column("resource_id", String, comment="machine that the identity belongs to"),
    Column("enabled", Boolean, nullable=False, default=True),
    Column("epoch", Integer, nullable=False, default=1, comment="tokens of an older epoch are refused"),
    Column("created_at", Float, nullable=False),
    Column("deleted_at", Float, comment="kept as a tombstone: an oid is never used again"),
)

users = Table(
    "users",
    metadata,
    Column("oid", ForeignKey("principals.oid"), primary_key=True),
    Column("login", String, nullable=False, unique=True, comment="lower case"),
    Column("display_name", String, nullable=False),
    Column("failures", Integer, nullable=False, default=0),
    Column("locked_until_at", Float, nullable=False, default=0.0),
)

credentials = Table(
    "credentials",
    metadata,
    Column("oid", ForeignKey("users.oid"), primary_key=True),
    Column("kind", String, CheckConstraint("kind IN ('password')", name="kind"), primary_key=True),
    Column("verifier", String, nullable=False, comment="argon2id"),
    Column("changed_at", Float, nullable=False),
    Column("must_change", Boolean, nullable=False, default=False, comment="at the next sign-in"),
)

agent_keys = Table(
    "agent_keys",
    metadata,
    Column(
        "jkt", String, primary_key=True, comment="RFC 7638 thumbprint; a key belongs to one identity for ever"
    ),
    Column("oid", ForeignKey("principals.oid"), nullable=False),
    Column("jwk", JSON, nullable=False),
    Column("state", String, CheckConstraint("state IN ('active', 'retired')", name="state"), nullable=False),
    Column("generation", Integer, nullable=False, default=1),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Index("ix_agent_keys_oid", "oid"),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", String, primary_key=True),
    Column(
        "purpose",
        String,
        CheckConstraint("purpose IN ('token', 'ca', 'audit')", name="purpose"),
        nullable=False,
    ),
    Column("sealed", LargeBinary, nullable=False, comment="private key, PEM, sealed with the master key"),
    Column("public", Text, nullable=False, comment="public JWK, or a certificate"),
    Column("created_at", Float, nullable=False),
    Column("signs_from_at", Float, nullable=False),
    Column("signs_until_at", Float, nullable=False),
    Column("verifies_until_at", Float, nullable=False),
)

device_codes = Table(
    "device_codes",
    metadata,
    Column("device_hash", String, primary_key=True),
    Column("user_hash", String, nullable=False, unique=True),
    Column("state", String, nullable=False),
    Column("grant", JSON, nullable=False, comment="trust.device_flow.DeviceGrant as a document"),
    Column("source", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False, index=True),
)

enrolments = Table(
    "enrolments",
    metadata,
    Column(
        "token_id", String, primary_key=True, comment="enrolment tokens that were issued; each registers once"
    ),
    Column("approver", ForeignKey("principals.oid"), nullable=False),
    Column("jkt", String, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("agent_oid", String, comment="set when used; the same key may then ask again for the same answer"),
)

refresh_families = Table(
    "refresh_families",
    metadata,
    Column("family", String, primary_key=True, comment="the `sid` of all tokens that come from one sign-in"),
    Column("oid", ForeignKey("principals.oid"), nullable=False),
    Column("client_id", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("revoked_at", Float),
)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("hash", String, primary_key=True),
    Column("family", ForeignKey("refresh_families.family", ondelete="CASCADE"), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("used_at", Float, comment="a second use revokes the family"),
    Index("ix_refresh_tokens_family", "family"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("hash", String, primary_key=True, comment="of the cookie's value"),
    Column("oid", ForeignKey("principals.oid"), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("authenticated_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("wrong_codes", Integer, nullable=False, default=0),
    Column("factor", String, comment="kind of the second factor that was proven; none: the password only"),
    Column("challenge", String, comment="of a passkey, good for one answer"),
    Column("offered", LargeBinary, comment="secret for an authenticator app that is being set up, sealed"),
)

seen_proofs = Table(
    "seen_proofs",
    metadata,
    Column("client", String, primary_key=True, comment="client id or key thumbprint"),
    Column("jti", String, primary_key=True),
    Column("expires_at", Float, nullable=False, index=True),
)

attempts = Table(
    "attempts",
    metadata,
    Column("bucket", String, primary_key=True, comment="what is limited, for whom"),
    Column("window_at", Float, nullable=False),
    Column("tries", Integer, nullable=False),
)

secrets = Table(
    "secrets",
    metadata,
    Column("name", String, primary_key=True, comment="lower-cased id of what the secret belongs to"),
    Column("sealed", LargeBinary, nullable=False, comment="sealed with the master key, bound to the name"),
    Column("created_at", Float, nullable=False),
    Column("created_by", String, nullable=False),
)

role_assignments = Table(
    "role_assignments",
    metadata,
    Column("name", String, primary_key=True, comment="GUID"),
    Column("scope", String, nullable=False),
    Column(
        "scope_key",
        String,
        nullable=False,
        index=True,
        comment="lower case, no trailing slash, '' = everything",
    ),
    Column("role", String, nullable=False, comment="GUID of the role definition"),
    Column("principal_id", String, nullable=False, index=True),
    Column("principal_type", String, nullable=False),
    Column("description", String),
    Column("condition", String),
    Column("condition_version", String),
    Column("created_at", Float, nullable=False),
    Column("created_by", String, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("updated_by", String, nullable=False),
    UniqueConstraint("principal_id", "role", "scope_key", name="uq_role_assignments_what"),
)
