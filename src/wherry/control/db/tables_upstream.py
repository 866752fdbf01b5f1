"""Tables of delegated sign-in: the providers that may say who somebody is, whom they know, sign-ins under way.

The secret of our client at a provider is in `secrets`, sealed.  A sign-in under way holds no secret: nonce and PKCE
verifier are derived from its state.
"""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, Float, ForeignKey, LargeBinary, String, Table

from wherry.control.db.metadata import metadata

upstream_providers = Table(
    "upstream_providers",
    metadata,
    Column("name", String, primary_key=True, comment="lower case; part of the redirect address"),
    Column("told", JSON, nullable=False, comment="services.upstream.Provider as a document"),
    Column("created_at", Float, nullable=False),
)

upstream_identities = Table(
    "upstream_identities",
    metadata,
    Column("issuer", String, primary_key=True),
    Column("subject", String, primary_key=True),
    Column("oid", ForeignKey("users.oid", ondelete="CASCADE"), nullable=False, index=True),
    Column("invited", Boolean, nullable=False, comment="by an administrator: no list has to allow it"),
    Column("created_at", Float, nullable=False),
    Column("used_at", Float),
)

upstream_sign_ins = Table(
    "upstream_sign_ins",
    metadata,
    Column("state_hash", String, primary_key=True),
    Column("provider", String, nullable=False),
    Column("browser", String, nullable=False, comment="hash of the cookie that it began under"),
    Column("user_code", LargeBinary, comment="of the device that waits, sealed"),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False, index=True),
)
