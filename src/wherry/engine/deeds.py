"""One deed: what a worker does with one item, and the log rows that tell of it.

Trouble of an item becomes a row and never stops its neighbours.  What concerns the whole run is raised: a lost
lease, a target that refuses the credential, that is full, or that cannot be reached at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from wherry.engine import transfer
from wherry.engine.pacer import Pacer
from wherry.engine.places import Doubt
from wherry.engine.team import Team
from wherry.model import names
from wherry.model.entry import Entry, Kind
from wherry.model.errors import CODES, Changed, Conflict, NotFound, StoreError
from wherry.model.outcomes import Outcome, Row
from wherry.model.plan import Decision, Do, Judge
from wherry.stores.port import Describes, HasAttributes, HoldsLinks, ReadsLinks, Store

TRANSFERRED = "AZSM0000"
EARLIER = "AZSM2043"


class Deed(NamedTuple):
    """What is to be done with `path`.

    `do` is TRANSFER, DESCRIBE, CHECK, LOOK or MAKE_LINK of the copy phase, or of a later phase LINK_GROUP (`paths` are
    the names of one file), FINISH (a folder's metadata; `counted` as in `WorkItem`) or DELETE (`target` as it was
    seen, `tag` of the version that may be deleted).
    """

    do: Do
    path: bytes
    source: Entry | None = None
    target: Entry | None = None
    counted: bool = True
    tag: str = ""
    paths: tuple[bytes, ...] = ()


@dataclass(slots=True)
class Both:
    """Both stores of a lease as its worker has them open, with what decides and what helps."""

    source: Store
    target: Store
    judge: Judge
    fence: Callable[[], None]
    moved: Callable[[], None]
    team: Team
    pacer: Pacer | None = None
    doubt: Doubt = field(init=False)

    def __post_init__(self) -> None:
        self.doubt = Doubt(self.source, self.target, writes=not self.judge.options.dry_run)

    def pace(self, size: int) -> None:
        """Wait until so many bytes more may be sent."""
        if self.pacer is not None:
            self.pacer.take(size)

    @property
    def limited(self) -> bool:
        """Whether it is limited at this moment how much may be sent."""
        return self.pacer is not None and self.pacer.limited


def do(both: Both, deed: Deed) -> list[Row]:
    """Carry out one deed."""
    try:
        if deed.do is Do.LINK_GROUP:
            return _link_group(both, deed)
        if deed.do is Do.FINISH:
            return _finish(both, deed)
        if deed.do is Do.DELETE:
            return _delete(both, deed)
        return [_copy(both, deed)]
    except StoreError as error:
        both.fence()
        both.doubt.weigh(error)
        return [failed(deed.path, deed.source, error) if deed.counted else failed_within(deed.path, error)]


def failed(path: bytes, entry: Entry | None, error: StoreError, code: str = "") -> Row:
    """The row of an item that failed, or that the target turned out not to hold."""
    kind, size = (entry.kind, entry.size) if entry else (Kind.FILE, 0)
    code = code or error.code
    outcome = Outcome.UNSUPPORTED if CODES[code].disposition == "skip" else Outcome.FAILED
    return Row(time.time(), kind, outcome, code, size, path, str(error))


def failed_within(folder: bytes, error: StoreError) -> Row:
    """The row of what failed about a folder that has a row of its own already: the rest of its listing, its times.

    It stands for an item more; its path is the folder's with a slash at the end.
    """
    return Row(time.time(), Kind.FOLDER, Outcome.FAILED, error.code, 0, folder + names.SEPARATOR, str(error))


def row(path: bytes, entry: Entry, code: str = TRANSFERRED, outcome: Outcome = Outcome.TRANSFERRED) -> Row:
    """The row of an item that ended well."""
    return Row(time.time(), entry.kind, outcome, code, entry.size, path)


def _copy(both: Both, deed: Deed) -> Row:
    """A deed of the copy phase; once more with fresh eyes when source or target moved meanwhile."""
    entry, expect = deed.source, deed.target
    if entry is None:
        raise NotFound("the source item is gone")
    try:
        if deed.do is Do.TRANSFER:
            transfer.copy_file(both, deed.path, entry, expect)
            return row(deed.path, entry)
        return _copy_once(both, deed.do, deed.path, entry, expect)
    except (Changed, Conflict) as moved:
        fresh, present = both.source.stat(deed.path), both.target.stat(deed.path)
        if fresh is None:
            raise NotFound("the source item vanished while it was copied") from moved
        if fresh.kind is not entry.kind or entry.kind is not Kind.FILE:
            raise
        decision = both.judge.afresh.compare_file(fresh, present)
        if isinstance(moved, Conflict) and (
            decision.do is Do.TRANSFER or not _is_spelled(both.target, deed.path)
        ):
            raise
        if decision.do is Do.NOTHING:
            return row(deed.path, fresh, EARLIER)
        return _copy_once(both, decision.do, deed.path, fresh, present)


def _is_spelled(target: Store, path: bytes) -> bool:
    """Whether the target lists the very name: what it finds by it may be another item's, where case does not count."""
    return any(entry.name == names.basename(path) for entry in target.list(names.parent(path)))


