"""Which folders of this machine a job may touch: those below the roots that its owner named, and no other.

Whoever may define endpoints must not by that read or write any folder of the agent's machine.  The decision falls
here, from the owner's own options; the store then holds it against links with `beneath` and `refused`.  Called by
`session` for each lease.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wherry.model.errors import RunError, UsageError
from wherry.model.names import escape
from wherry.model.wire import Place
from wherry.stores.port import StoreSpec

Side = Literal["source", "target"]

SYSTEM_PLACES = ("/etc", "/proc", "/sys", "/dev")
_NOT_ALLOWED = {"source": "AZSM1007", "target": "AZSM1032"}
_INVALID = {"source": "AZSM1004", "target": "AZSM1022"}


@dataclass(frozen=True, slots=True)
class Roots:
    """The folders that sources and targets may lie in; `private` is the agent's own state, never to be touched."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    private: str

    @classmethod
    def named(cls, sources: Iterable[Path], targets: Iterable[Path], private: Path) -> Roots:
        """The roots from the options of `wherry agent run`; `UsageError` for one that is no folder."""
        return cls(
            tuple(_folder(path, "--allow-source") for path in sources),
            tuple(_folder(path, "--allow-target") for path in targets),
            os.path.realpath(private),
        )

    def spec(self, place: Place, side: Side) -> StoreSpec:
        """How to open a folder of this machine; `RunError` when its owner does not allow it."""
        folder = _whole(place, side)
        roots = self.sources if side == "source" else self.targets
        # Links in the way count as what they point to, on both sides of the comparison.
        inner, outer = os.path.realpath(folder), os.path.realpath(os.fsencode(place.location))
        for root in roots:
            base = os.path.realpath(os.fsencode(root))
            if _lies_in(outer, base) and _lies_in(inner, outer):
                break
        else:
            raise RunError(_NOT_ALLOWED[side], f"{escape(folder)} lies in none of the allowed folders.")
        for closed in (*SYSTEM_PLACES, self.private):
            name = os.path.realpath(os.fsencode(closed))
            if _lies_in(inner, name) or _lies_in(name, inner):
                raise RunError(
                    _NOT_ALLOWED[side],
                    f"{escape(folder)} lies in or around {closed}, which is always refused.",
                )
        return StoreSpec(
            kind="posix",
            location=place.location,
            subpath=place.subpath,
            beneath=os.fsdecode(base),
            refused=(self.private,),
            create=side == "target",
        )


def check_apart(source: StoreSpec, target: StoreSpec) -> None:
    """`RunError` when one of two folders lies in the other, so that a run would copy what it writes."""
    one, other = (
        os.path.realpath(os.path.join(os.fsencode(spec.location), spec.subpath)) for spec in (source, target)
    )
    if _lies_in(one, other) or _lies_in(other, one):
        raise RunError("AZSM1033", f"{escape(one)} and {escape(other)}.")


def _folder(path: Path, option: str) -> str:
    if not path.is_absolute() or not path.is_dir():
        raise UsageError(f"{option} {path}: an existing folder is needed, by its whole path.")
    return os.path.realpath(path)


def _whole(place: Place, side: Side) -> bytes:
    """The folder that a place means; `RunError` for a path that tries to climb."""
    try:
        location = os.fsencode(place.location)
    except UnicodeEncodeError as broken:
        raise RunError(_INVALID[side], "The path is not text.") from broken
    parts = [*location.split(b"/"), *place.subpath.split(b"/")]
    if not location.startswith(b"/") or place.subpath.startswith(b"/") or b".." in parts:
        raise RunError(_INVALID[side], f"{escape(location)} with {escape(place.subpath)} is no whole path.")
    if b"\0" in location + place.subpath:
        raise RunError(_INVALID[side], f"{escape(location)} holds a character that no path has.")
    return os.path.normpath(os.path.join(location, place.subpath))


def _lies_in(path: bytes, folder: bytes) -> bool:
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")
