"""Keys that sign tokens: RSA-3072, thirty days each, the next one published a day before it is used.

All replicas read the same rows; the private halves are sealed with the master key.  `rotate` runs at start and every
hour; `ring` is what tokens are signed and verified with at a moment.
"""

from __future__ import annotations

import json

from sqlalchemy import Connection, delete, insert, select

from wherry.control.db.tables_identity import signing_keys
from wherry.trust.keys import MasterKey, PrivateKey, PublicKey
from wherry.trust.tokens import KeyRing

_DAY = 86400.0
SIGNS = 30 * _DAY
PUBLISHED_AHEAD = _DAY
VERIFIES_AFTER = 2 * _DAY


def rotate(conn: Connection, master: MasterKey, now: float) -> bool:
    """Make the next key when the newest one is about to end and forget those past use; True if one was made."""
    conn.execute(
        delete(signing_keys).where(signing_keys.c.purpose == "token", signing_keys.c.verifies_until_at < now)
    )
    newest = conn.execute(
        select(signing_keys.c.signs_until_at)
        .where(signing_keys.c.purpose == "token")
        .order_by(signing_keys.c.signs_until_at.desc())
        .limit(1)
    ).scalar()
    if newest is not None and newest - PUBLISHED_AHEAD > now:
        return False
    begins = max(now, newest or now)
    key = PrivateKey.for_service()
    kid = key.thumbprint
    conn.execute(
        insert(signing_keys).values(
            kid=kid,
            purpose="token",
            sealed=master.seal(key.pem(), context(kid)),
            public=json.dumps(key.public.jwk()),
            created_at=now,
            signs_from_at=begins,
            signs_until_at=begins + SIGNS,
            verifies_until_at=begins + SIGNS + VERIFIES_AFTER,
        )
    )
    return True


def ring(conn: Connection, master: MasterKey, now: float) -> KeyRing:
    """The key that signs now and all that verify now, by kid."""
    rows = conn.execute(
        select(signing_keys)
        .where(signing_keys.c.purpose == "token", signing_keys.c.verifies_until_at >= now)
        .order_by(signing_keys.c.signs_from_at)
    ).all()
    verifying = {row.kid: PublicKey.from_jwk(json.loads(row.public)) for row in rows}
    current = [row for row in rows if row.signs_from_at <= now < row.signs_until_at] or rows[-1:]
    signer = current[-1]
    return KeyRing(
        signer.kid,
        PrivateKey.from_pem(master.unseal(signer.sealed, context(signer.kid)), ours=True),
        verifying,
    )


def context(kid: str) -> str:
    """What the private half of a key is bound to at rest."""
    return f"signing_keys/{kid}"
