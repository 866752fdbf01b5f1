"""Compare and decide: what is to be done about one item.

Pure: two entries, the options and what the target can hold go in, a decision comes out.  Called by the walk
for each pair of a merged listing.  The test of change is size, then modified time at the coarser precision of
both sides; mode and owner tell a change of metadata alone.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from enum import Enum

from wherry.model import names
from wherry.model.entry import Entry, Kind
from wherry.model.options import Compare, CopyMode, JobOptions, Links, Verify


class Do(Enum):
    """What the engine has to do with an item."""

    NOTHING = "nothing"
    TRANSFER = "transfer"
    DESCRIBE = "describe"
    MAKE_LINK = "make link"
    DEFER_LINK = "defer to the links phase"
    ENTER = "folder"
    LATE = "copy after the delete phase"
    EXCLUDE = "exclude"
    UNSUPPORTED = "unsupported"
    FAIL = "fail"
    LINK_GROUP = "copy the first name of a file, link the others"
    FINISH = "give a folder its metadata"
    DELETE = "delete"


class FolderState(Enum):
    """What the folders phase owes a folder."""

    EQUAL = "equal"
    TIMES = "only times differ"
    DUE = "new or with other metadata"


@dataclass(frozen=True, slots=True)
class Holds:
    """What a target can hold, as far as deciding needs it."""

    names: names.NameRules
    precision: int = 1
    mode: bool = True
    owner: bool = True
    symlinks: bool = True
    hard_links: bool = True
    attributes: bool = False
    max_size: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """The deed, with the item code that explains it."""

    do: Do
    code: str = "AZSM0000"
    detail: str = ""
    folder: FolderState = FolderState.EQUAL


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is known of earlier work of this run on this part.

    `since` is the run's start on the target's clock, ns.  `restarted`: the machine of a local target lost power
    or was started anew meanwhile, so that uncommitted work of this run cannot be trusted.
    """

    revisited: bool = False
    since: int = 0
    restarted: bool = False


def decide(
    path: bytes, source: Entry, target: Entry | None, options: JobOptions, holds: Holds, attempt: Attempt
) -> Decision:
    """What to do about `source` at `path`, of which the target holds `target`."""
    if excluded(path, source.kind, options):
        return Decision(Do.EXCLUDE, "AZSM2001")
    problem = _unsupported(path, source, options, holds)
    if problem:
        return Decision(Do.UNSUPPORTED, problem)
    if target is not None and (source.kind is Kind.FOLDER) != (target.kind is Kind.FOLDER):
        return _other_kind(target, options)
    if source.kind is Kind.FOLDER:
        return Decision(Do.ENTER, folder=_folder_state(source, target, holds))
    if source.kind is Kind.LINK:
        return Decision(Do.MAKE_LINK)
    if source.links > 1 and holds.hard_links:
        return Decision(Do.DEFER_LINK)
    return compare_file(source, target, options, holds, attempt)


def _other_kind(target: Entry, options: JobOptions) -> Decision:
    if options.mode is CopyMode.MIRROR:
        return Decision(Do.LATE)
    kind = "folder" if target.kind is Kind.FOLDER else "file"
    return Decision(Do.FAIL, "AZSM2066", f"a {kind} is in its place")


def _unsupported(path: bytes, source: Entry, options: JobOptions, holds: Holds) -> str | None:
    if source.kind is Kind.SPECIAL:
        return "AZSM2021"
    if source.kind is Kind.LINK and (not holds.symlinks or options.links is Links.SKIP):
        return "AZSM2021"
    if holds.max_size and source.size > holds.max_size:
        return "AZSM2026"
    return holds.names.problem(path)


def _folder_state(source: Entry, target: Entry | None, holds: Holds) -> FolderState:
    if target is None or not target.sealed or _metadata_differs(source, target, holds):
        return FolderState.DUE
    return FolderState.EQUAL if _same_time(source, target, holds) else FolderState.TIMES


def compare_file(
    source: Entry, target: Entry | None, options: JobOptions, holds: Holds, attempt: Attempt
) -> Decision:
    """What a file needs: data, metadata alone, or nothing."""
    if target is None or target.kind is not Kind.FILE:
        return Decision(Do.TRANSFER)
    if not same_data(source, target, options, holds):
        return Decision(Do.TRANSFER)
    earlier = attempt.revisited and target.changed is not None and target.changed >= attempt.since
    unproven = attempt.restarted or options.verify is Verify.READBACK or not _same_time(source, target, holds)
    if earlier and unproven:
        # Nobody knows whether it reached the disk, was read back, or was finished at all: times are set last.
        return Decision(Do.TRANSFER)
    if _metadata_differs(source, target, holds):
        return Decision(Do.DESCRIBE, "AZSM2044")
    if earlier:
        return Decision(Do.NOTHING, "AZSM2043")
    return Decision(Do.NOTHING, "AZSM2041")


def same_data(source: Entry, target: Entry, options: JobOptions, holds: Holds) -> bool:
    """Whether the target's bytes count as equal without reading them."""
    if source.size != target.size:
        return False
    return options.compare is Compare.SIZE or _same_time(source, target, holds)


def _same_time(source: Entry, target: Entry, holds: Holds) -> bool:
    if source.modified is None or target.modified is None:
        return False
    return source.modified // holds.precision == target.modified // holds.precision


def _metadata_differs(source: Entry, target: Entry, holds: Holds) -> bool:
    # Who may not give files away must not set bits that lend the owner's rights.
    mask = 0o7777 if holds.owner else 0o1777
    wanted = source.mode if holds.mode else None
    if wanted is not None and (target.mode is None or (wanted ^ target.mode) & mask):
        return True
    if not holds.owner or source.uid is None:
        return False
    return (source.uid, source.gid) != (target.uid, target.gid)


def excluded(path: bytes, kind: Kind, options: JobOptions) -> bool:
    """Whether the filters keep an item out; `include` chooses among files, never folders."""
    if any(_matches(path, pattern) for pattern in options.exclude):
        return True
    if kind is Kind.FOLDER or not options.include:
        return False
    return not any(_matches(path, pattern) for pattern in options.include)


def _matches(path: bytes, pattern: str) -> bool:
    text = path.decode("utf-8", "surrogateescape")
    return fnmatch.fnmatchcase(text if "/" in pattern else text.rpartition("/")[2], pattern.lstrip("/"))
