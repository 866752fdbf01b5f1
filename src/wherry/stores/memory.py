"""A store in this process's memory: a real one, for tests of everything above the port.

It keeps every promise of the port, can do all that any store can (links, parts, markers) and can be told to
lack it.  Stores of the same name (`location`) share one world, so that a source may change while it is read.
Called by tests, and by `registry` for the kind `memory`.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import RLock
from typing import Literal

from wherry.model import names
from wherry.model.entry import Attributes, Entry, Kind
from wherry.model.errors import Conflict, NotFound, Unsupported
from wherry.model.plan import Holds
from wherry.stores.port import Content, Fence, Root, Traits, no_fence

DEVICE = 1
Looked = list[Entry | None]


@dataclass(eq=False)
class Node:
    """What a name leads to; two names of one node are hard links."""

    entry: Entry
    data: bytes = b""
    names: int = 1
    attributes: Attributes = ()


def _root() -> dict[bytes, Node]:
    return {b"": Node(Entry(b"", Kind.FOLDER, device=DEVICE, sealed=False))}


@dataclass
class World:
    """All that stores of one name share.  `now` only ever moves forward."""

    nodes: dict[bytes, Node] = field(default_factory=_root)
    parts: dict[bytes, dict[str, bytes]] = field(default_factory=dict)
    lock: RLock = field(default_factory=RLock)
    serial: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    last: int = 0

    def now(self) -> int:
        self.last = max(self.last + 1, time.time_ns())
        return self.last


_worlds: dict[str, World] = {}
_worlds_lock = RLock()


def world(name: str) -> World:
    """The world of a name; made at its first use."""
    with _worlds_lock:
        return _worlds.setdefault(name, World())


class MemoryReader:
    """An open file: the node that was there, as it is now."""

    def __init__(self, store: MemoryStore, path: bytes, node: Node) -> None:
        self._store = store
        self._path = path
        self._node = node

    def read_at(self, offset: int, size: int) -> bytes:
        return self._node.data[offset : offset + size]

    def fileno(self) -> None:
        return None

    def entry(self) -> Entry:
        return self._store.entry_of(self._path, self._node)

    def attributes(self) -> Attributes:
        return self._node.attributes

    def close(self) -> None:
        """Nothing to let go of."""


class MemoryStore:
    """See the module.  `order` and `folders` as in `Traits`; with `put_limit` larger files go in parts."""

    def __init__(
        self,
        location: str = "",
        *,
        fence: Fence = no_fence,
        order: Literal["bytes", "none"] = "bytes",
        folders: Literal["real", "markers"] = "real",
        put_limit: int = 0,
        part_size: int = 4,
        holds: Holds | None = None,
    ) -> None:
        self._location = location
        self._world = world(location) if location else World()
        self._fence = fence
        self.traits = Traits(
            holds=holds or Holds(names.NameRules(), attributes=True),
            order=order,
            folders=folders,
            put_limit=put_limit,
            part_size=part_size,
            max_parts=50_000 if put_limit else 0,
            threads=4,
        )

    # ------------------------------------------------------------ reading

    def probe(self) -> Root:
        with self._world.lock:
            return Root(f"memory:{self._location}:{id(self._world):x}", self._world.now())

    def entry_of(self, path: bytes, node: Node) -> Entry:
        """The entry of a node by one of its names."""
        with self._world.lock:
            return node.entry._replace(name=names.basename(path), links=node.names)

    def list(self, folder: bytes) -> Iterator[Entry]:
        start = folder + b"/" if folder else b""
        with self._world.lock:
            known = self._is_folder(folder)
            found: dict[bytes, Entry] = {}
            for path, node in self._world.nodes.items():
                if not path or not path.startswith(start):
                    continue
                name, deeper, _ = path[len(start) :].partition(b"/")
                if not deeper:
                    found[name] = self.entry_of(path, node)
                elif self.traits.folders == "markers":
                    found.setdefault(name, Entry(name, Kind.FOLDER, sealed=False))
        if not known and not found:
            raise NotFound(f"{names.escape(folder)}: no such folder")
        ordered = sorted(found) if self.traits.order == "bytes" else list(found)[::-1]
        return iter([found[name] for name in ordered])

    def names(self, folder: bytes) -> Iterator[bytes]:
        return (entry.name for entry in [*self.list(folder)][::-1])

    def look(self, folder: bytes, found: Sequence[bytes]) -> Looked:
        return [self.stat(names.join(folder, name)) for name in found]

    def stat(self, path: bytes) -> Entry | None:
        with self._world.lock:
            node = self._world.nodes.get(path)
            if node is not None:
                return self.entry_of(path, node)
            if self.traits.folders == "markers" and self._has_inside(path):
                return Entry(names.basename(path), Kind.FOLDER, sealed=False)
            return None

    def open(self, path: bytes) -> MemoryReader:
        return MemoryReader(self, path, self._file(path))

    def attributes(self, path: bytes) -> Attributes:
        with self._world.lock:
            node = self._world.nodes.get(path)
            if node is None:
                raise NotFound(f"{names.escape(path)}: no such item")
            return node.attributes

    def read_link(self, path: bytes) -> bytes:
        with self._world.lock:
            return self._existing(path, Kind.LINK).data

    # ------------------------------------------------------------ writing

    def put(self, path: bytes, content: Content, like: Entry, expect: Entry | None) -> None:
        with self._world.lock:
            self._expect(path, expect)
        data = bytes(content.read(0, content.size))
        content.check()
        self._fence()
        self._place(path, Kind.FILE, data, like, expect, content.attributes())

    def remove(self, path: bytes, expect: Entry) -> None:
        with self._world.lock:
            node = self._world.nodes.get(path)
            if node is None:
                raise NotFound(f"{names.escape(path)}: no such item")
            self._expect(path, expect)
            if not path or (self.traits.folders == "real" and self._has_inside(path)):
                raise Conflict(f"{names.escape(path)}: the folder is not empty")
            self._fence()
            self._drop(path)

    def describe(
        self, path: bytes, like: Entry, expect: Entry | None, attributes: Attributes | None = None
    ) -> None:
        with self._world.lock:
            self._expect(path, expect)
            node = self._world.nodes.get(path)
            if node is None and self.traits.folders == "markers" and like.kind is Kind.FOLDER:
                self._fence()
                self._place(path, Kind.FOLDER, b"", like, None, attributes or ())
                return
            if node is None:
                raise NotFound(f"{names.escape(path)}: no such item")
            self._fence()
            node.entry = self._dressed(node.entry, like)
            if attributes is not None:
                node.attributes = self._held(attributes)

    def make_folder(self, path: bytes) -> None:
        with self._world.lock:
            node = self._world.nodes.get(path)
            if node is not None and node.entry.kind is Kind.FOLDER:
                return
            self._fence()
            self._place(path, Kind.FOLDER, b"", Entry(b"", Kind.FOLDER, mode=0o700, sealed=False), None)

    def make_symlink(self, path: bytes, text: bytes, like: Entry, expect: Entry | None) -> None:
        self._fence()
        self._place(path, Kind.LINK, text, like, expect)

    def make_link(self, path: bytes, existing: bytes, expect: Entry | None) -> None:
        with self._world.lock:
            self._expect(path, expect)
            node = self._existing(existing, Kind.FILE)
            if self._world.nodes.get(path) is node:
                return
            self._needs_parent(path)
            self._fence()
            self._drop(path)
            self._world.nodes[path] = node
            node.names += 1

    # ------------------------------------------------------------ parts

    def staged(self, path: bytes) -> Mapping[str, int]:
        with self._world.lock:
            return {part: len(data) for part, data in self._world.parts.get(path, {}).items()}

    def stage(self, path: bytes, part: str, data: bytes | memoryview) -> None:
        with self._world.lock:
            self._world.parts.setdefault(path, {})[part] = bytes(data)

    def publish(
        self,
        path: bytes,
        parts: Iterable[str],
        like: Entry,
        expect: Entry | None,
        attributes: Attributes = (),
    ) -> None:
        with self._world.lock:
            held = self._world.parts.get(path, {})
            wanted = list(parts)
            missing = [part for part in wanted if part not in held]
            if missing:
                raise NotFound(f"{names.escape(path)}: part {missing[0]} is not there")
            self._fence()
            self._place(path, Kind.FILE, b"".join(held[part] for part in wanted), like, expect, attributes)
            self._world.parts.pop(path, None)

    def close(self) -> None:
        """Nothing to let go of."""

    # ------------------------------------------------------------ for the tests that set a world up

    def seed(
        self,
        path: bytes,
        data: bytes = b"",
        kind: Kind = Kind.FILE,
        *,
        mode: int = 0o644,
        modified: int = 0,
        attributes: Attributes = (),
    ) -> Entry:
        """Put an item (a link's text is its data) as somebody else would, with the folders above it."""
        with self._world.lock:
            above = names.parent(path)
            if above and self.traits.folders == "real" and above not in self._world.nodes:
                self.seed(above, kind=Kind.FOLDER, mode=0o755)
            like = Entry(b"", kind, modified=modified or self._world.now(), mode=mode, uid=0, gid=0)
            present = self._world.nodes.get(path)
            self._place(path, kind, data, like, self.entry_of(path, present) if present else None, attributes)
            return self.entry_of(path, self._world.nodes[path])

    def paths(self) -> dict[bytes, bytes]:
        """Every path but the root's with its data."""
        with self._world.lock:
            return {path: node.data for path, node in sorted(self._world.nodes.items()) if path}

    # ------------------------------------------------------------ nodes; the lock is held

    def _place(
        self,
        path: bytes,
        kind: Kind,
        data: bytes,
        like: Entry,
        expect: Entry | None,
        attributes: Attributes = (),
    ) -> None:
        with self._world.lock:
            if problem := self.traits.holds.names.problem(path):
                raise Unsupported(f"{names.escape(path)}: the name cannot be held ({problem})")
            self._expect(path, expect)
            self._needs_parent(path)
            self._drop(path)
            fresh = Entry(
                b"", kind, len(data) if kind is Kind.FILE else 0,
                device=DEVICE, inode=next(self._world.serial), sealed=like.sealed,
            )  # fmt: skip
            self._world.nodes[path] = Node(
                self._dressed(fresh, like), data, attributes=self._held(attributes)
            )

    def _held(self, attributes: Attributes) -> Attributes:
        return attributes if self.traits.holds.attributes else ()

    def _dressed(self, entry: Entry, like: Entry) -> Entry:
        now = self._world.now()
        return entry._replace(
            modified=now if like.modified is None else like.modified, changed=now, mode=like.mode, uid=like.uid,
            gid=like.gid, etag=f"e{next(self._world.serial)}", sealed=like.sealed, extra=like.extra,
        )  # fmt: skip

    def _drop(self, path: bytes) -> None:
        node = self._world.nodes.pop(path, None)
        if node is not None:
            node.names -= 1
            node.entry = node.entry._replace(changed=self._world.now())

    def _expect(self, path: bytes, expect: Entry | None) -> None:
        present = self.stat(path)
        if present is not None and path not in self._world.nodes:
            return
        if expect is None and present is not None:
            raise Conflict(f"{names.escape(path)}: something is there")
        if expect is not None and (present is None or not _same(present, expect)):
            raise Conflict(f"{names.escape(path)}: it is not what was seen")

    def _needs_parent(self, path: bytes) -> None:
        above = names.parent(path)
        if above and self.traits.folders == "real" and not self._is_folder(above):
            raise NotFound(f"{names.escape(above)}: no such folder")

    def _is_folder(self, path: bytes) -> bool:
        node = self._world.nodes.get(path)
        return node is not None and node.entry.kind is Kind.FOLDER

    def _has_inside(self, path: bytes) -> bool:
        below = path + b"/" if path else b""
        return any(other.startswith(below) and other != path for other in self._world.nodes)

    def _existing(self, path: bytes, kind: Kind) -> Node:
        node = self._world.nodes.get(path)
        if node is None or node.entry.kind is not kind:
            raise NotFound(f"{names.escape(path)}: no such item")
        return node

    def _file(self, path: bytes) -> Node:
        with self._world.lock:
            return self._existing(path, Kind.FILE)


def _same(present: Entry, expect: Entry) -> bool:
    if present.kind is Kind.FOLDER and expect.kind is Kind.FOLDER:
        return True
    return present.is_same(expect)