def foreseen(both: Both, deed: Deed) -> Row:
    """What a deed that depends on a closer look would come to; nothing is changed."""
    entry, do = deed.source, deed.do
    if entry is None:
        raise NotFound("the source item is gone")
    if do is Do.DEFER_LINK:
        do = both.judge.compare_file(entry, deed.target).do
    try:
        decision, expect = _looked_at(both, do, deed.path, entry, deed.target)
        if decision.do is Do.MAKE_LINK and _is_linked(both, deed.path, entry, expect):
            decision = Decision(Do.NOTHING, "AZSM2041")
    except StoreError as error:
        return failed(deed.path, entry, error)
    return settled(deed.path, entry, decision.code) if decision.do is Do.NOTHING else row(deed.path, entry)


def _looked_at(
    both: Both, do: Do, path: bytes, entry: Entry, expect: Entry | None
) -> tuple[Decision, Entry | None]:
    """LOOK and CHECK made a decision, and what the target holds; other deeds are decided already."""
    decision = Decision(do)
    if do is Do.LOOK:
        expect = both.target.stat(path)
        decision = both.judge.told.decide(path, entry, expect)
        if decision.do in (Do.FAIL, Do.LATE):
            raise Conflict(decision.detail or "an item of another kind is in its place")
    if decision.do is Do.CHECK and expect is not None:
        equal = transfer.is_equal(both, path, entry)
        decision = both.judge.same_data(entry, expect, "AZSM2042") if equal else Decision(Do.TRANSFER)
    return decision, expect


def _copy_once(both: Both, do: Do, path: bytes, entry: Entry, expect: Entry | None) -> Row:
    decision, expect = _looked_at(both, do, path, entry, expect)
    deed = decision.do
    if deed is Do.NOTHING:
        return settled(path, entry, decision.code)
    if deed is Do.DESCRIBE and isinstance(both.target, Describes):
        _describe(both, path, entry, expect)
        return row(path, entry, "AZSM2044")
    if deed is Do.MAKE_LINK:
        return _symlink(both, path, entry, expect)
    transfer.copy_file(both, path, entry, expect)
    return row(path, entry)


def _describe(both: Both, path: bytes, entry: Entry, expect: Entry | None) -> None:
    """Give the target's item the metadata of the source's, extended attributes where it can hold them."""
    if not isinstance(both.target, Describes):
        return
    attributes = None
    if both.judge.holds.attributes and isinstance(both.source, HasAttributes):
        preserved = both.judge.preserved(both.source.attributes(path))
        attributes = tuple(sorted(preserved + transfer.staying(both, path, expect)))
    like = both.judge.onto(entry, expect)
    if like.modified is None and expect is not None:
        like = like._replace(modified=expect.modified)
    both.target.describe(path, like, expect, attributes)


def _is_linked(both: Both, path: bytes, entry: Entry, present: Entry | None) -> bool:
    """Whether the target has the symbolic link already, with its metadata."""
    source, target = both.source, both.target
    if present is None or present.kind is not Kind.LINK or not both.judge.is_described(entry, present):
        return False
    if not (isinstance(source, ReadsLinks) and isinstance(target, ReadsLinks)):
        return False
    return source.read_link(path) == target.read_link(path)


