"""What the tests of drafts have in common: small ranges, sources and what is seen of the target."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wherry.model.entry import Kind
from wherry.stores.port import Content, Draft, StoreSpec
from wherry.stores.posix import PosixStore

if TYPE_CHECKING:
    from tests.conformance.conftest import Case

RANGE = 1 << 16
DATA = b"".join(b"%07d\n" % number for number in range(40_000))  # five ranges, the last one short
MODIFIED = 1_500_000_000_987_654_321


def own(case: Case) -> dict[bytes, Kind]:
    """All that is no draft."""
    return {path: kind for path, kind in case.tree().items() if kind is not Kind.SPECIAL}


def leftovers(case: Case) -> int:
    """How many drafts there are."""
    return sum(kind is Kind.SPECIAL for kind in case.tree().values())


def complete(draft: Draft) -> None:
    for offset, size in draft.ranges():
        draft.write(offset, size)
    draft.finish()


class Files:
    """A folder as the source, whose files the kernel can copy from."""

    def __init__(self, place: Path) -> None:
        self.place = place
        place.mkdir()
        self.store = PosixStore(StoreSpec("posix", str(place)))

    def content(self, name: str = "file", check: bool = True) -> Content:
        reader = self.store.open(name.encode())
        return Content(reader, reader.entry(), check)
