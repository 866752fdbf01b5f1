"""Random trees with all that a folder may hold, as data to be drawn by Hypothesis, and how they are grown on a disk."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

ROOT = os.geteuid() == 0
BLOCK = 4096
CHUNK = 64 << 10


@dataclass(frozen=True)
class Facts:
    """What every item has."""

    mode: int
    modified: int
    owner: tuple[int, int]
    attributes: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True)
class File:
    facts: Facts
    size: int
    seed: int
    holes: tuple[bool, ...] = ()


@dataclass(frozen=True)
class Folder:
    facts: Facts


@dataclass(frozen=True)
class Link:
    facts: Facts
    text: bytes


@dataclass(frozen=True)
class Twin:
    """Another name of some file."""

    which: int


@dataclass(frozen=True)
class Special:
    kind: str


Node = File | Folder | Link | Twin | Special
Tree = dict[bytes, Node]

ODD = [
    b"a", b"b", b"a b", b" lead", b"trail ", b"dot.", b"..x", b"-rf", b"~", b"new\nline", b"tab\t", b"\x1b[31mred",
    b"\r", b"'\"`$(x)", b"%00", b"%2F", b"back\\slash", b"*?[x]", b"CON", b"x:y", "\u202egpj.exe".encode(),
    "e\u0301".encode(), "\xe9".encode(), "\U0001f600\u200d".encode(), b"\xff\xfe", b"\x80", b"A", b"n" * 255,
    b".hidden", b"#x#", b"a-b", b"a.txt",
]  # fmt: skip
NAMES = st.one_of(
    st.sampled_from(ODD),
    st.binary(min_size=1, max_size=10).map(lambda name: name.replace(b"/", b"_").replace(b"\0", b"_") + b"-"),
)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(b"/".join)
SIZES = [
    0,
    1,
    511,
    512,
    BLOCK - 1,
    BLOCK,
    BLOCK + 1,
    CHUNK,
    (1 << 17) + 1,
    (1 << 20) - 1,
    1 << 20,
    (1 << 20) + 1,
]
TIMES = [
    0,
    1,
    -1,
    -1_000_000_001,
    1_600_000_000_123_456_789,
    2**32 * 10**9,
    -(2**31) * 10**9 + 5,
    2**31 * 10**9,
]
MODES = [0o644, 0o600, 0, 0o444, 0o777, 0o4755, 0o2755, 0o6711, 0o1777, 0o111, 0o640]
FOLDER_MODES = [0o755, 0o700, 0o1700, 0, 0o2775, 0o1777, 0o555, 0o711]
OWNERS = [(0, 0), (1000, 100), (65534, 65534), (0, 7)] if ROOT else [(os.geteuid(), os.getegid())]
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)


def acl(users: list[tuple[int, int]], mask: int = 7) -> bytes:
    """A POSIX ACL as the kernel takes it: rights of named users, who count as the group's mask allows."""
    undefined = 0xFFFFFFFF
    named = [(2, rights, user) for user, rights in sorted(dict(users).items())]
    entries = [(1, 6, undefined), *named, (4, 5, undefined), (16, mask, undefined), (32, 4, undefined)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


ACLS = st.builds(
    acl,
    st.lists(st.tuples(st.integers(1, 2000), st.integers(0, 7)), min_size=1, max_size=3),
    st.integers(0, 7),
)
ATTRIBUTES = st.dictionaries(
    st.sampled_from(["user.a", "user.b", "user.\xff\n", *(["trusted.t"] if ROOT else [])]),
    st.sampled_from([b"", b"1", b"\0binary\xff", b"v" * 900]),
    max_size=3,
)


def _attributes(
    *more: st.SearchStrategy[dict[str, bytes]],
) -> st.SearchStrategy[tuple[tuple[str, bytes], ...]]:
    return st.tuples(ATTRIBUTES, *more).map(
        lambda parts: tuple(sorted((name, value) for part in parts for name, value in part.items()))
    )


def _maybe(name: str, value: st.SearchStrategy[bytes]) -> st.SearchStrategy[dict[str, bytes]]:
    return st.one_of(st.just({}), st.just({}), st.builds(lambda one: {name: one}, value))


ACCESS = _maybe("system.posix_acl_access", ACLS)
CAPABLE = _maybe("security.capability", st.just(CAPABILITY)) if ROOT else st.just({})


def _facts(modes: list[int], attributes: Any, readable: int) -> st.SearchStrategy[Facts]:
    allowed = modes if ROOT else [mode | readable for mode in modes]
    return st.builds(
        Facts, st.sampled_from(allowed), st.sampled_from(TIMES), st.sampled_from(OWNERS), attributes
    )


FILES = st.builds(
    File, _facts(MODES, _attributes(ACCESS, CAPABLE), 0o400), st.sampled_from(SIZES), st.integers(0, 255)
)
SPARSE = st.builds(
    File, _facts(MODES, _attributes(), 0o400), st.just(-1), st.integers(0, 255),
    st.lists(st.booleans(), min_size=1, max_size=40).map(tuple),
)  # fmt: skip
FOLDERS = st.builds(
    Folder, _facts(FOLDER_MODES, _attributes(ACCESS, _maybe("system.posix_acl_default", ACLS)), 0o700)
)
TEXTS = [b"a", b"../a", b"nowhere", b"/etc/passwd", b".", b"..", b"/", b"\xff\n", b"t" * 300, b"a/b/../c"]
LINKS = st.builds(Link, _facts([0o777], st.just(()), 0), st.sampled_from(TEXTS))
NODES = st.one_of(
    FILES, FILES, SPARSE, FOLDERS, LINKS, st.builds(Twin, st.integers(0, 50)),
    st.builds(Special, st.sampled_from(["pipe", "socket", *(["device"] if ROOT else [])])),
)  # fmt: skip
TREES = st.dictionaries(PATHS, NODES, max_size=14)


@dataclass
class Grown:
    """A tree on a disk, and how many items of it are special."""

    root: bytes
    files: list[bytes] = field(default_factory=list)
    dressed: dict[bytes, Facts] = field(default_factory=dict)
    specials: int = 0

    def grow(self, tree: Tree) -> None:
        """Make what is told; what cannot be, because of what is there already, is left out."""
        for path, node in sorted(tree.items()):
            place = os.path.join(self.root, path)
            with suppress(FileExistsError, NotADirectoryError, IsADirectoryError):
                # Never by way of a link: it may lead out of the tree.
                if self._on_the_way(path):
                    self._make(place, node)
        self.dress()

    def _on_the_way(self, path: bytes) -> bool:
        """Make the folders above; False when something else is in the place of one."""
        above = self.root
        for name in path.split(b"/")[:-1]:
            above = os.path.join(above, name)
            if not os.path.lexists(above):
                os.mkdir(above)
            elif os.path.islink(above):
                return False
        return True

    def _make(self, place: bytes, node: Node) -> None:
        if os.path.lexists(place) and not isinstance(node, Folder):
            return
        if isinstance(node, File):
            with open(place, "xb") as file:
                fill(file, node)
            self.files.append(place)
        elif isinstance(node, Folder):
            if os.path.islink(place):
                return
            os.makedirs(place, exist_ok=True)
        elif isinstance(node, Link):
            os.symlink(node.text, place)
        elif isinstance(node, Twin):
            if self.files:
                os.link(self.files[node.which % len(self.files)], place)
        else:
            special(place, node.kind)
            self.specials += 1
        if isinstance(node, File | Folder | Link):
            self.dressed[place] = node.facts

    def dress(self) -> None:
        """Give all their metadata, folders after what is in them."""
        for place, facts in sorted(self.dressed.items(), reverse=True):
            with suppress(FileNotFoundError):
                dress(place, facts)


def fill(file: Any, node: File) -> None:
    if node.size >= 0:
        file.write((hashlib.sha256(bytes([node.seed])).digest() * (node.size // 32 + 1))[: node.size])
        return
    for number, hole in enumerate(node.holes):
        if not hole:
            file.seek(number * CHUNK)
            file.write(bytes([node.seed | 1]) * CHUNK)
    file.truncate(len(node.holes) * CHUNK)


def special(place: bytes, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "device":
        os.mknod(place, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    else:
        here = os.open(os.path.dirname(place), os.O_PATH)
        with socket.socket(socket.AF_UNIX) as listening:
            # By way of the descriptor: the address of a socket is short.
            listening.bind(b"/proc/self/fd/%d/%s" % (here, os.path.basename(place)[:60]))
            os.close(here)


def dress(place: bytes, facts: Facts) -> None:
    if ROOT:
        os.chown(place, *facts.owner, follow_symlinks=False)
    if not os.path.islink(place):
        os.chmod(place, facts.mode)
        for name, value in facts.attributes:
            os.setxattr(place, os.fsencode(name), value)
        os.chmod(place, facts.mode | stat.S_IMODE(os.stat(place).st_mode) & 0o070)
    os.utime(place, ns=(facts.modified, facts.modified), follow_symlinks=False)
