"""What an agent has to tell and cannot tell now, on disk: in order, bounded, each thing once.

One SQLite file in the state directory.  A letter is durable when `put` has answered True; a crash in the middle leaves
the letters before it.  Numbers rise and are never used again, and each file has a name of its own: by both the control
plane knows what it was told already.

The rule of the bound: what comes when there is no room is not kept, what is kept stays.  So the order holds, and what
was refused is counted (`refused`), to be told itself.  A full disk is no room.  Work that is not kept is not lost: who
takes it up next finds it on the target.  Called by `delivery`, from any thread.
"""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wherry.agent.log_lines import tell
from wherry.client import kept_file

LIMIT = 64 * 1024 * 1024
"""Bytes of all letters together."""
_FILE = "spool.sqlite"
_OVERHEAD = 200
_SCHEMA = """
CREATE TABLE IF NOT EXISTS letters (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, run TEXT NOT NULL, head TEXT NOT NULL, body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Letter:
    """One thing to tell about a run; `seq` is its number once it is in a spool."""

    kind: str
    run: str
    head: dict[str, Any]
    body: bytes = b""
    seq: int = 0

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return len(self.body) + len(json.dumps(self.head)) + _OVERHEAD


@dataclass
class Spool:
    """The letters of the agent `owner`, kept in `directory`; those of another agent before it are thrown away."""

    directory: Path
    owner: str
    limit: int = LIMIT
    name: str = ""
    refused: int = 0
    _size: int = 0
    _count: int = 0
    _through: int = 0
    _told: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._base = self._opened()

    def __len__(self) -> int:
        return self._count

    @property
    def full(self) -> bool:
        """Whether the last letter was not kept."""
        return self._told

    def put(self, *letters: Letter) -> bool:
        """Keep letters, all or none; False when there is no room for them."""
        with self._lock:
            why = self._put(letters)
            told, self._told = self._told, bool(why)
            self.refused += len(letters) if why else 0
        # Outside the lock: whoever listens to the log may want to keep a line of it.
        if why and not told:
            tell(logging.ERROR, "spool.full", f"What cannot be told now is not kept either: {why}.")
        return not why

    def _put(self, letters: Sequence[Letter]) -> str:
        """Keep letters; why not, else nothing."""
        size = sum(letter.size for letter in letters)
        if self._size + size > self.limit:
            return f"its {self.limit} bytes are used up"
        try:
            with self._base:
                self._base.executemany(
                    "INSERT INTO letters (kind, run, head, body) VALUES (?, ?, ?, ?)",
                    [(one.kind, one.run, json.dumps(one.head), one.body) for one in letters],
                )
        except sqlite3.Error as trouble:
            return str(trouble)
        self._size += size
        self._count += len(letters)
        return ""

    def first(self, most: int = 1) -> list[Letter]:
        """The oldest letters, in their order."""
        if not self._count:
            return []
        with self._lock:
            rows = self._base.execute(
                "SELECT kind, run, head, body, seq FROM letters WHERE seq > ? ORDER BY seq LIMIT ?",
                (self._through, most),
            ).fetchall()
        return [Letter(kind, run, json.loads(head), body, seq) for kind, run, head, body, seq in rows]

    def runs(self) -> list[str]:
        """The runs of which anything is kept."""
        with self._lock:
            return [row[0] for row in self._base.execute("SELECT DISTINCT run FROM letters ORDER BY run")]

    def drop(self, letters: Sequence[Letter]) -> None:
        """Forget letters that were told, or that nobody wants any more; the oldest ones."""
        with self._lock:
            self._through = letters[-1].seq
            try:
                with self._base:
                    self._base.execute("DELETE FROM letters WHERE seq <= ?", (self._through,))
                self._measure()
            except sqlite3.Error:
                # A full disk has no room for that either.  Should the agent end now, they are told again, which changes
                # nothing; once all are told the whole file goes.
                self._measure()
                if not self._count:
                    self._begin_anew()

    def take_refused(self) -> int:
        """How many letters were not kept since the last time."""
        with self._lock:
            count, self.refused = self.refused, 0
            return count

    def close(self) -> None:
        self._base.close()

    def _begin_anew(self) -> None:
        """Give the place of a file back of which nothing is wanted any more."""
        self._base.close()
        for name in (_FILE, f"{_FILE}-journal"):
            (self.directory / name).unlink(missing_ok=True)
        self._through = 0
        self._base = self._opened()

    def _opened(self) -> sqlite3.Connection:
        """The file; one that is damaged is put aside."""
        path = kept_file.private_folder(self.directory) / _FILE
        try:
            return self._begun(path)
        except sqlite3.OperationalError as trouble:
            # As when the disk is full: the agent works on.
            tell(
                logging.ERROR,
                "spool.full",
                f"{path} cannot be written, letters are in memory only: {trouble}.",
            )
            return self._begun(":memory:")
        except sqlite3.DatabaseError as broken:
            tell(logging.ERROR, "spool.damaged", f"{path} is damaged and put aside: {broken}.")
            path.replace(path.with_suffix(".damaged"))
            return self._begun(path)

    def _begun(self, path: Path | str) -> sqlite3.Connection:
        base = sqlite3.connect(path, timeout=10, check_same_thread=False, isolation_level="IMMEDIATE")
        try:
            base.execute("PRAGMA synchronous = FULL")
            if base.execute("PRAGMA quick_check").fetchone() != ("ok",):
                raise sqlite3.DatabaseError("its pages do not fit together")
            base.executescript(_SCHEMA)
            with base:
                known = dict(base.execute("SELECT name, value FROM about"))
                if known.get("owner") != self.owner:
                    base.execute("DELETE FROM letters")
                    known = {"owner": self.owner, "name": secrets.token_hex(8)}
                    base.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", known.items())
            self.name = known["name"]
            self._base = base
            self._measure()
        except BaseException:
            base.close()
            raise
        return base

    def _measure(self) -> None:
        total = f"SELECT count(*), coalesce(sum(length(body) + length(head) + {_OVERHEAD}), 0) FROM letters"  # noqa: S608
        self._count, self._size = self._base.execute(f"{total} WHERE seq > ?", (self._through,)).fetchone()


@contextlib.contextmanager
def opened(directory: Path, owner: str) -> Iterator[Spool]:
    """The spool of an agent while the block runs."""
    spool = Spool(directory, owner)
    try:
        yield spool
    finally:
        spool.close()
