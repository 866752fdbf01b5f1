"""What a target cannot hold of an item, told by a dry run before anything is copied.

The words stand in the detail of the item's log row and are counted from there.  Called by `engine.span` (`of`) and
`engine.copy` (`told`).
"""

from __future__ import annotations

from collections.abc import Iterator

from wherry.model.entry import Attributes, Entry, Kind
from wherry.model.options import Preserve
from wherry.model.outcomes import Outcome, Row
from wherry.model.plan import Holds

_BEGIN = "not held: "
_BY_CODE = {
    "AZSM2022": "names",
    "AZSM2023": "names",
    "AZSM2024": "names",
    "AZSM2025": "names",
    "AZSM2026": "sizes",
}


def of(source: Entry, holds: Holds, preserve: tuple[Preserve, ...], attributes: Attributes) -> list[str]:
    """The words for what would be lost of `source`, with these extended attributes, although it is to be kept."""
    words = []
    mode = source.mode
    if mode is not None and Preserve.MODE in preserve and not (holds.mode and mode == mode & holds.bits):
        words.append("mode")
    if not holds.owner and source.uid is not None and Preserve.OWNER in preserve:
        words.append("owner")
    if Preserve.TIMES in preserve and not _holds_time(holds, source.modified or 0):
        words.append("times")
    if source.links > 1 and not holds.hard_links:
        words.append("hardLinks")
    if not holds.attributes:
        acls = [name for name, _ in attributes if name.startswith(b"system.posix_acl_")]
        if acls and Preserve.ACLS in preserve:
            words.append("acls")
        if len(acls) < len(attributes) and Preserve.XATTRS in preserve:
            words.append("xattrs")
    return words


def _holds_time(holds: Holds, modified: int) -> bool:
    early = bool(holds.earliest) and modified < min(holds.earliest)
    late = bool(holds.latest) and modified > max(holds.latest)
    return holds.times and not modified % holds.precision and not early and not late


def detail(words: list[str]) -> str:
    """The detail of a row that tells these losses."""
    return _BEGIN + ", ".join(words) if words else ""


def told(row: Row) -> Iterator[str]:
    """The words of a row of a dry run."""
    if row.outcome is Outcome.UNSUPPORTED:
        yield _BY_CODE.get(row.code) or ("links" if row.kind is Kind.LINK else "special")
    elif row.detail.startswith(_BEGIN):
        yield from row.detail.removeprefix(_BEGIN).split(", ")
