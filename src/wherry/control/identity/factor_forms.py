"""The two pages about a second factor that follow a password: prove one, or set the first one up.

What a passkey is to sign and what an authenticator app is to learn belong to the session that asks; both are kept in
its row, the secret sealed.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import segno
from markupsafe import Markup
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from wherry.control.identity import sessions
from wherry.control.identity.rendering import page
from wherry.control.plane import Plane
from wherry.control.services import factors, users
from wherry.trust import onetime
from wherry.trust.keys import sha256
from wherry.trust.passkeys import Party


@dataclass(frozen=True, slots=True)
class _Challenge:
    kinds: frozenset[str]
    options: str


@dataclass(frozen=True, slots=True)
class _Offer:
    secret: str
    address: str
    options: str


def party(service: Plane) -> Party:
    """Whom passkeys are for: this control plane by its public name."""
    return Party(service.host, service.public_url)


async def challenge(
    request: Request,
    service: Plane,
    cookie: str,
    oid: str,
    user_code: str,
    trouble: str = "",
    status: int = 200,
) -> Response:
    """The page that asks for a second factor; `cookie` is the session's value."""
    found = await service.database.write(_challenge, service, sha256(cookie), oid)
    return page(
        request, "factor.html", status, cookie, script=bool(found.options), trouble=trouble, user_code=user_code,
        kinds=found.kinds, options=found.options,
    )  # fmt: skip


async def offer(
    request: Request,
    service: Plane,
    cookie: str,
    oid: str,
    user_code: str,
    trouble: str = "",
    status: int = 200,
) -> Response:
    """The page on which a second factor is set up."""
    found = await service.database.write(_offer, service, sha256(cookie), oid)
    return page(
        request, "enrol.html", status, cookie, script=bool(found.options), trouble=trouble, user_code=user_code,
        secret=found.secret, picture=_picture(found.address), options=found.options,
    )  # fmt: skip


def _challenge(conn: Connection, service: Plane, session: str, oid: str) -> _Challenge:
    known, here = factors.passkeys_of(conn, oid), party(service)
    options = ""
    if known and here.usable:
        asked = here.ask(known)
        sessions.keep_challenge(conn, session, asked.challenge)
        options = asked.options
    return _Challenge(frozenset(one.kind for one in factors.of(conn, oid)), options)


def _offer(conn: Connection, service: Plane, session: str, oid: str) -> _Offer:
    user, here = users.find(conn, oid), party(service)
    login = user.login if user else ""
    secret = sessions.offer(conn, service.master, session, onetime.new_secret())
    options = ""
    if here.usable:
        asked = here.ask_new(oid, login, user.display_name if user else "", factors.passkeys_of(conn, oid))
        sessions.keep_challenge(conn, session, asked.challenge)
        options = asked.options
    address = onetime.address(secret, f"Wherry {service.host}", login)
    return _Offer(onetime.secret_text(secret), address, options)


def _picture(address: str) -> Markup:
    """A QR code as SVG, without a style of its own."""
    drawn = io.BytesIO()
    segno.make_qr(address).save(
        drawn, kind="svg", xmldecl=False, svgns=True, scale=4, dark="#000", light="#fff", nl=False
    )
    # What segno draws is made of numbers.
    return Markup(drawn.getvalue().decode())  # noqa: S704
