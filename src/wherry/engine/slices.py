"""A lease on a slice of the work list: hard links, deletions or folders that the walk put off.

Items come from the ledger in the order of their keys; the key of the last finished one is the cursor.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby

from wherry.engine import deeds
from wherry.engine.chapter import Chapter
from wherry.engine.chapters import Chapters, Desk
from wherry.engine.deeds import Deed
from wherry.model import names
from wherry.model.entry import Entry, Kind
from wherry.model.errors import StoreError
from wherry.model.ledger import Phase, Slice, WorkItem
from wherry.model.plan import Do

_PAGE = 1000
_GROUP = 32


class SliceWork:
    """The work on one slice under one lease."""

    def __init__(self, desk: Desk, work: Slice) -> None:
        self._desk = desk
        self._work = work
        self._chapters = Chapters(desk, work)

    def run(self) -> None:
        """Work the slice off."""
        try:
            if self._desk.grant.isolate:
                self._isolate()
                return
            after = self._work.after
            while page := self._page(after):
                after = page[-1].key
                self._take(page)
                if self._chapters.due():
                    self._chapters.commit(replace(self._work, after=self._chapters.end or self._work.after))
            self._chapters.finish(lambda end: replace(self._work, after=end))
        finally:
            self._chapters.abandon()

    def _isolate(self) -> None:
        """Cut the slice in two and do nothing else, because it ended three leases; what cannot be cut fails."""
        work, page = self._work, self._page(self._work.after)
        width = _GROUP if work.phase is Phase.LINKS else None
        ends = [list(group)[-1].key for _, group in groupby(page, lambda item: item.key[:width])]
        parts = [work]
        if len(ends) > 1:
            middle = ends[len(ends) // 2 - 1]
            parts = [replace(work, through=middle), replace(work, after=middle)]
        elif ends:
            self._fail(page)
            parts = [replace(work, after=ends[0])]
        self._chapters.commit(None, tuple(part for part in parts if part.after < part.through))

    def _fail(self, page: list[WorkItem]) -> None:
        chapter = Chapter(end=page[-1].key, logged=self._desk.logged, items=len(page))
        for item in page:
            if item.counted:
                if self._work.phase is Phase.DELETE:
                    chapter.counters.scanned(item.size)
                seen = Entry(names.basename(item.path), Kind(item.kind), item.size)
                chapter.note(deeds.failed(item.path, seen, StoreError("it ended three workers")))
        self._chapters.close(chapter)
        self._chapters.drain()

    def _page(self, after: bytes) -> list[WorkItem]:
        """The next items; a group of links is never parted."""
        desk = self._desk
        page = desk.ledger.items(desk.grant.token, self._work, after, _PAGE)
        if self._work.phase is not Phase.LINKS or len(page) < _PAGE:
            return page
        group = page[-1].key[:_GROUP]
        whole = [item for item in page if item.key[:_GROUP] != group]
        if whole:
            return whole
        while more := desk.ledger.items(desk.grant.token, self._work, page[-1].key, _PAGE):
            page += [item for item in more if item.key[:_GROUP] == group]
            if more[-1].key[:_GROUP] != group:
                break
        return page

    def _take(self, page: list[WorkItem]) -> None:
        chapter = Chapter(end=page[-1].key, logged=self._desk.logged, items=len(page))
        if self._work.phase is Phase.LINKS:
            for _, group in groupby(page, lambda item: item.key[:_GROUP]):
                chapter.hand_out(Deed(Do.LINK_GROUP, b"", paths=tuple(item.path for item in group)), 0)
        elif self._work.phase is Phase.DELETE:
            for item in page:
                seen = Entry(names.basename(item.path), Kind(item.kind), item.size)
                chapter.hand_out(Deed(Do.DELETE, item.path, target=seen, tag=item.etag), 0)
        else:
            for item in page:
                chapter.hand_out(Deed(Do.FINISH, item.path, counted=item.counted), 0)
        self._chapters.close(chapter)
