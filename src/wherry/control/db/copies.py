"""A consistent copy of a SQLite database while others write to it.

SQLite's own online backup, in one step under one read transaction: writers do not wait, and the copy is the database
of one moment.  Called by `backup` and, before a schema is upgraded, by `schema`.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from wherry.model.errors import UsageError, WherryError


def copy(database: Path, into: Path) -> None:
    """Make `into`, one file that only its owner may read; raises when the copy is damaged."""
    if not database.is_file():
        raise UsageError(f"There is no database {database}.")
    os.close(os.open(into, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with (
            closing(sqlite3.connect(database, timeout=30)) as source,
            closing(sqlite3.connect(into)) as target,
        ):
            source.backup(target)
            # One file that needs no other beside it.
            target.execute("PRAGMA journal_mode=DELETE")
            told = target.execute("PRAGMA quick_check(1)").fetchone()[0]
        if told != "ok":
            raise WherryError(f"{database} is damaged: {told}. Look at it with: wherry doctor.")
        with into.open("rb") as file:
            os.fsync(file.fileno())
    except sqlite3.Error as trouble:
        into.unlink()
        raise WherryError(f"{database} cannot be copied: {trouble}.") from trouble
    except BaseException:
        into.unlink()
        raise
