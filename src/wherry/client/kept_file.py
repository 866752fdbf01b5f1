"""Files that only their owner may read and that a crash leaves whole: the old one or the new one.

Called by `login` for a person's tokens and by `agent.state` for all that an agent keeps.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from pathlib import Path

from wherry.model.errors import UsageError

_BESIDE = re.compile(r"\..+\.[0-9a-f]{8}")
_ABANDONED_SECONDS = 3600.0


def private_folder(path: Path) -> Path:
    """`path` as a folder of this user that nobody else may enter; made when it is absent."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
        if found.st_uid != os.geteuid():
            raise UsageError(
                f"{path} belongs to another user. Name a folder of your own, or become that user."
            )
        if found.st_mode & 0o077:
            path.chmod(0o700)
    except OSError as trouble:
        raise UsageError(f"The folder {path} cannot be used: {trouble.strerror}.") from trouble
    return path


def replace(path: Path, content: bytes) -> None:
    """Put `content` in place of `path`, readable by its owner only and on disk when this returns."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.rename(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def create(path: Path, content: bytes) -> bool:
    """Make `path` with `content` unless it is there already; whether it was made, whole in any case."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    replace(beside, content)
    try:
        os.link(beside, path)
    except FileExistsError:
        return False
    finally:
        beside.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return True


def remove(path: Path) -> None:
    """Remove `path`, for good even if the power fails right after."""
    path.unlink(missing_ok=True)
    _sync_folder(path.parent)


def sweep(folder: Path) -> None:
    """Remove what writers that were killed have left: there may be keys in it.  What is new may still be at work."""
    for path in folder.iterdir():
        # One that has gone by itself meanwhile is no matter.
        with contextlib.suppress(OSError):
            old = abs(time.time() - path.stat().st_mtime) > _ABANDONED_SECONDS
            if old and _BESIDE.fullmatch(path.name):
                path.unlink()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
