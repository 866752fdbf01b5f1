"""Compare and decide: what is to be done about one item.

Pure: two entries, the options and what the target can hold go in, a decision comes out.  Called by the walk
for each pair of a merged listing.  The test of change is size, then modified time at the coarser precision of
both sides; mode and owner tell a change of metadata alone.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from itertools import compress, count
from operator import gt, itemgetter, ne

from wherry.model import names
from wherry.model.entry import Alike, Attributes, Entry, Glance, Kind
from wherry.model.filters import Filters
from wherry.model.options import Compare, CopyMode, JobOptions, Links, Preserve, Verify

Pair = tuple[Entry | None, Entry | None]
"""What source and target have by one name; at most one is missing."""


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
    CHECK = "compare bytes, then transfer or not"
    LOOK = "ask the target for what its listing lacks, then decide"
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
    """What a target can hold, as far as deciding needs it.

    `earliest` and `latest` are times (ns) that may stand there for any before, or after, which it cannot hold.
    """

    names: names.NameRules
    precision: int = 1
    mode: bool = True
    owner: bool = True
    bits: int = 0o7777  # of a mode
    symlinks: bool = True
    hard_links: bool = True
    times: bool = True
    attributes: bool = False
    max_size: int = 0
    earliest: tuple[int, ...] = ()
    latest: tuple[int, ...] = ()


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


# The longest name of `NameRules.is_simple`.
_SIMPLE_NAME = 255
_TOLD = itemgetter(1, 2, 3, 5, 6, 7)  # kind, size, modified, mode, uid and gid of an entry
_MODE_LINKS = itemgetter(0, 1)  # of what a glance tells
# The bits of a mode that lend nobody's rights.
_WITHOUT_OWNER = 0o1777


class Judge:
    """Decides for one run on one target.  Made once for a lease, asked for each pair of the walk."""

    def __init__(self, options: JobOptions, holds: Holds, attempt: Attempt, *, bare: bool = False) -> None:
        self.options = options
        self._whole = holds
        self.holds = _preserving(holds, options)
        self._attempt = attempt
        self._bare = bare
        self._filters = Filters.of(options)
        self.filtered = not self._filters.is_empty
        quick = not (options.dry_run or attempt.revisited)
        self._plain = quick
        self._any_file = holds.names.is_simple and not holds.max_size
        self._linked = holds.hard_links
        full = self.holds.mode and self.holds.owner and self.holds.times and self.holds.precision == 1
        self._quick = quick and full and options.compare is Compare.TIME and not bare
        self._by_change_time = self.holds.attributes

    @property
    def keeps_all(self) -> bool:
        """Whether all metadata is kept that the target can hold."""
        return set(self.options.preserve) == set(Preserve)

    def is_plain(self, stem: bytes, source: Entry) -> bool:
        """Whether what the target lacks is simply copied, with nothing to think about.  Quick; False is no answer.

        `stem` is what stands before the name in its path.
        """
        if not self._plain or source[1] is not Kind.FILE or (source[8] != 1 and self._linked):
            return False
        if self.filtered and self.leaves_out(stem + source[0], source):
            return False
        if self._any_file:
            return len(source[0]) <= _SIMPLE_NAME
        return self._unsupported(stem + source[0], source) is None

    @property
    def glances(self) -> bool:
        """Whether `different` may be asked."""
        return self._quick and not self.filtered

    def different(self, source: Glance, target: Glance) -> list[int]:
        """Of items with the same names, the numbers of all but the files that are equal beyond doubt.  Quick."""
        ours = source.told
        differ = set(compress(count(), map(ne, ours, target.told)))
        differ.update(compress(count(), map(ne, source.modified, target.modified)))
        if odd := {one for one in set(map(_MODE_LINKS, ours)) if not self._is_file(*one)}:
            differ.update(number for number, told in enumerate(ours) if told[:2] in odd)
        if self._by_change_time:
            differ.update(compress(count(), map(gt, source.changed, target.changed)))
        return sorted(differ)

    def _is_file(self, mode: int, links: int) -> bool:
        return stat.S_ISREG(mode) and (links == 1 or not self._linked)

    def unchanged(self, stem: bytes, pairs: list[Pair]) -> tuple[list[Alike], list[Pair]]:
        """The files of the source that are equal beyond doubt to their partners, and the other pairs.  Quick.

        `stem` is what stands before the names in their paths.
        """
        if not self._quick:
            return [], pairs
        equal: list[Alike] = []
        left: list[Pair] = []
        filtered = self.filtered
        told, file, linked, described = _TOLD, Kind.FILE, self._linked, self._was_described
        for pair in pairs:
            source, target = pair
            if (
                source is not None
                and target is not None
                and told(source) == told(target)
                and source[1] is file
                and source[3] is not None
                and (source[8] == 1 or not linked)
                and not described(source, target)
                and not (filtered and self.leaves_out(stem + source[0], source))
            ):
                equal.append(Alike(source[0], source[2]))
            else:
                left.append(pair)
        return equal, left

    def leaves_out(self, path: bytes, source: Entry) -> bool:
        """Whether a filter keeps this item of the source out."""
        return self.filtered and (self._filters.excludes(path, source[1]) or self._filters.leaves_out(source))

    def prunes(self, folder: bytes) -> bool:
        """Whether nothing below a folder can be wanted."""
        return self.filtered and self._filters.prunes(folder)

    def excludes(self, path: bytes, kind: Kind) -> bool:
        """Whether a filter keeps an item out."""
        return self.filtered and self._filters.excludes(path, kind)

    def decide(self, path: bytes, source: Entry, target: Entry | None) -> Decision:
        """What to do about `source` at `path`, of which the target holds `target`."""
        if self.leaves_out(path, source):
            return Decision(Do.EXCLUDE, "AZSM2001")
        problem = self._unsupported(path, source)
        if problem:
            return Decision(Do.UNSUPPORTED, problem)
        if target is not None and (source.kind is Kind.FOLDER) != (target.kind is Kind.FOLDER):
            return _other_kind(target, self.options)
        if source.kind is Kind.FOLDER:
            return Decision(Do.ENTER, folder=self._folder_state(source, target))
        if source.kind is Kind.LINK:
            return self._link(source, target)
        return self._file(source, target)

    def _file(self, source: Entry, target: Entry | None) -> Decision:
        if source.links > 1 and self.holds.hard_links:
            return Decision(Do.DEFER_LINK)
        if self._bare and target is not None and target.size == source.size:
            return Decision(Do.LOOK)
        return self.compare_file(source, target)

    def _unsupported(self, path: bytes, source: Entry) -> str | None:
        holds = self.holds
        if source.kind is Kind.SPECIAL:
            return "AZSM2021"
        if source.kind is Kind.LINK and (not holds.symlinks or self.options.links is Links.SKIP):
            return "AZSM2021"
        if holds.max_size and source.size > holds.max_size:
            return "AZSM2026"
        return holds.names.problem(path)

    def _link(self, source: Entry, target: Entry | None) -> Decision:
        """A link whose copy tells of which version it is needs no look at its text."""
        if self.options.links is Links.FOLLOW:
            return Decision(Do.FAIL, "AZSM2061", "the link leads to nothing below the source")
        if self._bare and target is not None:
            return Decision(Do.LOOK)
        if (
            target is not None
            and target.kind is Kind.LINK
            and target.source_changed is not None
            and target.source_changed == source.changed
            and self._same_time(source, target)
        ):
            return Decision(Do.NOTHING, "AZSM2041")
        return Decision(Do.MAKE_LINK)

    def _folder_state(self, source: Entry, target: Entry | None) -> FolderState:
        if target is None or not target.sealed or self.metadata_differs(source, target):
            return FolderState.DUE
        equal = self._same_time(source, target) and not self._was_described(source, target)
        return FolderState.EQUAL if equal else FolderState.TIMES

    def compare_file(self, source: Entry, target: Entry | None) -> Decision:
        """What a file needs: data, metadata alone, a comparison of bytes, or nothing."""
        if target is None or target.kind is not Kind.FILE or source.size != target.size:
            return Decision(Do.TRANSFER)
        options = self.options
        if options.compare is Compare.CHECKSUM:
            return Decision(Do.CHECK)
        if options.compare is Compare.TIME and not self._same_time(source, target):
            return Decision(Do.TRANSFER)
        return self.same_data(source, target, "AZSM2041")

    def same_data(self, source: Entry, target: Entry, code: str) -> Decision:
        """What a file needs of which the target has the bytes already; `code` says how that is known."""
        attempt = self._attempt
        earlier = self.is_of_this_run(target)
        read_back = self.options.verify in (Verify.READBACK, Verify.SAMPLE)
        if earlier and (attempt.restarted or read_back or not self._same_time(source, target)):
            # Nobody knows whether it reached the disk, was read back, or was finished at all: times are set last.
            return Decision(Do.TRANSFER)
        if self.metadata_differs(source, target) or not self._same_time(source, target):
            return self._described(source, target)
        if earlier:
            return Decision(Do.NOTHING, "AZSM2043")
        if self._was_described(source, target):
            return self._described(source, target)
        return Decision(Do.NOTHING, code)

    def _described(self, source: Entry, target: Entry) -> Decision:
        """Other metadata for a file, but not for what has other names besides: those may be of anybody."""
        shared = self._linked and target.links > 1 and source.links == 1
        return Decision(Do.TRANSFER) if shared else Decision(Do.DESCRIBE, "AZSM2044")

    @property
    def revisited(self) -> bool:
        """Whether an earlier attempt may have worked here."""
        return self._attempt.revisited

    @cached_property
    def told(self) -> Judge:
        """The same for entries that are wholly known."""
        return Judge(self.options, self._whole, self._attempt) if self._bare else self

    @cached_property
    def afresh(self) -> Judge:
        """The same without knowledge of earlier attempts."""
        return Judge(self.options, self._whole, Attempt(), bare=self._bare)

    def is_of_this_run(self, target: Entry) -> bool:
        """Whether an item of the target was written by an earlier attempt of this run."""
        attempt = self._attempt
        return attempt.revisited and target.changed is not None and target.changed >= attempt.since

    def is_described(self, source: Entry, target: Entry) -> bool:
        """Whether the target has the metadata of the source, times included."""
        return not self.metadata_differs(source, target) and self._same_time(source, target)

    def preserved(self, attributes: Attributes) -> Attributes:
        """Those extended attributes that are to be kept."""
        kept = self.options.preserve
        wanted = {True: Preserve.ACLS in kept, False: Preserve.XATTRS in kept}
        return tuple(one for one in attributes if wanted[one[0].startswith(b"system.posix_acl_")])

    def finished_folder(self, source: Entry, target: Entry | None) -> str | None:
        """The code when a folder needs nothing any more: equal before, or finished by an earlier attempt."""
        if self._folder_state(source, target) is not FolderState.EQUAL or target is None:
            return None
        return "AZSM2043" if self.is_of_this_run(target) else "AZSM2041"

    def _same_time(self, source: Entry, target: Entry) -> bool:
        if not self.holds.times:
            return True
        wanted, found, holds = source.modified, target.modified, self.holds
        if wanted is None or found is None:
            return False
        if wanted // holds.precision == found // holds.precision:
            return True
        return found in (holds.latest if wanted > found else holds.earliest)

    def metadata_differs(self, source: Entry, target: Entry) -> bool:
        """Whether mode or owner are not what they should be."""
        holds = self.holds
        # Who may not give files away must not set bits that lend the owner's rights.
        mask = holds.bits if holds.owner else _WITHOUT_OWNER
        wanted = source.mode if holds.mode else None
        if wanted is not None and (target.mode is None or (wanted ^ target.mode) & mask):
            return True
        known = holds.owner and source.uid is not None
        return known and (source.uid, source.gid) != (target.uid, target.gid)

    def _was_described(self, source: Entry, target: Entry) -> bool:
        """Whether the source's metadata may have changed since the copy, in what no listing tells."""
        if source.changed is None or not self._by_change_time:
            return False
        if target.source_changed is not None:
            return target.source_changed != source.changed
        return target.changed is not None and source.changed > target.changed

    def masked(self, entry: Entry) -> Entry:
        """The entry with what is to be preserved of it."""
        holds = self.holds
        if holds.mode and holds.owner and holds.times:
            return entry
        return entry._replace(
            mode=entry.mode if holds.mode else None,
            uid=entry.uid if holds.owner else None,
            gid=entry.gid if holds.owner else None,
            modified=entry.modified if holds.times else None,
        )

    def onto(self, entry: Entry, present: Entry | None) -> Entry:
        """The same for an item that is there already: mode and owner that are not to be preserved stay as they are."""
        like = self.masked(entry)
        if like is entry or present is None or present.kind is not entry.kind or not present.sealed:
            return like
        mode = present.mode if like.mode is None else like.mode
        if like.uid is not None:
            return like._replace(mode=mode)
        if like.mode is not None:
            # What lends the rights of the source's owner must not lend those of another.
            mode = like.mode & _WITHOUT_OWNER
        return like._replace(mode=mode, uid=present.uid, gid=present.gid)

    def unpreserved(self, attributes: Attributes) -> Attributes:
        """Those extended attributes of an item of the target that stay, whatever the source has."""
        preserved = self.preserved(attributes)
        return tuple(one for one in attributes if one not in preserved)


def _preserving(holds: Holds, options: JobOptions) -> Holds:
    kept = options.preserve
    return replace(
        holds,
        mode=holds.mode and Preserve.MODE in kept,
        owner=holds.owner and Preserve.OWNER in kept,
        times=holds.times and Preserve.TIMES in kept,
        attributes=holds.attributes and (Preserve.XATTRS in kept or Preserve.ACLS in kept),
    )


def _other_kind(target: Entry, options: JobOptions) -> Decision:
    if options.mode is CopyMode.MIRROR:
        return Decision(Do.LATE)
    kind = "folder" if target.kind is Kind.FOLDER else "file"
    return Decision(Do.FAIL, "AZSM2066", f"a {kind} is in its place")
