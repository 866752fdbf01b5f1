"""Secrets at rest: sealed with the deployment's master key, bound to the name of what they belong to.

A name is the lower-cased id of a resource.  No answer of the resource API and no log holds what comes out of here;
only the credential broker and what signs requests to a back end call `get_secret`.
"""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from wherry.control.db.tables_identity import secrets
from wherry.model import ids
from wherry.model.errors import ApiError
from wherry.trust.keys import MasterKey

ABSENT = "SecretNotFound"


def put_secret(conn: Connection, master: MasterKey, name: str, value: str, by: str, now: float) -> None:
    """Keep `value` for `name`, in place of what was there; `by` is the object id of who gave it."""
    key = ids.key(name)
    sealed = master.seal(value.encode(), context(key))
    delete_secret(conn, key)
    conn.execute(insert(secrets).values(name=key, sealed=sealed, created_at=now, created_by=by))


def get_secret(conn: Connection, master: MasterKey, name: str) -> str:
    """The secret of `name`; 404 when there is none."""
    key = ids.key(name)
    sealed = conn.execute(select(secrets.c.sealed).where(secrets.c.name == key)).scalar()
    if sealed is None:
        raise ApiError(404, ABSENT, f"There is no secret for '{name}'.")
    return master.unseal(sealed, context(key)).decode()


def delete_secret(conn: Connection, name: str) -> None:
    """Forget the secret of `name`, if there is one."""
    conn.execute(delete(secrets).where(secrets.c.name == ids.key(name)))


def context(key: str) -> str:
    """What the secret of a resource is bound to at rest."""
    return f"secrets/{key}"
