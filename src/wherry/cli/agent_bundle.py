"""`wherry agent request-bundle|list-bundles|download-bundle|delete-bundle`: support bundles of agents elsewhere.

The agent of this machine makes one with `wherry agent bundle`.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from wherry.cli.connected import Session, session
from wherry.cli.options import Group, Mover, Yes, name_option
from wherry.cli.output import answers, confirm, tell
from wherry.model.errors import UsageError

Name = Annotated[str, name_option("--agent-name", what="agent")]
Id = Annotated[str, typer.Option("--bundle", metavar="ID", help="Which one; the latest without it.")]
COLUMNS = (
    ("Id", "id"),
    ("State", "state"),
    ("Asked for", "requestedAt"),
    ("By", "requestedBy"),
    ("Bytes", "size"),
    ("SHA-256", "sha256"),
    ("Kept until", "keptUntil"),
    ("Trouble", "trouble"),
)
_ASKED = "Requested"
_LOOK_SECONDS = 1.0


def add_to(app: typer.Typer) -> None:
    """Add these commands to those of the noun."""
    for command in (request_bundle, list_bundles, download_bundle, delete_bundle):
        app.command()(command)


@answers(COLUMNS)
def request_bundle(
    name: Name,
    group: Group = None,
    mover: Mover = None,
    wait: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="How long to wait until the agent has brought it.")
    ] = 0.0,
) -> Any:
    """Ask an agent for a support bundle: it brings it at its next contact."""
    with session(group, mover) as here:
        path = here.at.of_mover("agents", name)
        told = here.api.post(f"{path}/requestSupportBundle")
        until = time.monotonic() + wait
        while told["state"] == _ASKED and (left := until - time.monotonic()) > 0:
            time.sleep(min(_LOOK_SECONDS, left))
            told = _one(here, path, str(told["id"]))
        return told


@answers(COLUMNS)
def list_bundles(name: Name, group: Group = None, mover: Mover = None) -> Any:
    """The support bundles that an agent was asked for, the latest first."""
    with session(group, mover) as here:
        return here.every(f"{here.at.of_mover('agents', name)}/supportBundles")


@answers((("File", "path"), ("Bytes", "size"), ("SHA-256", "sha256")))
def download_bundle(
    name: Name,
    bundle: Id = "",
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", metavar="FILE", show_default=False, help="Where to; must not be there."),
    ] = None,
    group: Group = None,
    mover: Mover = None,
) -> Any:
    """Fetch a support bundle that an agent has brought; its SHA-256 is checked."""
    with session(group, mover) as here:
        path = here.at.of_mover("agents", name)
        found = _one(here, path, bundle)
        place = file or Path(f"{name}-{found['id']}.tar.gz")
        _save(here, f"{path}/supportBundles/{found['id']}/download", place, str(found.get("sha256", "")))
        return {"path": str(place), "size": place.stat().st_size, "sha256": found.get("sha256")}


def delete_bundle(
    name: Name, bundle: Id = "", group: Group = None, mover: Mover = None, yes: Yes = False
) -> None:
    """Forget a support bundle at the control plane, or take the asking back."""
    with session(group, mover) as here:
        path = here.at.of_mover("agents", name)
        found = _one(here, path, bundle)
        confirm(f"Delete the support bundle {found['id']}?", yes=yes)
        here.api.delete(f"{path}/supportBundles/{found['id']}")


def _one(here: Session, path: str, bundle: str) -> dict[str, Any]:
    for found in here.every(f"{path}/supportBundles"):
        if bundle in ("", found["id"]):
            return dict(found)
    raise UsageError("There is no such support bundle. Ask for one: wherry agent request-bundle.")


def _save(here: Session, path: str, place: Path, sha256: str) -> None:
    """Write the file beside its place, and put it there when it is whole."""
    if place.exists():
        raise UsageError(f"{place} is there already. Name another file.")
    beside, digest = place.with_name(f".{place.name}.{os.getpid()}"), hashlib.sha256()
    try:
        with beside.open("xb") as out:
            os.fchmod(out.fileno(), 0o600)
            for piece in here.api.content(path):
                digest.update(piece)
                out.write(piece)
        if digest.hexdigest() != sha256:
            raise UsageError("What came is not what the agent has brought. Try again.")
        beside.rename(place)
    except OSError as trouble:
        raise UsageError(f"{place} cannot be written: {trouble.strerror}.") from trouble
    finally:
        beside.unlink(missing_ok=True)
    tell("Look at it before you pass it on: it tells names of machines and addresses.")
