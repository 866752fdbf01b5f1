"""Random trees, copied by us and by `rsync -aHAX`: both copies are the same, at first and after the tree has changed.

What is compared is told by a walker of this test's own.  The known differences are `DIFFERENCES`, with the reason.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import stat
import struct
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.logged import LoggedRows
from wherry.engine.copy import Report, copy
from wherry.model.options import CopyMode, JobOptions
from wherry.model.run import RunStatus
from wherry.stores.port import StoreSpec

pytestmark = pytest.mark.skipif(
    shutil.which("rsync") is None and not os.environ.get("CI"), reason="rsync is not installed"
)

ROOT = os.geteuid() == 0
DIFFERENCES = {
    "special": "pipes, sockets and devices are told as unsupported; rsync makes new ones",
    "unfinished": "a folder of mode 01700 is given its metadata by every pass: ours have it until they are finished",
    "swapped": "an additive copy never puts a folder in the place of a file, or a file in that of a folder",
    "holes": "rsync -a fills holes; ours stay, where they are whole blocks of files of more than a MiB",
}
HOLES_FROM = 1 << 20
UNFINISHED = 0o1700
BLOCK = 4096
CHUNK = 64 << 10

# ---------------------------------------------------------------- trees


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


# ---------------------------------------------------------------- what is there

Seen = dict[bytes, tuple[Any, ...]]


def look(root: bytes) -> Seen:
    """A folder and everything below it, by path, with the names that are the same file; special items left out."""
    found: Seen = {}
    groups: dict[tuple[int, int], list[bytes]] = defaultdict(list)
    for base, folders, files in os.walk(root):
        for name in [*folders, *files, *([b"."] if base == root else [])]:
            place = os.path.join(base, name)
            path = os.path.relpath(place, root)
            info = os.lstat(place)
            if stat.S_IFMT(info.st_mode) not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
                continue
            found[path] = (
                stat.filemode(info.st_mode),
                info.st_uid,
                info.st_gid,
                info.st_mtime_ns,
                *_inside(place, info),
            )
            if not stat.S_ISDIR(info.st_mode):
                groups[info.st_dev, info.st_ino].append(path)
    for names in groups.values():
        for path in names:
            found[path] += (tuple(sorted(names)),)
    return found


def _inside(place: bytes, info: os.stat_result) -> tuple[Any, ...]:
    attributes = tuple(
        sorted(
            (name, os.getxattr(place, name, follow_symlinks=False))
            for name in os.listxattr(place, follow_symlinks=False)
        )
    )
    if stat.S_ISLNK(info.st_mode):
        return os.readlink(place), attributes
    if stat.S_ISDIR(info.st_mode):
        return ("folder", attributes)
    with open(place, "rb") as file:
        return info.st_size, hashlib.file_digest(file, "sha256").hexdigest(), attributes


def _stored(root: bytes, path: bytes) -> int:
    return os.lstat(os.path.join(root, path)).st_blocks * 512


# ---------------------------------------------------------------- both copies


@dataclass
class Place:
    """A source and the two copies of it."""

    folder: bytes

    def __getattr__(self, name: str) -> bytes:
        return os.path.join(self.folder, name.encode())

    def by_rsync(self, *options: str) -> None:
        # Times are equal to the nanosecond, not to the second.
        done = subprocess.run(
            ["rsync", "-aHAX", "--numeric-ids", "--modify-window=-1", *options, self.source + b"/", self.theirs + b"/"],
            capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def by_us(self, **options: Any) -> Report:
        places = (StoreSpec("posix", os.fsdecode(self.source)), StoreSpec("posix", os.fsdecode(self.ours)))
        rows = LoggedRows()
        report = copy(*places, JobOptions(**options), workers=0, log=rows.take)
        assert report.end.status is RunStatus.SUCCEEDED, (report.end, rows)
        assert report.counters.settled == report.counters.items.get("Scanned", 0)
        return report


@contextmanager
def a_place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory() as folder:
        place = Place(os.fsencode(folder))
        for part in (place.source, place.ours, place.theirs):
            os.mkdir(part)
        try:
            yield place
        finally:
            for base, folders, _ in os.walk(folder):
                for name in folders:
                    if not os.path.islink(os.path.join(base, name)):
                        os.chmod(os.path.join(base, name), 0o700)


def compare(place: Place, grown: Grown, report: Report) -> None:
    ours, theirs = look(place.ours), look(place.theirs)
    assert ours == theirs
    assert report.counters.items.get("Unsupported", 0) == grown.specials
    for path, item in ours.items():
        if item[0].startswith("-") and item[4] > HOLES_FROM:
            assert _stored(place.ours, path) <= _stored(place.source, path) + 2 * BLOCK, path


ROUNDS = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@settings(ROUNDS, max_examples=25)
@given(TREES)
def test_a_tree_arrives_as_rsync_would_bring_it(tree: Tree) -> None:
    with a_place() as place:
        grown = Grown(place.source)
        grown.grow(tree)
        place.by_rsync()
        report = place.by_us()
        compare(place, grown, report)

        again = place.by_us()

        unfinished = sum(
            item[0] == stat.filemode(stat.S_IFDIR | UNFINISHED) for item in look(place.ours).values()
        )
        assert again.counters.items.get("Transferred", 0) <= unfinished
        assert again.counters.bytes.get("Transferred", 0) == 0
        compare(place, grown, again)


# ---------------------------------------------------------------- a second pass

CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["remove", "rewrite", "append", "dress", "retarget", "bare", "touch"]),
        st.integers(0, 100), FILES, FOLDERS,
    ),
    min_size=1, max_size=8,
)  # fmt: skip


def change(grown: Grown, way: str, which: int, file: File, folder: Folder) -> None:
    """Do something to one item of the tree."""
    there = sorted(os.path.join(base, name) for base, ds, fs in os.walk(grown.root) for name in ds + fs)
    if not there:
        return
    place = there[which % len(there)]
    kind = stat.S_IFMT(os.lstat(place).st_mode)
    is_file, is_folder, is_link = kind == stat.S_IFREG, kind == stat.S_IFDIR, kind == stat.S_IFLNK
    if way == "remove" and not is_folder:
        os.unlink(place)
        grown.specials -= not (is_file or is_link)
    elif way == "remove":
        with suppress(OSError):
            os.rmdir(place)
    elif way == "rewrite" and is_file:
        beside = os.path.join(os.path.dirname(place), b"+ beside")
        with open(beside, "wb") as made:
            fill(made, file)
        dress(beside, file.facts)
        os.rename(beside, place)
    elif way == "append" and is_file:
        with open(place, "ab") as made:
            made.write(b"more")
    elif way == "dress" and (is_file or is_folder):
        bare(place)
        dress(place, (file if is_file else folder).facts)
    elif way == "retarget" and is_link:
        os.unlink(place)
        os.symlink(b"somewhere else", place)
    elif way == "bare" and (is_file or is_folder):
        bare(place)
    elif way == "touch":
        os.utime(place, ns=(which, 10**18 + which), follow_symlinks=False)


def take_swapped(place: Place, grown: Grown) -> None:
    """Take away what is a folder on one side and none on the other."""
    for base, folders, files in os.walk(place.source):
        for name in folders + files:
            path = os.path.join(base, name)
            there = os.path.join(place.ours, os.path.relpath(path, place.source))
            is_folder = os.path.isdir(path) and not os.path.islink(path)
            if not os.path.lexists(there) or is_folder == (
                os.path.isdir(there) and not os.path.islink(there)
            ):
                continue
            if is_folder:
                shutil.rmtree(path)
            else:
                os.unlink(path)
    grown.specials = sum(
        stat.S_IFMT(os.lstat(os.path.join(base, name)).st_mode)
        not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)
        for base, folders, files in os.walk(place.source)
        for name in folders + files
    )


def bare(place: bytes) -> None:
    """Without any extended attribute."""
    for name in os.listxattr(place):
        os.removexattr(place, name)


@pytest.mark.parametrize("mode", CopyMode)
@settings(ROUNDS, max_examples=25)
@given(tree=TREES, more=TREES, changes=CHANGES)
def test_a_second_pass_brings_what_changed(
    mode: CopyMode, tree: Tree, more: Tree, changes: list[Any]
) -> None:
    with a_place() as place:
        grown = Grown(place.source)
        grown.grow(tree)
        place.by_rsync()
        place.by_us()
        for one in changes:
            change(grown, *one)
        grown.files = [file for file in grown.files if os.path.lexists(file)]
        grown.dressed = {}
        grown.grow(more)
        if mode is CopyMode.ADDITIVE:
            take_swapped(place, grown)

        place.by_rsync(*(["--delete"] if mode is CopyMode.MIRROR else []))
        report = place.by_us(mode=mode, max_delete=1000, allow_empty_source=True)

        compare(place, grown, report)
