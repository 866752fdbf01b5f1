"""Random trees and what the walk over them visits: an oracle for the ledger that knows nothing of its bounds."""

from __future__ import annotations

from hypothesis import strategies as st

from wherry.model import names
from wherry.model.ledger import Span

# Few and awkward: a name that begins another one, and bytes on both sides of the slash.
NAMES = st.sampled_from([b"a", b"a!", b"a-b", b"a0", b"a\x01", b"b", b"\xff", b"aa", b" "])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(b"/".join)


def tree(paths: set[bytes]) -> list[bytes]:
    """All paths with all folders above them, in the order of the walk: a folder, what is in it, by bytes."""
    whole = {
        b"/".join(path.split(b"/")[:depth]) for path in paths for depth in range(1, len(path.split(b"/")) + 1)
    }
    found: list[bytes] = []

    def walk(folder: bytes) -> None:
        here = sorted(path for path in whole if names.parent(path) == folder)
        for path in here:
            found.append(path)
            walk(path)

    walk(b"")
    return found


TREES = st.sets(PATHS, max_size=14).map(tree)


def left_in(span: Span, walked: list[bytes]) -> list[bytes]:
    """The paths that a walk over `span` has still to visit, told by what the span's words say."""
    below = span.prefix + b"/" if span.prefix else b""
    inside = []
    for path in walked:
        if not path.startswith(below):
            continue
        top = path[len(below) :].split(b"/")[0]
        if (span.start is None or top >= span.start) and (span.stop is None or top < span.stop):
            inside.append(path)
    if span.cursor is None:
        return inside
    visited = {path for path in inside if path.split(b"/") <= span.cursor.split(b"/")}
    return [path for path in inside if path not in visited]
