"""One folder of one store in the order of names, some hundred items at a time.

A store that lists names apart from what they stand for is asked what they are only when their turn comes, so that a
folder of a million items is never in memory as more than its names; beyond `SPILL` names these lie sorted in a file.
A store whose listing is in order is read page by page; of any other the whole folder is sorted here.  Used by `walk`.
"""

from __future__ import annotations

import heapq
import mmap
import pickle
import tempfile
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, chain, islice
from typing import IO, Any, Protocol, TypeVar, overload

from wherry.model.entry import Entry, Glance
from wherry.model.errors import StoreError
from wherry.model.names import SEPARATOR
from wherry.stores.port import Glances, ListsNames, Store

SPILL = 200_000
_TELL_EVERY = 1000
_SAMPLE = 4096

T = TypeVar("T")


class Listing(Protocol):
    """A folder's items in the order of their names, consumed from the front."""

    def peek(self, count: int) -> list[bytes]:
        """The next names, at most so many; fewer only when no more are there."""

    def take(self, count: int, wanted: set[bytes] | None = None) -> list[Entry]:
        """The entries behind the next `count` names, without those that are gone or not `wanted`."""

    def glance(self, names: list[bytes]) -> Glance | None:
        """What the next names, which these are, stand for; they are still to be taken.  None where this cannot tell."""

    def look(self, names: list[bytes]) -> list[Entry | None]:
        """The entries behind names of which a glance was had; None for what is gone."""

    def skip(self, count: int) -> None:
        """Take the next `count` names without their entries."""

    def ahead(self) -> list[bytes]:
        """Names that are still to come: as many as are known now."""

    def left(self) -> int:
        """How many items are still to come, as far as that is known now."""

    def stop_at(self, name: bytes) -> None:
        """Let the listing end before `name`."""


class Lister:
    """Lists the folders of one store.  `moved` is called on long ways."""

    def __init__(self, store: Store, moved: Callable[[], None]) -> None:
        self._store = store
        self._moved = moved
        # Asked once, not for each folder: it takes as long as listing a few files.
        self._named = store if isinstance(store, ListsNames) else None
        self._glances = store if isinstance(store, Glances) else None

    def __call__(self, folder: bytes, low: bytes | None, high: bytes | None) -> Listing:
        """The items of a folder with `low <= name < high`; None is no bound."""
        if self._named is None:
            listed = _told(self._store.list(folder), self._moved)
            entries = (entry for entry in listed if _is_within(entry.name, low, high))
            return _Entries(_in_order(entries) if self._store.traits.order == "bytes" else _sorted(entries))
        names = _told(self._named.names(folder), self._moved)
        if low is not None:
            names = (name for name in names if name >= low)
        if high is not None:
            names = (name for name in names if name < high)
        return _Names(self._named, self._glances, folder, packed(names))


def _is_within(name: bytes, low: bytes | None, high: bytes | None) -> bool:
    return (low is None or name >= low) and (high is None or name < high)


def _told(items: Iterable[T], moved: Callable[[], None]) -> Iterator[T]:
    """The items; a wide folder may take longer than a lease may stand still."""
    items = iter(items)

    def pages() -> Iterator[list[T]]:
        while page := list(islice(items, _TELL_EVERY)):
            yield page
            moved()

    return chain.from_iterable(pages())


