"""Tables of the directory beside `principals`: groups with their members, programs with what they sign in by.

A group and a program (a service principal) are rows of `principals` too, so that role assignments name them like
people.  Secrets of programs are hashes, certificates are public by nature.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Float, ForeignKey, Index, String, Table, Text

from wherry.control.db.metadata import metadata

groups = Table(
    "groups",
    metadata,
    Column("oid", ForeignKey("principals.oid"), primary_key=True),
    Column("nickname", String, nullable=False),
    Column("description", String),
)

memberships = Table(
    "memberships",
    metadata,
    Column("group_oid", ForeignKey("groups.oid", ondelete="CASCADE"), primary_key=True),
    Column("member_oid", ForeignKey("principals.oid"), primary_key=True),
    Column("added_at", Float, nullable=False),
    Index("ix_memberships_member_oid", "member_oid"),
)

applications = Table(
    "applications",
    metadata,
    Column(
        "app_id",
        String,
        primary_key=True,
        comment="client id; the principal with it is its service principal",
    ),
    Column("object_id", String, nullable=False, unique=True),
    Column("display_name", String, nullable=False),
    Column("created_at", Float, nullable=False),
)

program_credentials = Table(
    "program_credentials",
    metadata,
    Column("key_id", String, primary_key=True, comment="GUID; the `sid` of every token that came by it"),
    Column("app_id", ForeignKey("applications.app_id", ondelete="CASCADE"), nullable=False),
    Column("kind", String, CheckConstraint("kind IN ('secret', 'certificate')", name="kind"), nullable=False),
    Column("name", String),
    Column("hint", String, nullable=False, comment="first letters of a secret, thumbprint of a certificate"),
    Column(
        "verifier",
        String,
        nullable=False,
        comment="SHA-256 of a secret (256 random bits), or of a certificate",
    ),
    Column("certificate", Text, comment="PEM"),
    Column("starts_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("used_at", Float),
    Index("ix_program_credentials_app_id", "app_id"),
)
