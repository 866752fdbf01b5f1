"""How often something may be tried, counted in the database so that a restart forgets nothing."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from wherry.control.db.tables_identity import attempts


def hit(conn: Connection, bucket: str, limit: int, seconds: float, now: float) -> bool:
    """Count one try in `bucket`; False when more than `limit` fell into the current window of `seconds`."""
    row = conn.execute(select(attempts).where(attempts.c.bucket == bucket)).first()
    if row is None:
        conn.execute(insert(attempts).values(bucket=bucket, window_at=now, tries=1))
        return limit >= 1
    if not 0 <= now - row.window_at < seconds:
        conn.execute(update(attempts).where(attempts.c.bucket == bucket).values(window_at=now, tries=1))
        return limit >= 1
    conn.execute(update(attempts).where(attempts.c.bucket == bucket).values(tries=row.tries + 1))
    return bool(row.tries + 1 <= limit)


def left(conn: Connection, bucket: str, limit: int, seconds: float, now: float) -> bool:
    """Whether `bucket` has room for another try, counting nothing."""
    row = conn.execute(select(attempts).where(attempts.c.bucket == bucket)).first()
    return row is None or not 0 <= now - row.window_at < seconds or bool(row.tries < limit)
