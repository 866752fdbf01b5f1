"""Delegated sign-in in the database: providers, the people that they know, and sign-ins under way.

A provider only says who somebody is; what they may do is decided here.  Whom it knows is let in when an administrator
has linked that subject to a user, or when a list of the provider's allows the subject or one of its groups: then a user
is made, without any role.  A user who came by a list has to be on it at each sign-in.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from sqlalchemy import Connection, delete, exists, insert, select, update

from wherry.control.db.tables_identity import principals
from wherry.control.db.tables_identity import users as user_rows
from wherry.control.db.tables_upstream import upstream_identities as identities
from wherry.control.db.tables_upstream import upstream_providers as providers
from wherry.control.db.tables_upstream import upstream_sign_ins as sign_ins
from wherry.control.services import limits, users, vault
from wherry.model.errors import ApiError
from wherry.trust import upstream
from wherry.trust.keys import KeyTrouble, MasterKey, sha256
from wherry.trust.upstream import Person

MINUTES = 600.0
"""How long somebody may take at the provider."""

_BEGUN_PER_SOURCE = 60
_NOT_A_LOGIN = re.compile(r"[^A-Za-z0-9._+-]+")


@dataclass(frozen=True, slots=True)
class Provider:
    """An OpenID provider, and what is believed of what it says.

    `subjects` and `groups` are who is let in without having been linked; `factor_methods` and `factor_contexts` the
    values of `amr` and `acr` that count as a second factor; `tells_time` whether it says when somebody signed in
    (`auth_time`), else it is asked to let them sign in anew each time.
    """

    name: str
    display_name: str
    issuer: str
    client_id: str
    scopes: tuple[str, ...] = ("openid", "profile")
    enabled: bool = True
    subjects: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    groups_claim: str = "groups"
    factor_methods: tuple[str, ...] = ()
    factor_contexts: tuple[str, ...] = ()
    tells_time: bool = True
    ca: str = ""

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Provider:
        """The provider that a row tells of."""
        known = {one.name for one in fields(cls)}
        members: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in told.items()
            if name in known
        }
        return cls(**members)

    def allows(self, person: Person) -> bool:
        """Whether one of its lists lets a person in."""
        return person.subject in self.subjects or bool(person.groups & set(self.groups))

    def second_factor(self, person: Person) -> bool:
        """Whether the person signed in there in a way that counts as with a second factor."""
        return bool(person.methods & set(self.factor_methods)) or person.context in self.factor_contexts


@dataclass(frozen=True, slots=True)
class Link:
    """A subject of a provider, and the user that it is here."""

    issuer: str
    subject: str
    oid: str
    invited: bool
    created_at: float
    used_at: float | None

    @property
    def id(self) -> str:
        return sha256(f"{self.issuer}\n{self.subject}")[:32]


@dataclass(frozen=True, slots=True)
class Known:
    """The user that a person turned out to be; `made` at this sign-in."""

    oid: str
    login: str
    made: bool


def put(conn: Connection, provider: Provider, now: float) -> None:
    """Keep a provider, in place of the one of its name.  409 when another one has the same issuer and client."""
    for one in everything(conn):
        same = (one.issuer, one.client_id) == (provider.issuer, provider.client_id)
        if same and one.name != provider.name:
            raise ApiError(
                409, "ProviderExists", f"The provider '{one.name}' has this issuer and client already."
            )
    told = asdict(provider)
    changed = conn.execute(update(providers).where(providers.c.name == provider.name).values(told=told))
    if not changed.rowcount:
        conn.execute(insert(providers).values(name=provider.name, told=told, created_at=now))


def everything(conn: Connection) -> list[Provider]:
    """All providers, by name."""
    return [
        Provider.of(told)
        for told in conn.execute(select(providers.c.told).order_by(providers.c.name)).scalars()
    ]


def enabled(conn: Connection) -> list[Provider]:
    """Those that the sign-in page offers."""
    return [one for one in everything(conn) if one.enabled]


def find(conn: Connection, name: str) -> Provider | None:
    """The provider of this name."""
    told = conn.execute(select(providers.c.told).where(providers.c.name == name.lower())).scalar()
    return Provider.of(told) if told else None


def require(conn: Connection, name: str) -> Provider:
    """The same; 404 when there is none."""
    found = find(conn, name)
    if found is None:
        raise ApiError(404, "ProviderNotFound", f"There is no sign-in provider '{name}'.")
    return found


def remove(conn: Connection, name: str) -> None:
    """Forget a provider, its secret and its links; the users stay, and sign in by what else they have."""
    gone = require(conn, name)
    conn.execute(delete(providers).where(providers.c.name == gone.name))
    conn.execute(delete(sign_ins).where(sign_ins.c.provider == gone.name))
    if all(one.issuer != gone.issuer for one in everything(conn)):
        conn.execute(delete(identities).where(identities.c.issuer == gone.issuer))
    vault.delete_secret(conn, secret_name(gone.name))


def secret_name(name: str) -> str:
    """What the secret of our client at a provider is kept under."""
    return f"/sign-in/providers/{name}"


def links(conn: Connection, oid: str) -> list[Link]:
    """Whom a user is elsewhere."""
    rows = conn.execute(select(identities).where(identities.c.oid == oid).order_by(identities.c.created_at))
    return [Link(row.issuer, row.subject, row.oid, row.invited, row.created_at, row.used_at) for row in rows]


def link(conn: Connection, issuer: str, subject: str, oid: str, now: float) -> Link:
    """Invite somebody: this subject is this user from now on.  409 when it is somebody already."""
    known = select(exists().where(identities.c.issuer == issuer, identities.c.subject == subject))
    if conn.execute(known).scalar():
        raise ApiError(409, "IdentityLinked", "This subject of the provider is a user here already.")
    conn.execute(
        insert(identities).values(issuer=issuer, subject=subject, oid=oid, invited=True, created_at=now)
    )
    return Link(issuer, subject, oid, True, now, None)


def unlink(conn: Connection, oid: str, link_id: str) -> Link:
    """Take an invitation back; 404 when there is none of this id."""
    for one in links(conn, oid):
        if one.id == link_id.lower():
            where = (identities.c.issuer == one.issuer, identities.c.subject == one.subject)
            conn.execute(delete(identities).where(*where))
            return one
    raise ApiError(404, "IdentityNotFound", f"The user has no identity '{link_id}' elsewhere.")


def begin(
    conn: Connection, master: MasterKey, provider: str, browser: str, user_code: str, source: str, now: float
) -> str:
    """A sign-in under way, tied to a browser; answers its state.  429 for too many from one address."""
    conn.execute(delete(sign_ins).where(sign_ins.c.expires_at < now))
    bucket = f"upstream/{source}"
    if not limits.left(conn, bucket, _BEGUN_PER_SOURCE, MINUTES, now):
        raise ApiError(429, "TooManyRequests", "Too many sign-ins were begun from here: wait a little.")
    limits.hit(conn, bucket, _BEGUN_PER_SOURCE, MINUTES, now)
    state = upstream.new_state()
    conn.execute(
        insert(sign_ins).values(
            state_hash=sha256(state), provider=provider, browser=sha256(browser), created_at=now,
            expires_at=now + MINUTES,
            user_code=master.seal(user_code.encode(), _context(state)) if user_code else None,
        )
    )  # fmt: skip
    return state


def take(
    conn: Connection, master: MasterKey, state: str, provider: str, browser: str, now: float
) -> str | None:
    """End a sign-in under way, whatever comes of it: the code of the device that waits ("" for none).

    None when there is none of this state for this provider and browser, or not any more.
    """
    row = conn.execute(select(sign_ins).where(sign_ins.c.state_hash == sha256(state))).first()
    if row is None:
        return None
    conn.execute(delete(sign_ins).where(sign_ins.c.state_hash == row.state_hash))
    if (row.provider, row.browser) != (provider, sha256(browser)) or row.expires_at <= now:
        return None
    try:
        return master.unseal(row.user_code, _context(state)).decode() if row.user_code else ""
    except KeyTrouble:
        # The master key was changed meanwhile, and with it what nonce and verifier are derived from.
        return None


def admit(conn: Connection, provider: Provider, person: Person, verifier: str, now: float) -> Known | None:
    """The user that a person is here, made where a list allows it; None for nobody who is let in.

    `verifier` is that of a password which nobody knows, for a user that is made.
    """
    row = conn.execute(
        select(identities.c.oid, identities.c.invited, user_rows.c.login)
        .join(user_rows, user_rows.c.oid == identities.c.oid)
        .join(principals, principals.c.oid == identities.c.oid)
        .where(identities.c.issuer == person.issuer, identities.c.subject == person.subject)
        .where(principals.c.enabled, principals.c.deleted_at.is_(None))
    ).first()
    listed = provider.allows(person)
    if row is not None:
        if not row.invited and not listed:
            return None
        where = (identities.c.issuer == person.issuer, identities.c.subject == person.subject)
        conn.execute(update(identities).where(*where).values(used_at=now))
        return Known(row.oid, row.login, False)
    taken = select(
        exists().where(identities.c.issuer == person.issuer, identities.c.subject == person.subject)
    )
    if not listed or conn.execute(taken).scalar():
        return None
    login = _free_login(conn, provider, person)
    oid = users.add(conn, login, person.name or person.login or login, verifier, now)
    conn.execute(
        insert(identities).values(
            issuer=person.issuer, subject=person.subject, oid=oid, invited=False, created_at=now, used_at=now
        )
    )
    return Known(oid, login, True)


def _free_login(conn: Connection, provider: Provider, person: Person) -> str:
    """A name that nobody has; it says where somebody came from, and is no means to find them again."""
    plain = _NOT_A_LOGIN.sub("-", person.login.partition("@")[0]).strip("-.")[:40] or "user"
    wanted = f"{plain}@{provider.name}".lower()
    while conn.execute(select(exists().where(user_rows.c.login == wanted))).scalar():
        wanted = f"{plain}-{uuid.uuid4().hex[:6]}@{provider.name}".lower()
    return wanted


def _context(state: str) -> str:
    return f"upstream_sign_ins/{sha256(state)}"
