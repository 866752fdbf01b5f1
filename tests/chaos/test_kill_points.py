"""`wherry copy` killed with no warning at any moment: the same command goes on, and the end is as if nothing was.

A moment is a number: a hook in every Python process of the copy counts what it is about to do to the file system, all
processes together, and the process that comes to the chosen number kills the whole group, itself (a worker), or the
supervisor.  So a kill point is hit by progress, on a machine of any speed, with nobody watching from outside.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests import oracle
from wherry.model import names

FEW, MANY = 2_000, 20_000
MIB = 1 << 20
WORKERS = 2
# What a killed attempt had finished and not yet committed may be done again: as much as is under way at once.
IN_FLIGHT = 64
KINDS = ("group", "worker", "supervisor")
PATIENCE = 110.0

HOOK = """
import os, signal, sys

CHANGES = {"os.mkdir", "os.link", "os.symlink", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.chown",
           "os.utime", "os.truncate", "os.setxattr"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def install(counter, kind, moment):
    main, own = int(os.environ.setdefault("KILL_MAIN", str(os.getpid()))), os.getpid

    def hook(event, arguments):
        if event == "open":
            path, _, flags = arguments
            if not isinstance(flags, int) or not flags & WRITING or str(path).startswith(counter):
                return
        elif event not in CHANGES:
            return
        descriptor = os.open(counter, os.O_WRONLY | os.O_APPEND)
        os.write(descriptor, b".")
        number = os.lseek(descriptor, 0, os.SEEK_CUR)
        os.close(descriptor)
        if number < moment or (kind == "worker" and own() == main):
            return
        try:
            os.close(os.open(counter + ".struck", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return
        if kind == "group":
            os.killpg(main, signal.SIGKILL)
        os.kill(own() if kind == "worker" else main, signal.SIGKILL)

    sys.addaudithook(hook)


if os.environ.get("KILL_COUNTER"):
    install(os.environ["KILL_COUNTER"], os.environ["KILL_KIND"], int(os.environ["KILL_MOMENT"]))
"""
NEVER = 1 << 60


@dataclass(frozen=True)
class Attempt:
    """One start of the command: how it ended, what it told, how many changes it had begun."""

    code: int
    told: dict[str, Any]
    moments: int
    struck: bool
    err: str


@dataclass
class Copy:
    """One copy with a folder of its own, and the command that is given again and again."""

    source: Path
    folder: Path
    attempts: int = 0
    session: list[int] = field(default_factory=list)

    @property
    def target(self) -> Path:
        return self.folder / "target"

    @property
    def log(self) -> Path:
        return self.folder / "log.jsonl"

    def run(self, kind: str = "group", moment: int = NEVER) -> Attempt:
        """Give the command; it is killed at `moment`, or goes on to its end."""
        self.attempts += 1
        counter = self.folder / f"moments-{self.attempts}"
        counter.touch()
        hooks = self.folder / "hooks"
        hooks.mkdir(exist_ok=True)
        (hooks / "sitecustomize.py").write_text(HOOK)
        way = os.pathsep.join([str(hooks), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {
            **os.environ, "PYTHONPATH": way, "PYTHONDONTWRITEBYTECODE": "1",
            "KILL_COUNTER": str(counter), "KILL_KIND": kind, "KILL_MOMENT": str(moment),
        }  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-m", "wherry.cli.main", "copy", self.source, self.target, "--workers", str(WORKERS),
             "--state", self.folder / "state", "--log", self.log, "--quiet"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
            start_new_session=True, text=True,
        )  # fmt: skip
        self.session.append(process.pid)
        try:
            out, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
            process.wait()
        struck = Path(f"{counter}.struck").exists()
        told = json.loads(out) if process.returncode >= 0 and out else {}
        return Attempt(process.returncode, told, counter.stat().st_size, struck, err)

    def left(self) -> set[int]:
        """Processes of any attempt that are still there."""
        found = set()
        for entry in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = entry.read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[3]) in self.session and fields[0] not in "ZX":
                found.add(int(entry.parent.name))
        return found


@dataclass(frozen=True)
class Tree:
    """A source, what is in it, and what a copy that nobody disturbs comes to."""

    path: Path
    seen: oracle.Seen
    quiet: Attempt


def grow(root: Path, files: int, largest: int, giants: tuple[int, ...]) -> None:
    """A tree of `files` files: one wide folder, a deep one and many others; large files, links, empty folders."""
    chance = random.Random(1)
    block = chance.randbytes(2 * MIB)
    folders = [root / "wide", root / Path(*(f"level {n}" for n in range(60)))]
    folders += [root / f"folder {n % 7}" / f"part {n}" for n in range(files // 80)]
    for folder in folders:
        folder.mkdir(parents=True)
    made: list[Path] = []
    for number in range(files):
        kind = chance.random()
        path = (folders[0] if kind < 0.3 else chance.choice(folders[1:])) / f"{number:06}"
        if made and kind > 0.98:
            os.link(chance.choice(made), path)
        elif kind > 0.96:
            path.symlink_to(chance.choice([f"{number - 1:06}", "nowhere", "/nowhere/else"]))
        else:
            size = 0 if chance.random() < 0.03 else int(largest ** chance.random())
            at = chance.randrange(MIB)
            path.write_bytes(block[at : at + size])
            path.chmod(chance.choice([0o644, 0o600, 0o755, 0o440, 0o4755]))
            os.utime(path, ns=(0, chance.randrange(2**62)))
            made.append(path)
    for number in range(max(3, files // 100)):
        (chance.choice(folders) / f"empty {number}").mkdir()
    for number, size in enumerate(giants):
        (root / f"large {number}").write_bytes(block * (size // len(block)) + block[: size % len(block)])


def planted(folder: Path, files: int, largest: int, *giants: int) -> Tree:
    source = folder / "source"
    source.mkdir()
    grow(source, files, largest, giants)
    copy = Copy(source, folder)
    quiet = copy.run()
    assert quiet.code == 0, quiet.err
    seen = oracle.folder(source)
    assert oracle.folder(copy.target) == seen
    shutil.rmtree(copy.target)
    # Else the hook is blind, and nothing would be killed where it matters.
    assert quiet.moments > files
    return Tree(source, seen, quiet)


@pytest.fixture(scope="module")
def quick() -> Iterator[Path]:
    """A folder in memory where there is one, as each copy ends with a sync that waits for all that a disk has to do."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def few(quick: Path) -> Tree:
    return planted(quick, FEW, 64 << 10, 9 * MIB + 1)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return planted(tmp_path_factory.mktemp("many"), MANY, MIB, 9 * MIB + 1, 20 * MIB, 64 * MIB)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    shutil.rmtree(tmp_path / "target", ignore_errors=True)


@pytest.fixture
def quick_place(quick: Path) -> Iterator[Path]:
    made = quick / "copy"
    made.mkdir()
    yield made
    shutil.rmtree(made)


@pytest.mark.parametrize("seed", range(20))
def test_killed_anywhere_it_goes_on_to_the_same_end(few: Tree, quick_place: Path, seed: int) -> None:
    _kill_and_resume(few, quick_place, seed)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(200))
def test_a_large_copy_killed_anywhere_goes_on_to_the_same_end(many: Tree, place: Path, seed: int) -> None:
    _kill_and_resume(many, place, seed)


def _kill_and_resume(tree: Tree, place: Path, seed: int) -> None:
    chance = random.Random(seed)
    copy, kind = Copy(tree.path, place), KINDS[seed % 3]
    # Every fifth is killed again as soon as it goes on; one that only loses a worker comes to its end.
    often = 2 if seed % 5 == 4 and kind != "worker" else 1
    moments = [chance.randrange(1, tree.quiet.moments * 9 // 10) for _ in range(often)]
    for number, moment in enumerate(moments):
        attempt = copy.run(kind, moment if not number else moment // 20 + 1)
        assert attempt.struck or number, "it was over before it could be killed"
        if kind == "worker":
            assert attempt.code == 0, attempt.err
        else:
            assert attempt.code == -signal.SIGKILL or (number and not attempt.struck), attempt
    finished = _finished(tree, copy.target)
    last = attempt if kind == "worker" else copy.run()
    assert last.code == 0, last.err
    seen = oracle.folder(copy.target)
    if often > 1:
        # What was being replaced when the second blow fell has its draft beside it, until a run of another day.
        seen = {path: item for path, item in seen.items() if not names.is_temporary(names.basename(path))}
    assert seen == tree.seen
    assert len(_repeated(copy.target, finished)) <= IN_FLIGHT
    assert last.told["items"] == {"Scanned": len(tree.seen), "Transferred": len(tree.seen)}
    assert (last.told["status"], last.told["bytes"]) == (tree.quiet.told["status"], tree.quiet.told["bytes"])
    _all_processes_end(copy)


def _finished(tree: Tree, target: Path) -> dict[bytes, tuple[int, int]]:
    """Files of one name that an attempt has brought to their last state: which they are, and since when."""
    found = {}
    for path, item in tree.seen.items():
        if item[0] != "file":
            continue
        try:
            info = os.lstat(os.fsencode(target) + b"/" + path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        whole = (info.st_size, stat.S_IMODE(info.st_mode), info.st_mtime_ns) == (item[1], item[3], item[6])
        if whole and info.st_nlink == 1:
            found[path] = (info.st_ino, info.st_ctime_ns)
    return found


def _repeated(target: Path, finished: dict[bytes, tuple[int, int]]) -> list[bytes]:
    """Those that were done once more although they had been finished."""
    again = []
    for path, before in finished.items():
        info = os.lstat(os.fsencode(target) + b"/" + path)
        if info.st_nlink == 1 and (info.st_ino, info.st_ctime_ns) != before:
            again.append(path)
    return again


def _all_processes_end(copy: Copy) -> None:
    deadline = time.monotonic() + 10
    while left := copy.left():
        assert time.monotonic() < deadline, f"processes of a killed copy go on: {left}"
        time.sleep(0.02)
