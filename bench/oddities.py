"""D7: a small tree of everything that a copy can lose, and how much of it one has kept. Not a matter of speed.

A facet is one property of one item: that it is there, its mode, its times, what other name it shares a file with. What
this machine cannot make (attributes on some file systems, devices without root) is left out of the tree, for all.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bench.comparison import walk
from bench.trees import MIB, Tree

_ACCESS, _DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
_NAMES = (
    b"with blank", b"with\nnew line", b"not utf-8 \xff\xfe", b"-dash", b"back\\slash", b"colon: * ? < > |",
    b"dot.", b".hidden", "composed é".encode(), "decomposed e\u0301".encode(), b"n" * 255, b" ", b"#%20",
)  # fmt: skip
_MODES = {
    "set user id": 0o4755,
    "set group id": 0o2755,
    "sticky": 0o1644,
    "nobody may": 0o000,
    "all may": 0o777,
}
# Nanoseconds, before 1970, after 2038, after what 32 bits without sign hold.
_TIMES = {
    "fine": 1_234_567_890_123_456_789, "old": -1_000_000_000_123_456_789, "1970": 0,
    "late": 2_500_000_000_987_654_321, "later": 5_000_000_000_000_000_001,
}  # fmt: skip


def make(root: Path) -> Tree:
    """Make the tree."""
    names, modes, times = root / "names", root / "modes", root / "times"
    for folder in (names, modes, times, root / "empty", root / "links", root / "far/below"):
        folder.mkdir(parents=True)
    for number, raw in enumerate(_NAMES):
        Path(os.fsdecode(os.fsencode(names) + b"/" + raw)).write_bytes(b"%d" % number)
    for name, mode in _MODES.items():
        (modes / name).write_bytes(b"mode")
        (modes / name).chmod(mode)
    for name, moment in _TIMES.items():
        (times / name).write_bytes(b"time")
        os.utime(times / name, ns=(moment, moment))
    _links(root)
    _holes(root)
    _attributes(root)
    _as_root(root)
    _last(root)
    items = list(walk(str(root)))
    files = sum(not stat.S_ISDIR(item.facts.st_mode) for item in items)
    return Tree(files, len(items) - files, sum(item.facts.st_size for item in items))


def _links(root: Path) -> None:
    links = root / "links"
    (links / "one").write_bytes(b"of three names")
    (links / "two").hardlink_to(links / "one")
    (root / "far/below/three").hardlink_to(links / "one")
    for name, text in (
        ("near", "one"), ("up", "../times/fine"), ("nowhere", "gone"), ("itself", "itself"),
        ("absolute", "/nonexistent/place"), ("folder", "../empty"),
    ):  # fmt: skip
        (links / name).symlink_to(text)
        os.utime(links / name, ns=(77_000_000_007, 77_000_000_007), follow_symlinks=False)


def _holes(root: Path) -> None:
    with (root / "holes").open("wb") as file:
        file.seek(16 * MIB)
        file.write(b"island")
        file.truncate(64 * MIB)


def _attributes(root: Path) -> None:
    (root / "attributes").mkdir()
    for name in ("file", "folder"):
        place = root / "attributes" / name
        if name == "file":
            place.write_bytes(b"with attributes")
        else:
            place.mkdir()
        with contextlib.suppress(OSError):
            os.setxattr(place, "user.wherry", b"\x00binary\xff")
            os.setxattr(place, "user.empty", b"")
        with contextlib.suppress(OSError):
            os.setxattr(place, _ACCESS, _acl())
            if name == "folder":
                os.setxattr(place, _DEFAULT, _acl())


def _acl() -> bytes:
    """Read and write for user 1234 beside the owner, read for the group."""
    anyone = 0xFFFFFFFF
    entries = ((1, 6, anyone), (2, 6, 1234), (4, 4, anyone), (16, 6, anyone), (32, 0, anyone))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def _as_root(root: Path) -> None:
    os.mkfifo(root / "pipe")
    if os.geteuid() != 0:
        return
    with contextlib.suppress(OSError):
        os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    for number, name in enumerate(_TIMES):
        os.chown(root / "times" / name, 4_000_000_000 + number, 65_534)
    os.chown(root / "links/nowhere", 1234, 1235, follow_symlinks=False)


def _last(root: Path) -> None:
    """Times and modes of the folders."""
    for number, (place, _, _) in enumerate(os.walk(root, topdown=False)):
        if not os.path.basename(place).startswith("folder"):
            os.chmod(place, (0o2755, 0o1777, 0o711)[number % 3])
        os.utime(place, ns=(1_000_000_000_000_000_001 + number, 1_000_000_000_000_000_001 + number))


def kept(source: Path, target: Path) -> tuple[int, int, Counter[str]]:
    """How many facets a copy has kept, of how many, and which kinds of them it has not."""
    wanted, found = dict(_facets(source)), dict(_facets(target))
    lost = Counter(kind for (path, kind), value in wanted.items() if found.get((path, kind)) != value)
    return len(wanted) - lost.total(), len(wanted), lost


def _facets(root: Path) -> Iterator[tuple[tuple[str, str], object]]:
    first: dict[int, str] = {}
    for item in walk(str(root)):
        path, facts, full = item.path, item.facts, os.path.join(root, item.path)
        yield (path, "items"), item.kind
        yield (path, "owners"), (facts.st_uid, facts.st_gid)
        yield (path, "times"), facts.st_mtime_ns
        if item.kind == "l":
            yield (path, "texts of links"), os.readlink(full)
            continue
        yield (path, "modes"), stat.S_IMODE(facts.st_mode)
        yield from _attribute_facets(path, full)
        if item.kind == "-":
            yield (path, "bytes"), hashlib.sha256(Path(full).read_bytes()).hexdigest()
            yield (path, "hard links"), first.setdefault(facts.st_ino, path)
            if facts.st_size >= MIB:
                yield (path, "holes"), facts.st_blocks * 512 < facts.st_size // 2
        elif item.kind == "c":
            yield (path, "devices"), facts.st_rdev


def _attribute_facets(path: str, full: str) -> Iterator[tuple[tuple[str, str], object]]:
    with contextlib.suppress(OSError):
        for name in os.listxattr(full):
            kind = "ACLs" if name.startswith("system.posix_acl") else "attributes"
            yield (f"{path}:{name}", kind), os.getxattr(full, name)
