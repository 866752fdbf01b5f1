"""Work that ends whoever takes it, even to cut it in pieces: it fails, and the run goes on.

No place is opened and no worker is asked, so that nothing can go wrong once more: a span fails as one folder that could
not be listed, a slice item by item.  Called by `pool` in the process that keeps the ledger.
"""

from __future__ import annotations

from dataclasses import replace

from wherry.engine import deeds
from wherry.engine.chapter import Chapter
from wherry.engine.ledger import Ledger
from wherry.model import names
from wherry.model.entry import Entry, Kind
from wherry.model.errors import RunError, StoreError
from wherry.model.ledger import Commit, Phase, Slice, Span, WorkItem
from wherry.model.wire import Grant, Progress

_PAGE = 1000


class Deadly(StoreError):
    """A folder that nobody has listed and lived."""

    code = "AZSM1002"


def fail(grant: Grant, ledger: Ledger, reason: str, *, logged: bool) -> None:
    """Commit the failure of all that is left of a grant; `reason` is how the last worker has ended.

    Raises `RunError` when what is left is not a part of the tree but all of it.
    """
    told = f"Whoever worked on it ended unexpectedly, again and again. {reason}".strip()
    chapter = Chapter(logged=logged)
    if isinstance(grant.work, Span):
        folder, extent = _place(grant.work)
        if not folder and not extent:
            raise RunError("AZSM1060", told)
        chapter.counters.scanned(0)
        chapter.note(deeds.failed_within(folder, Deadly(extent + told)))
        _commit(grant, ledger, chapter, 1, None)
        return
    work, seq = grant.work, 0
    while page := ledger.items(grant.token, work, work.after, _PAGE):
        for item in page:
            _fail_item(chapter, item, told)
        work, seq = replace(work, after=page[-1].key), seq + 1
        _commit(grant, ledger, chapter, seq, work)
        chapter = Chapter(logged=logged)
    _commit(grant, ledger, chapter, seq + 1, None)


def _place(span: Span) -> tuple[bytes, str]:
    """The folder that the work is in, or the name that it begins with; and how far it goes."""
    upto = f"what comes before {names.escape(span.stop)}" if span.stop is not None else "all that follows"
    if span.start is None:
        return span.prefix, f"In it {upto}: " if span.stop is not None else ""
    return names.join(span.prefix, span.start), f"With {upto}: "


def _fail_item(chapter: Chapter, item: WorkItem, told: str) -> None:
    if not item.counted:
        return
    if item.phase is Phase.DELETE:
        chapter.counters.scanned(item.size)
    seen = Entry(names.basename(item.path), Kind(item.kind), item.size)
    chapter.note(deeds.failed(item.path, seen, StoreError(told)))


def _commit(grant: Grant, ledger: Ledger, chapter: Chapter, seq: int, rest: Slice | None) -> None:
    lines = b"".join(chapter.lines)
    segments = (ledger.keep(grant.token, seq, lines),) if lines else ()
    ledger.commit(grant.token, Progress(Commit(seq, rest), chapter.counters, segments))
