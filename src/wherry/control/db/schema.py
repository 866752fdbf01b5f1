"""Brings a database to the schema of this program, or refuses one that is newer.

Called by `deployment` each time the state is opened, before anything else uses the database.
"""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from wherry.control.db.engine import Database
from wherry.model.errors import UsageError


def upgrade(database: Database) -> None:
    """Run the missing migrations in one transaction; raises `UsageError` when the database is newer."""
    config = Config()
    config.set_main_option("script_location", "wherry.control.db:migrations")
    with database.transaction() as conn:
        _refuse_newer(conn, config)
        config.attributes["connection"] = conn
        command.upgrade(config, "head")


def _refuse_newer(conn: Connection, config: Config) -> None:
    current = MigrationContext.configure(conn).get_current_revision()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise UsageError(
            f"The database has schema version {current}, which this program does not know: "
            "it was written by a newer version. Start that version, or restore a backup."
        )