def _symlink(both: Both, path: bytes, entry: Entry, expect: Entry | None) -> Row:
    source, target = both.source, both.target
    if not (isinstance(source, ReadsLinks) and isinstance(target, HoldsLinks)):
        raise StoreError("these stores hold no links")
    text = source.read_link(path)
    if expect is not None and expect.kind is Kind.LINK and target.read_link(path) == text:
        if both.judge.is_described(entry, expect) or not isinstance(target, Describes):
            return settled(path, entry, EARLIER if both.judge.is_of_this_run(expect) else "AZSM2041")
        target.describe(path, both.judge.onto(entry, expect), expect)
        return row(path, entry, "AZSM2044")
    target.make_symlink(path, text, both.judge.onto(entry, expect), expect)
    return row(path, entry)


def _link_group(both: Both, deed: Deed) -> list[Row]:
    """Names of one file: the first is copied, the others become links to it."""
    source, target = both.source, both.target
    if not isinstance(target, HoldsLinks):
        raise StoreError("the target holds no hard links")
    rows: list[Row] = []
    first = b""
    file: tuple[object, ...] = ()
    for path in deed.paths:
        try:
            entry = source.stat(path)
            if entry is None or entry.kind is not Kind.FILE:
                raise NotFound("the source item vanished before it was copied")
            if file == entry.one_file:
                rows.append(_further_name(both, target, path, first, entry))
                continue
            # The first one, or a name that has been given to another file since it was listed.
            rows.append(_first_name(both, path, entry))
            if not file:
                first, file = path, entry.one_file
        except StoreError as error:
            both.fence()
            both.doubt.weigh(error)
            rows.append(failed(path, None, error))
        finally:
            both.moved()
    return rows


def _first_name(both: Both, path: bytes, entry: Entry) -> Row:
    present = both.target.stat(path)
    decision = both.judge.compare_file(entry, present)
    if decision.do is Do.NOTHING:
        return settled(path, entry, decision.code)
    return _copy(both, Deed(decision.do, path, entry, present))


def settled(path: bytes, entry: Entry, code: str) -> Row:
    """The row of an item that needs nothing now: equal before the run, or written by an earlier attempt of it."""
    outcome = Outcome.TRANSFERRED if code == EARLIER else Outcome.NO_TRANSFER_NEEDED
    return row(path, entry, code, outcome)


def _further_name(both: Both, links: HoldsLinks, path: bytes, first: bytes, entry: Entry) -> Row:
    original, present = both.target.stat(first), both.target.stat(path)
    if original is None:
        raise NotFound("the first name of the file is not on the target")
    if present and (present.device, present.inode) == (original.device, original.inode):
        return settled(path, entry, EARLIER if both.judge.is_of_this_run(present) else "AZSM2041")
    links.make_link(path, first, present)
    return row(path, entry)


def _finish(both: Both, deed: Deed) -> list[Row]:
    """Give a folder its metadata, now that nothing in it will change any more."""
    entry = both.source.stat(deed.path)
    if entry is None or entry.kind is not Kind.FOLDER:
        if not deed.counted:
            return []  # It was of the target alone, and something in it was deleted.
        raise NotFound("the source folder vanished")
    present = both.target.stat(deed.path)
    if present is not None and present.kind is not Kind.FOLDER:
        raise Conflict("something else than the folder is in its place")
    code = both.judge.finished_folder(entry, present)
    if code is None:
        _describe(both, deed.path, entry, present)
    if not deed.counted:
        return []
    return [row(deed.path, entry) if code is None else settled(deed.path, entry, code)]


def _delete(both: Both, deed: Deed) -> list[Row]:
    """Remove what only the target has, if that is still so and it is still the version that was seen."""
    present = both.target.stat(deed.path)
    if present is None:
        gone = deed.target if both.judge.revisited else None
        return [row(deed.path, gone, "AZSM2051", Outcome.DELETED)] if gone else []
    there = both.source.stat(deed.path)
    if there is not None and (there.kind is Kind.FOLDER) == (present.kind is Kind.FOLDER):
        return []
    if not present.is_same(Entry(b"", present.kind, etag=deed.tag)):
        return []
    try:
        both.target.remove(deed.path, present)
    except Conflict:
        if present.kind is Kind.FOLDER:
            return []  # Something in it is kept, by a filter or because it changed: so is the folder.
        raise
    return [row(deed.path, present, "AZSM2051", Outcome.DELETED)]
