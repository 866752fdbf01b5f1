"""Brings a database to the schema of this program, or refuses one that is newer.

Called by `deployment` each time the state is opened, before anything else uses the database.  Alembic is imported only
where there is something to bring, for it takes as long as all else that a start of the control plane does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from wherry.control.db.engine import Database
from wherry.model.errors import UsageError

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0003"
"""The newest revision in `migrations`."""


def upgrade(database: Database) -> None:
    """Run the missing migrations in one transaction; raises `UsageError` when the database is newer."""
    with database.transaction() as conn:
        current = _revision(conn)
        if current == HEAD:
            return
        from alembic import command

        config = configuration()
        if current is not None:
            _refuse_newer(current, config)
        config.attributes["connection"] = conn
        command.upgrade(config, "head")


def configuration() -> Config:
    """Where Alembic finds the migrations."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "wherry.control.db:migrations")
    return config


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
