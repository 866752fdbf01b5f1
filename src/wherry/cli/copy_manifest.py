"""The list of paths that `wherry copy --manifest` takes, sorted for the engine's processes to look up.

Without a state the sorted file is gone when the copy ends.  With one it stays beside the state, because a copy that
goes on must go on with the same list; another list is refused.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from wherry.cli.kept_folder import kept_folder
from wherry.model.errors import UsageError

STANDARD_INPUT = "-"


@dataclass(frozen=True, slots=True)
class Listed:
    """The sorted file ('' for none) and how many paths are in it; `expected` items, 0 when that cannot be told."""

    file: str = ""
    count: int | None = None
    expected: int = 0


@contextmanager
def opened(name: str | None, state: Path | None) -> Iterator[Listed]:
    """The list of this name, while the block lasts."""
    kept = _beside(state) if state is not None else None
    if name is None:
        if kept is not None and kept.exists():
            raise UsageError(f"The state file belongs to a copy with a manifest ({kept}): give it again.")
        yield Listed()
        return
    with kept_folder("wherry-manifest-", kept.parent if kept else None) as folder:
        sorted_file = folder / "sorted"
        listed = _sorted(name, sorted_file)
        if kept is not None and state is not None:
            _keep(sorted_file, kept, state)
            sorted_file = kept
        yield Listed(str(sorted_file), listed.count, listed.expected)


def _sorted(name: str, target: Path) -> Listed:
    from wherry.stores.wrap import manifest_file

    if name == STANDARD_INPUT:
        found = manifest_file.sort(sys.stdin.buffer, "Standard input", target)
    else:
        with open(name, "rb") as source:
            found = manifest_file.sort(source, name, target)
    return Listed("", found.count, 0 if found.whole_folders else found.count)


def _beside(state: Path) -> Path:
    return state.with_name(f"{state.name}.manifest")


def _keep(made: Path, kept: Path, state: Path) -> None:
    """Put the sorted list beside the state, or see that it is the one that lies there."""
    if not kept.exists():
        if state.exists():
            raise UsageError("The state file belongs to another copy: one without a manifest.")
        made.rename(kept)
    elif not _same(made, kept):
        raise UsageError("The state file belongs to another copy: one with another manifest.")


def _same(one: Path, other: Path) -> bool:
    with one.open("rb") as first, other.open("rb") as second:
        return all(left == right for left, right in _pairs(first, second))


def _pairs(first: BinaryIO, second: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    while True:
        pair = first.read(1 << 20), second.read(1 << 20)
        yield pair
        if not any(pair):
            return
