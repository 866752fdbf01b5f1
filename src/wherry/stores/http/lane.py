"""The short way from a source that reads small files quickly to a store of objects.

One thread reads and sends; the answers come while it goes on.  Only what is written in one request where nothing is
goes this way.  A source that answers late is better read by many threads, and a server that is too busy is better
asked patiently: as long as that lasts everything is left to the long way.  Made by adapters.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from wherry.model import names
from wherry.model.entry import Entry
from wherry.model.errors import StoreError
from wherry.stores.http.fleet import Fleet
from wherry.stores.http.wire import Wire
from wherry.stores.lane import Parcel, ReadsSmall
from wherry.stores.port import Fence

LIMIT = 1024 * 1024
# To read a file in a longer time than this is what threads are for.
_SLOW_SECONDS = 0.0005
# For how many files they do it before the short way is tried again.
_SLOW_FILES = 20_000

Request = Callable[[bytes, bytes, Entry], bytes | None]
"""The head of the request that writes this file, with these bytes and the metadata of this entry, where nothing is.

None while the store has still to find out how."""
First = Callable[[bytes, bytes, Entry], None]
"""Write such a file the patient way, by which the store finds that out; raises `StoreError`."""


class ObjectLane:
    """The way from `source`, of files of at most `most` bytes; for one thread."""

    def __init__(
        self, source: ReadsSmall, wire: Wire, request: Request, first: First, fence: Fence, most: int
    ) -> None:
        self.limit = min(LIMIT, most)
        self._source = source
        self._pace = wire.pace
        self._request = request
        self._first: First | None = first
        self._fence = fence
        self._fleet: Fleet[tuple[Parcel, int]] = Fleet(wire, self._arrived, fence)
        self._avoided = 0

    def send(self, folder: bytes, entries: list[Entry]) -> Parcel:
        parcel = Parcel(folder, entries)
        if self._avoided > 0 or self._pace.slow:
            self._avoided -= len(entries)
            parcel.left.extend(range(len(entries)))
            return parcel
        reading = 0.0
        clock = time.perf_counter
        stem = folder + names.SEPARATOR if folder else b""
        contents = self._source.contents(folder, entries)
        for number, entry in enumerate(entries):
            begun = clock()
            data = next(contents)
            reading += clock() - begun
            if data is None or not self._sent(stem + entry[0], data, entry, (parcel, number)):
                parcel.left.append(number)
        if reading > _SLOW_SECONDS * len(entries):
            self._avoided = _SLOW_FILES
        return parcel

    def _sent(self, path: bytes, data: bytes, entry: Entry, load: tuple[Parcel, int]) -> bool:
        try:
            head = self._request(path, data, entry)
            if head is None:
                return self._is_first(path, data, entry)
        except StoreError:
            return False
        self._fence()
        load[0].under_way += 1
        if self._fleet.send(head, data, load):
            return True
        load[0].under_way -= 1
        return False

    def _is_first(self, path: bytes, data: bytes, entry: Entry) -> bool:
        """Write the first file here and now: all that come meanwhile would else go the long way, too."""
        first, self._first = self._first, None
        if first is not None:
            first(path, data, entry)
        return first is not None

    def _arrived(self, load: tuple[Parcel, int], done: bool) -> None:
        parcel, number = load
        parcel.under_way -= 1
        if not done:
            parcel.left.append(number)

    def wait(self) -> None:
        self._fleet.wait()

    def close(self) -> None:
        self._fleet.close()
