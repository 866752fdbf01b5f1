"""Brings a database to the schema of this program, or refuses one that is newer.

Called by `deployment` each time the state is opened, before anything else uses the database.  An SQLite database is
copied before it is changed; the copy lies beside it.  Alembic is imported only where there is something to bring, for
it takes as long as all else that a start of the control plane does.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from wherry.control.db import copies
from wherry.control.db.engine import Database
from wherry.model.errors import UsageError

if TYPE_CHECKING:
    from alembic.config import Config

log = logging.getLogger("wherry.control")

HEAD = "0003"
"""The newest revision in `migrations`."""


def upgrade(database: Database, *, keep: bool = True) -> None:
    """Run the missing migrations in one transaction; what fails leaves the database as it was.

    With `keep`, one that has something in it is copied first.  Raises `UsageError` when it is newer than this program,
    or a migration does not work on it.
    """
    kept = None
    try:
        with database.transaction() as conn:
            current = _revision(conn)
            if current == HEAD:
                return
            from alembic import command

            config = configuration()
            if current is not None:
                _refuse_newer(current, config)
                kept = _keep(database, current) if keep else None
            config.attributes["connection"] = conn
            command.upgrade(config, "head")
    except SQLAlchemyError as trouble:
        told = f" A copy is in {kept}." if kept else ""
        raise UsageError(
            f"The database cannot be brought to schema {HEAD}: {trouble}. It is as it was; go on with the version of "
            f"wherry before, and report this.{told}"
        ) from trouble
    if kept is not None:
        log.warning("the database has schema %s now, not %s; as it was it is kept in %s", HEAD, current, kept)


def revision(database: Database) -> str | None:
    """The revision of a database; None when it is empty."""
    with database.snapshot() as conn:
        return _revision(conn)


def configuration() -> Config:
    """Where Alembic finds the migrations."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "wherry.control.db:migrations")
    return config


def _keep(database: Database, current: str) -> Path | None:
    """A copy of an SQLite database beside it, named by its schema; an earlier one of that schema goes."""
    url = database.engine.url
    if url.get_backend_name() != "sqlite" or not url.database:
        return None
    file = Path(url.database)
    kept = file.with_name(f"{file.name}.schema-{current}")
    beside = kept.with_name(f".{kept.name}.new")
    beside.unlink(missing_ok=True)
    copies.copy(file, beside)
    beside.rename(kept)
    return kept


def _revision(conn: Connection) -> str | None:
    """The revision of the database; None when it is empty."""
    if not inspect(conn).has_table("alembic_version"):
        return None
    found: str | None = conn.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def _refuse_newer(current: str, config: Config) -> None:
    from alembic.script import ScriptDirectory

    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current not in known:
        raise UsageError(
            f"The database has schema version {current}, which this program does not know: "
            "it was written by a newer version. Start that version, or restore a backup."
        )