class _Names:
    """Names first, entries when their turn comes."""

    def __init__(
        self, store: ListsNames, glances: Glances | None, folder: bytes, names: Sequence[bytes]
    ) -> None:
        self._store = store
        self._glances = glances
        self._folder = folder
        self._names = names
        self._at = 0
        self._end = len(names)

    def peek(self, count: int) -> list[bytes]:
        return list(self._names[self._at : min(self._end, self._at + count)])

    def glance(self, names: list[bytes]) -> Glance | None:
        return self._glances.glance(self._folder, names) if self._glances else None

    def look(self, names: list[bytes]) -> list[Entry | None]:
        return self._store.look(self._folder, names)

    def skip(self, count: int) -> None:
        self._at += count

    def take(self, count: int, wanted: set[bytes] | None = None) -> list[Entry]:
        names = self.peek(count)
        self.skip(len(names))
        if wanted is not None:
            names = [name for name in names if name in wanted]
        return [entry for entry in self.look(names) if entry is not None]

    def left(self) -> int:
        return self._end - self._at

    def ahead(self) -> list[bytes]:
        step = -(-(self._end - self._at) // _SAMPLE) or 1
        return [self._names[at] for at in range(self._at, self._end, step)]

    def stop_at(self, name: bytes) -> None:
        self._end = bisect_left(self._names, name, self._at, self._end)


class _Entries:
    """Entries as they come, in order."""

    def __init__(self, entries: Iterator[Entry]) -> None:
        self._entries = entries
        self._page: list[Entry] = []
        self._stop: bytes | None = None
        self._trouble: StoreError | None = None

    def _fill(self, count: int) -> None:
        if self._trouble is not None:
            # What has broken off must never look like what has ended.
            raise self._trouble
        missing = count - len(self._page)
        if missing > 0:
            more = islice(self._entries, missing)
            try:
                self._page.extend(one for one in more if self._stop is None or one.name < self._stop)
            except StoreError as trouble:
                self._trouble = trouble
                raise

    def peek(self, count: int) -> list[bytes]:
        self._fill(count)
        return [entry.name for entry in self._page[:count]]

    def glance(self, names: list[bytes]) -> Glance | None:
        return None

    def look(self, names: list[bytes]) -> list[Entry | None]:
        return [None] * len(names)

    def skip(self, count: int) -> None:
        self.take(count)

    def take(self, count: int, wanted: set[bytes] | None = None) -> list[Entry]:
        self._fill(count)
        taken, self._page = self._page[:count], self._page[count:]
        return taken if wanted is None else [entry for entry in taken if entry.name in wanted]

    def left(self) -> int:
        return len(self._page)

    def ahead(self) -> list[bytes]:
        self._fill(_SAMPLE)
        return sorted({entry.name for entry in self._page})

    def stop_at(self, name: bytes) -> None:
        self._stop = name
        self._page = [entry for entry in self._page if entry.name < name]


def _in_order(entries: Iterator[Entry]) -> Iterator[Entry]:
    last = b""
    for entry in entries:
        if entry.name < last:
            raise StoreError("the listing is not in the order that its store promises")
        last = entry.name
        yield entry


def _sorted(entries: Iterator[Entry]) -> Iterator[Entry]:
    """All of them by name, in files where there are many."""
    runs: list[Iterator[Entry]] = []
    while run := sorted(islice(entries, SPILL), key=_name):
        runs.append(chain.from_iterable(_spilled(run)) if runs or len(run) == SPILL else iter(run))
    return runs[0] if len(runs) == 1 else heapq.merge(*runs, key=_name)


def _name(entry: Entry) -> bytes:
    return entry.name


def _spilled(run: list[T]) -> Iterator[list[T]]:
    """The items of a run in pages, from a file that is gone when they are read."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as its reader
    for at in range(0, len(run), _TELL_EVERY):
        pickle.dump(run[at : at + _TELL_EVERY], file, pickle.HIGHEST_PROTOCOL)
    return _unspilled(file)


def _unspilled(file: IO[bytes]) -> Iterator[Any]:
    with file:
        file.seek(0)
        while True:
            try:
                yield pickle.load(file)  # noqa: S301 - our own file, which has no name
            except EOFError:
                return


def packed(names: Iterable[bytes]) -> Sequence[bytes]:
    """All names in order: a list where they are few, else in a file that is gone with the last who reads it."""
    names = iter(names)
    first = sorted(islice(names, SPILL))
    if len(first) < SPILL:
        return first
    runs = [_spilled(first)]
    del first
    while run := sorted(islice(names, SPILL)):
        runs.append(_spilled(run))
    return _PackedNames(_merged(runs))


def _merged(runs: list[Iterator[list[bytes]]]) -> Iterator[list[bytes]]:
    """The names of sorted runs in order; many at once, because few calls are quicker than a heap of names."""
    pages = [next(run) for run in runs]
    while pages:
        bound = min(page[-1] for page in pages)
        known: list[bytes] = []
        for number, page in enumerate(pages):
            cut = bisect_right(page, bound)
            known += page[:cut]
            pages[number] = page[cut:] or next(runs[number], [])
        runs = [run for run, page in zip(runs, pages, strict=True) if page]
        pages = [page for page in pages if page]
        known.sort()
        yield known


class _PackedNames(Sequence[bytes]):
    """Names with a slash after each in one file, where each begins in another."""

    def __init__(self, pages: Iterator[list[bytes]]) -> None:
        with tempfile.TemporaryFile() as text, tempfile.TemporaryFile() as index:
            end = 0
            for page in pages:
                text.write(SEPARATOR.join(page) + SEPARATOR)
                begins = array("Q", accumulate([len(name) + 1 for name in page], initial=end))
                end = begins.pop()
                begins.tofile(index)
            array("Q", [end]).tofile(index)
            text.flush()
            index.flush()
            self._text = mmap.mmap(text.fileno(), end, access=mmap.ACCESS_READ)
            self._index = mmap.mmap(index.fileno(), 0, access=mmap.ACCESS_READ)
        self._begins = memoryview(self._index).cast("Q")

    def __len__(self) -> int:
        return len(self._begins) - 1

    @overload
    def __getitem__(self, at: int) -> bytes: ...
    @overload
    def __getitem__(self, at: slice) -> list[bytes]: ...
    def __getitem__(self, at: int | slice) -> bytes | list[bytes]:
        begins = self._begins
        if isinstance(at, int):
            if not 0 <= at < len(self):
                raise IndexError(at)
            return self._text[begins[at] : begins[at + 1] - 1]
        first, end, step = at.indices(len(self))
        if step != 1:
            return [self[one] for one in range(first, end, step)]
        return self._text[begins[first] : begins[end] - 1].split(SEPARATOR) if first < end else []
