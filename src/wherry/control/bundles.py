"""The files of support bundles, in the state directory: taken in pieces, whole or not at all, gone when their row is.

    bundles/<id>.part   what has come so far        bundles/<id>   a bundle whose SHA-256 is the one that was told

Nothing in them is ever unpacked here.  Called by the agent protocol, the resource API, the pages and housekeeping.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import anyio.to_thread
from sqlalchemy import Connection

from wherry.control.plane import Plane
from wherry.control.services import agent_bundles
from wherry.model import ids
from wherry.model.errors import ApiError

_PART = ".part"


class BundleStore:
    """Files by the id of their bundle.  The caller has checked whose that is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def append(self, bundle: str, offset: int, piece: bytes, limit: int) -> int:
        """Add a piece where it belongs, or leave it where it does not; how much there is.

        A first piece begins anew.  413 for more than `limit` bytes in all.
        """
        path = self._part(bundle)
        there = path.stat().st_size if path.exists() else 0
        if offset not in (0, there):
            return there
        if offset + len(piece) > limit:
            path.unlink(missing_ok=True)
            raise ApiError(413, "RequestContentTooLarge", f"A support bundle has at most {limit} bytes here.")
        with path.open("wb" if offset == 0 else "ab") as file:
            file.write(piece)
        return offset + len(piece)

    def finish(self, bundle: str, sha256: str) -> int | None:
        """Make what has come a bundle when that is its SHA-256, and say how large it is; else forget it."""
        part = self._part(bundle)
        try:
            with part.open("rb") as file:
                right = hashlib.file_digest(file, "sha256").hexdigest() == sha256
                os.fsync(file.fileno())
        except FileNotFoundError:
            return None
        if not right:
            part.unlink()
            return None
        size = part.stat().st_size
        part.rename(self.path(bundle))
        return size

    def drop(self, bundle: str) -> None:
        """Forget what has come so far."""
        self._part(bundle).unlink(missing_ok=True)

    def path(self, bundle: str) -> Path:
        """Where a bundle lies, or would."""
        if not ids.GUID.fullmatch(bundle):
            raise ApiError(404, "BundleNotFound", "There is no such support bundle.")
        return self._folder / bundle

    def keep_only(self, known: set[str]) -> None:
        """Remove the files of all others."""
        for file in list(self._folder.iterdir()):
            if file.name.removesuffix(_PART) not in known:
                file.unlink(missing_ok=True)

    def _part(self, bundle: str) -> Path:
        return self.path(bundle).with_name(bundle + _PART)


def store_of(plane: Plane) -> BundleStore:
    """The files of this control plane."""
    if plane.state is None:
        raise LookupError("a control plane that keeps support bundles needs a state directory")
    return BundleStore(Path(plane.state) / "bundles")


async def tidy(plane: Plane) -> None:
    """Forget what is over, and files that belong to nothing."""
    if plane.state is None:
        return
    known = await plane.database.write(_forget, plane.clock())
    await anyio.to_thread.run_sync(store_of(plane).keep_only, known)


def _forget(conn: Connection, now: float) -> set[str]:
    agent_bundles.forget_old(conn, now)
    return agent_bundles.all_ids(conn)
