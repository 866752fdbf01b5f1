"""`wherry backup` and `wherry restore`, on the control plane's own machine."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from wherry.cli.options import State
from wherry.cli.output import answers, tell
from wherry.model.errors import UsageError
from wherry.model.outcomes import iso_time

_KEY = "The master key is not in it: keep that elsewhere, for nothing can be restored without it."


@answers(
    (
        ("File", "file || name"),
        ("Size", "size"),
        ("SHA-256", "sha256"),
        ("Missing", "length(missing || `[]`)"),
    )
)
def backup(
    state: State,
    into: Annotated[
        Path | None, typer.Option(metavar="FILE", show_default=False, help="A new file for the backup.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be in it.")] = False,
) -> Any:
    """Keep everything of a control plane in one file, also while it works; without the master key."""
    from wherry.control import backup as backups

    if dry_run:
        return [{"name": name, "size": size} for name, size in backups.would_take(state)]
    if into is None:
        raise UsageError("Name the file of the backup with --into.")
    made = backups.take(state, into, time.time())
    if made.manifest.missing:
        tell(
            f"{len(made.manifest.missing)} segments of copy logs are missing or damaged: see: wherry doctor."
        )
    tell(_KEY)
    return {
        "file": str(into), "size": made.size, "sha256": made.sha256, "files": len(made.manifest.files),
        "missing": made.manifest.missing, "schema": made.manifest.revision,
    }  # fmt: skip


@answers((("State", "state"), ("Backup of", "takenAt"), ("Taken away", "withdrawn"), ("Runs", "runs")))
def restore(
    from_: Annotated[Path, typer.Option("--from", metavar="FILE", show_default=False, help="The backup.")],
    state: Annotated[
        Path,
        typer.Option(
            metavar="DIR", show_default=False, help="Where to: a directory that is absent or empty."
        ),
    ],
    master_key: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            envvar="WHERRY_MASTER_KEY",
            show_default=False,
            help="The master key that belongs to it: a file, which becomes master.key of the state; or a source as "
            "wherry serve takes it, which stays where it is.",
        ),
    ],
    sha256: Annotated[
        str, typer.Option(metavar="HEX", show_default=False, help="What wherry backup said of the file.")
    ] = "",
    standing: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="The file standing of the state that is replaced: what was taken away since the backup stays so.",
        ),
    ] = None,
) -> Any:
    """Make a state directory out of a backup; all tokens, sign-ins and leases of before end."""
    from wherry.control import restore as restores

    done = restores.restore(restores.Wanted(from_, state, master_key, sha256, standing), time.time())
    if standing is None:
        tell("What was taken away after the backup is in force again: look through users, agents and roles.")
    tell("Never serve the old state again beside this one.")
    return {
        "state": str(state), "takenAt": iso_time(done.manifest.at), "withdrawn": done.withdrawn, "runs": done.runs,
        "missing": done.manifest.missing,
    }  # fmt: skip
