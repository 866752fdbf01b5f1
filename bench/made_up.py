"""A source of ten million items and a target that keeps nothing, as a program that is Wherry in all else.

    python -m bench.made_up SOURCE TARGET LOG

Everything between the two is Wherry as it is: command, processes, walk, decisions, ledger and log. This adds the two
stores to those that Wherry knows, for folders of certain names, and runs `wherry copy`; worker processes import this
module as their main one, so they know them too. It imports nothing else of the benchmarks: memory is what it is for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from wherry.model import names
from wherry.model.entry import Entry, Kind
from wherry.model.errors import NotFound
from wherry.model.plan import Holds
from wherry.stores import registry
from wherry.stores.port import Content, Fence, Root, Store, StoreSpec, Traits, no_fence

WIDTH = 1000
SIZE = 100
SOURCE, TARGET = "made-up-", "nothing"
_EPOCH = 1_600_000_000 * 10**9


def made_up(items: int) -> int:
    """How many items there are when about so many are wanted: whole folders, each with its files."""
    return max(1, items // (WIDTH + 1)) * (WIDTH + 1)


class MadeUpFile:
    """An open file of the source; all have the same bytes."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry

    def read_at(self, offset: int, size: int) -> bytes:
        return bytes(min(size, max(0, SIZE - offset)))

    def fileno(self) -> None:
        return None

    def entry(self) -> Entry:
        return self._entry

    def close(self) -> None:
        """Nothing to let go of."""


class MadeUpStore:
    """Folders of a thousand files each, as many as make the wanted number of items."""

    traits = Traits(holds=Holds(names.NameRules()), order="bytes")

    def __init__(self, items: int) -> None:
        self._folders = made_up(items) // (WIDTH + 1)

    def probe(self) -> Root:
        return Root(f"made-up:{self._folders}", _EPOCH)

    def list(self, folder: bytes) -> Iterator[Entry]:
        if folder == b"":
            return (_folder(b"folder %06d" % number) for number in range(self._folders))
        if not folder.startswith(b"folder "):
            raise NotFound("no such folder")
        return (_file(b"file %04d" % number) for number in range(WIDTH))

    def stat(self, path: bytes) -> Entry | None:
        name = names.basename(path)
        return _file(name) if name.startswith(b"file ") else _folder(name)

    def open(self, path: bytes) -> MadeUpFile:
        return MadeUpFile(_file(names.basename(path)))

    def put(self, path: bytes, content: Content, like: Entry, expect: Entry | None) -> None:
        raise AssertionError("a source is never written to")

    def remove(self, path: bytes, expect: Entry) -> None:
        raise AssertionError("a source is never written to")

    def close(self) -> None:
        """Nothing to let go of."""


class NothingStore:
    """A target that reads what it is given and forgets it."""

    traits = Traits(holds=Holds(names.NameRules()), order="bytes", folders="markers")

    def probe(self) -> Root:
        return Root("nothing", _EPOCH)

    def list(self, folder: bytes) -> Iterable[Entry]:
        if folder:
            raise NotFound("no such folder")
        return []

    def stat(self, path: bytes) -> Entry | None:
        return None if path else Entry(b"", Kind.FOLDER, sealed=False)

    def open(self, path: bytes) -> MadeUpFile:
        raise NotFound("there is nothing")

    def put(self, path: bytes, content: Content, like: Entry, expect: Entry | None) -> None:
        content.read(0, content.size)
        content.check()

    def describe(self, path: bytes, like: Entry, expect: Entry | None, attributes: Any = None) -> None:
        """A folder's metadata: forgotten too."""

    def remove(self, path: bytes, expect: Entry) -> None:
        """Nothing was there."""

    def close(self) -> None:
        """Nothing to let go of."""


def _folder(name: bytes) -> Entry:
    return Entry(name, Kind.FOLDER, modified=_EPOCH, changed=_EPOCH, mode=0o755, uid=0, gid=0)


def _file(name: bytes) -> Entry:
    number = int(name.rpartition(b" ")[2])
    moment = _EPOCH + number * 1_000_003
    return Entry(name, Kind.FILE, SIZE, moment, moment, 0o644, 0, 0, inode=number + 1)


def _adopt() -> None:
    """Have Wherry open these stores, in this process, where a folder's name asks for one of them."""
    open_known = registry.open_store

    def open_store(spec: StoreSpec, fence: Fence = no_fence) -> Store:
        name = os.path.basename(spec.location)
        if name.startswith(SOURCE):
            return MadeUpStore(int(name.removeprefix(SOURCE)))
        return NothingStore() if name == TARGET else open_known(spec, fence)

    registry.open_store = open_store


# The main module of a worker process has another name, but is this one all the same.
if __name__ in ("__main__", "__mp_main__"):
    _adopt()


def main(source: str, target: str, log: str) -> None:
    """Run `wherry copy`, which ends this process with its own code."""
    from wherry.cli.main import main as wherry

    sys.argv = ["wherry", "copy", source, target, "--log", log, "--quiet"]
    wherry()


if __name__ == "__main__":
    main(*sys.argv[1:4])
