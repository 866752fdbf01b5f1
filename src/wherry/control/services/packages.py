"""Packages of the agent's program that the operator of this service puts up: files in its state directory.

They are signed by a publisher whom each agent's owner has named, not by the service, which passes them on unread.
Called by the agent protocol and by `wherry package` on the service's own machine.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from wherry.model.errors import UsageError
from wherry.model.versions import Version
from wherry.trust.packages import file_name, version_of

_FOLDER = "packages"


def offered(state: Path) -> list[Version]:
    """The versions that are put up, the latest first."""
    try:
        names = os.listdir(state / _FOLDER)
    except FileNotFoundError:
        return []
    return sorted(filter(None, map(version_of, names)), reverse=True)


def later_than(state: Path, running: str) -> Version | None:
    """The latest version put up, if an agent that runs `running` is older than it."""
    try:
        known = Version.parse(running)
    except UsageError:
        return None
    return next((version for version in offered(state) if version > known), None)


def file_of(state: Path, version: str) -> Path | None:
    """The package of a version, None when it is not put up."""
    try:
        found = state / _FOLDER / file_name(str(Version.parse(version)))
    except UsageError:
        return None
    return found if found.is_file() else None


def put_up(state: Path, package: Path) -> Version:
    """Offer a package to the agents from now on; raises `UsageError` when its name is not one of a package."""
    version = version_of(package.name)
    if version is None:
        raise UsageError(f"{package.name} is not named as packages are: {file_name('1.4.0')}.")
    folder = state / _FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    beside = folder / f".{package.name}.{os.getpid()}"
    try:
        shutil.copyfile(package, beside)
        beside.rename(folder / package.name)
    finally:
        beside.unlink(missing_ok=True)
    return version


def withdraw(state: Path, version: str) -> None:
    """Offer a version no more; agents that run it go on.  Raises `UsageError` when it is not put up."""
    found = file_of(state, version)
    if found is None:
        raise UsageError(f"Version {version} is not put up.")
    found.unlink()
