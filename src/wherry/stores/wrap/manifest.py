"""A source of which only what a list names is there, with the folders on the way to it.

The list is a sorted file (`manifest_file`).  Whole folders of the list pass through; in others only the listed names
are looked at: by `look` where the store inside has it, one by one while they are few, else in its listing.  A listed
path that is not there, or that is no folder although things in it are listed, becomes an empty file that cannot be
opened: the run counts it as failed and tells its name.  Made by `registry`; targets are never wrapped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from wherry.model import names
from wherry.model.entry import Entry, Kind
from wherry.model.errors import NotFound, Unsupported
from wherry.stores.port import Content, ListsNames, Reader, Root, Store
from wherry.stores.wrap.manifest_file import Child, Listed, several

FEW = 64
"""As many names of a folder are asked for one by one; more are picked from its listing."""
_TOGETHER = 1000
_PASSED_ON = ("attributes", "read_link")


class ManifestStore:
    """See the module."""

    def __init__(self, inner: Store, file: str) -> None:
        self._inner = inner
        self._listed = Listed(file)
        self._no_folders: set[bytes] = set()
        self.traits = inner.traits
        # As attributes of their own, so that this store can what the one inside can, and no more.
        for name in _PASSED_ON:
            if hasattr(inner, name):
                setattr(self, name, getattr(inner, name))
        if isinstance(inner, ListsNames):
            self._many: ListsNames = inner
            self.names = self._names
            self.look = self._look

    def probe(self) -> Root:
        return self._inner.probe()

    def list(self, folder: bytes) -> Iterable[Entry]:
        if self._listed.is_whole(folder):
            if not self._listed.count(folder, 1):
                return self._inner.list(folder)
            # What is listed besides must not be missing without a word.
            return self._picked(folder, everything=True)
        if isinstance(self._inner, ListsNames):
            return self._looked(folder)
        few = self._listed.count(folder, FEW + 1) <= FEW
        return self._asked(folder) if few else self._picked(folder, everything=False)

    def stat(self, path: bytes) -> Entry | None:
        if not path or self._listed.is_whole(names.parent(path)):
            return self._inner.stat(path)
        child = self._listed.child(path)
        entry = self._inner.stat(path) if child is not None else None
        fits = child is not None and entry is not None and (child.listed or entry.kind is Kind.FOLDER)
        return entry if fits else None

    def open(self, path: bytes) -> Reader:
        if path in self._no_folders:
            raise NotFound(f"{names.escape(path)}: the manifest names what is in it, but it is no folder")
        return self._inner.open(path)

    def put(self, path: bytes, content: Content, like: Entry, expect: Entry | None) -> None:
        raise Unsupported(f"{names.escape(path)}: a source with a manifest is only read")

    def remove(self, path: bytes, expect: Entry) -> None:
        raise Unsupported(f"{names.escape(path)}: a source with a manifest is only read")

    def close(self) -> None:
        self._listed.close()
        self._inner.close()

    # ------------------------------------------------------------ listings

    def _looked(self, folder: bytes) -> Iterator[Entry]:
        for batch in several(self._listed.children(folder), _TOGETHER):
            found = self._many.look(folder, [one.name for one in batch])
            for child, entry in zip(batch, found, strict=True):
                yield self._judged(folder, child, entry)

    def _asked(self, folder: bytes) -> Iterator[Entry]:
        for child in self._listed.children(folder):
            entry = self._inner.stat(names.join(folder, child.name))
            if entry is not None and entry.kind is not Kind.FOLDER and child.folder:
                # Where folders are only prefixes there may be one of that name besides.
                yield from self._picked(folder, everything=False, only=child)
            else:
                yield self._judged(folder, child, entry)

    def _picked(self, folder: bytes, *, everything: bool, only: Child | None = None) -> Iterator[Entry]:
        """The listing of the store, merged with what is listed, and with what is listed but not there."""
        listing: Iterable[Entry] = self._inner.list(folder)
        if self.traits.order != "bytes":
            listing = sorted(listing, key=lambda entry: entry.name)
        wanted: Iterator[Child] = iter([only]) if only else self._listed.children(folder)
        child = next(wanted, None)
        for name, group in groupby(listing, key=lambda entry: entry.name):
            while child is not None and child.name < name:
                yield self._judged(folder, child, None)
                child = next(wanted, None)
            if child is not None and child.name == name:
                yield from self._among(folder, child, [*group], everything=everything)
                child = next(wanted, None)
            elif everything:
                yield from group
        while child is not None:
            yield self._judged(folder, child, None)
            child = next(wanted, None)

    def _among(
        self, folder: bytes, child: Child, same: Sequence[Entry], *, everything: bool
    ) -> Iterator[Entry]:
        """Of the items of one name, a file and a folder at most, those that are meant."""
        folders = [one for one in same if one.kind is Kind.FOLDER]
        if child.folder and not folders:
            yield self._judged(folder, child, same[0])
        elif child.listed or everything:
            yield from same
        else:
            yield from folders

    def _judged(self, folder: bytes, child: Child, entry: Entry | None) -> Entry:
        if entry is not None and (entry.kind is Kind.FOLDER or not child.folder):
            return entry
        if entry is not None:
            self._no_folders.add(names.join(folder, child.name))
        return Entry(child.name, Kind.FILE)

    # ------------------------------------------------------------ names apart from what they stand for

    def _names(self, folder: bytes) -> Iterable[bytes]:
        if not self._listed.is_whole(folder):
            return (child.name for child in self._listed.children(folder))
        return self._names_and_missing(folder, self._many.names(folder))

    def _names_and_missing(self, folder: bytes, found: Iterable[bytes]) -> Iterator[bytes]:
        yield from found
        for batch in several(self._listed.children(folder), _TOGETHER):
            looked = self._many.look(folder, [one.name for one in batch])
            yield from (child.name for child, entry in zip(batch, looked, strict=True) if entry is None)

    def _look(self, folder: bytes, wanted: Sequence[bytes]) -> Sequence[Entry | None]:
        found = self._many.look(folder, wanted)
        known = self._known(folder, wanted)
        return [
            self._judged(folder, known[name], entry) if name in known else entry
            for name, entry in zip(wanted, found, strict=True)
        ]

    def _known(self, folder: bytes, wanted: Sequence[bytes]) -> dict[bytes, Child]:
        """What the list says of these names of a folder."""
        if not wanted:
            return {}
        asked, last = set(wanted), max(wanted)
        known: dict[bytes, Child] = {}
        for child in self._listed.children(folder, min(wanted)):
            if child.name > last:
                break
            if child.name in asked:
                known[child.name] = child
        return known
