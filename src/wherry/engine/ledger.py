"""The ledger as the engine sees it, and the one that `wherry copy` keeps itself.

`Ledger` is the port: the agent implements it over the agent protocol, `LocalLedger` over one SQLite database
(in memory, or a file with `--state`, so that an interrupted copy goes on where it was).  All deciding is in
`wherry.model.ledger`.
"""

from __future__ import annotations

import json
import math
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from wherry.model import ledger, run, wire
from wherry.model.errors import RunError, UsageError, WherryError
from wherry.model.ledger import Part, Partition, Phase, Slice, Span, Token, WorkItem
from wherry.model.options import CopyMode
from wherry.model.outcomes import Counters, segment_name
from wherry.model.wire import Grant, Progress, Renewal, RunOrder, SegmentName, Sighting, Start

_SCHEMA = """
CREATE TABLE IF NOT EXISTS run (
    id INTEGER PRIMARY KEY CHECK (id = 1), incarnation TEXT, run_order TEXT, counters TEXT, error TEXT,
    source TEXT, target TEXT, since INTEGER, boot TEXT, phase INTEGER);
CREATE TABLE IF NOT EXISTS partition (
    id INTEGER PRIMARY KEY, stage INTEGER, rest TEXT, revisited INTEGER, attempt INTEGER, lost INTEGER,
    epoch INTEGER, lease TEXT, seq INTEGER);
CREATE INDEX IF NOT EXISTS partition_open ON partition (stage, id) WHERE rest IS NOT NULL;
CREATE TABLE IF NOT EXISTS item (
    phase INTEGER, key BLOB, path BLOB, counted INTEGER, etag TEXT, size INTEGER, kind TEXT,
    PRIMARY KEY (phase, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ended (id INTEGER PRIMARY KEY CHECK (id = 1));
CREATE TABLE IF NOT EXISTS segment (name TEXT PRIMARY KEY, rows INTEGER, data BLOB);
"""

# Of a ledger without a file: the log lines that wait for their reader stay in memory up to here.
_CACHE_KIB = 16 << 10

_ITEM = """
INSERT INTO item VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (phase, key) DO UPDATE SET counted = max(counted, excluded.counted)
"""


P = ParamSpec("P")
T = TypeVar("T")


class Ledger(Protocol):
    """What the engine asks of whoever keeps the ledger.  Each call may raise `LeaseLost` or `RunError`."""

    def commit(self, token: Token, progress: Progress) -> Renewal:
        """Make finished work count; repeated after a lost answer it counts once."""

    def items(self, token: Token, work: Slice, after: bytes, limit: int) -> list[WorkItem]:
        """The next work items of a leased slice with a key above `after`, sorted by key."""

    def keep(self, token: Token, seq: int, lines: bytes) -> SegmentName:
        """Put the log lines of the commit `seq` where it can name them."""

    def sight(self, token: Token, sighting: Sighting) -> Start:
        """Tell what was found at both places, at the start and at the end of a lease."""


def _reads(
    work: Callable[Concatenate[LocalLedger, sqlite3.Connection, P], T],
) -> Callable[Concatenate[LocalLedger, P], T]:
    """Make `work` a transaction that only looks."""

    @wraps(work)
    def call(self: LocalLedger, /, *args: P.args, **named: P.kwargs) -> T:
        return self.alone("BEGIN", lambda db: work(self, db, *args, **named))

    return call


def _writes(
    work: Callable[Concatenate[LocalLedger, sqlite3.Connection, P], T],
) -> Callable[Concatenate[LocalLedger, P], T]:
    """Make `work` a transaction that changes something."""

    @wraps(work)
    def call(self: LocalLedger, /, *args: P.args, **named: P.kwargs) -> T:
        return self.alone("BEGIN IMMEDIATE", lambda db: work(self, db, *args, **named))

    return call


class LocalLedger:
    """The ledger of one run on this machine.  Used by threads of one process; every call is a transaction."""

    def __init__(self, file: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._file = file
        self._incarnation = secrets.token_hex(8)
        if file is not None and not file.parent.is_dir():
            raise UsageError(f"{file}: its folder does not exist.")
        try:
            # Without a file of its own it is in memory as far as that is small, in one without a name beyond.
            self._db = sqlite3.connect(file or "", isolation_level=None, check_same_thread=False)
            if file is not None:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")
            else:
                self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
                self._db.execute("PRAGMA journal_mode = MEMORY")
            self._db.executescript(_SCHEMA)
        except sqlite3.Error as trouble:
            raise self._failure(trouble) from trouble

    def alone(self, begin: str, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do one transaction, no other thread meanwhile.

        No context managers of Python: an interrupt between theirs and the block would leave the ledger locked.
        """
        with self._lock:
            try:
                try:
                    self._db.execute(begin)
                    answer = work(self._db)
                    self._db.execute("COMMIT")
                except BaseException:
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                    raise
            except sqlite3.Error as trouble:
                raise self._failure(trouble) from trouble
            return answer

    def _failure(self, trouble: sqlite3.Error) -> WherryError:
        """What the database complains of, by the name of its file."""
        return WherryError(f"{self._file or 'The ledger'}: {trouble}.")

    @_writes
    def open(self, db: sqlite3.Connection, order: RunOrder) -> bool:
        """Begin the run, or go on with the one that the file holds.  True when it goes on.

        One that has come to its end is done again from the beginning: the source may be another one by now.
        Raises `UsageError` when the file belongs to other places or options.
        """
        text = json.dumps(order.to_json(), sort_keys=True)
        known = db.execute("SELECT run_order FROM run").fetchone()
        if known is not None and known[0] == text and db.execute("SELECT 1 FROM ended").fetchone():
            for table in ("run", "partition", "item", "segment", "ended"):
                db.execute(f"DELETE FROM {table}")  # noqa: S608
            known = None
        if known is None:
            db.execute(
                "INSERT INTO run VALUES (1, ?, ?, '{}', NULL, NULL, NULL, NULL, NULL, 0)",
                (self._incarnation, text),
            )
            _insert(db, Part(Phase.COPY, Span()))
            return False
        if known[0] != text:
            raise UsageError("The state file belongs to another copy: other places or other options.")
        # Whoever ended the copy before may have had any reason: no partition is blamed for it.
        db.execute("UPDATE partition SET lease = '' WHERE lease <> '' AND rest IS NOT NULL")
        db.execute("UPDATE run SET incarnation = ?", (self._incarnation,))
        return True

    @_writes
    def finish(self, db: sqlite3.Connection) -> None:
        """Note that the run has come to its end and all of it is told."""
        db.execute("INSERT OR IGNORE INTO ended VALUES (1)")

    @_writes
    def lease(self, db: sqlite3.Connection, order: RunOrder) -> Grant | None:
        """A lease on the next partition; None when no work is left."""
        found = _next(db)
        while found is None and _advance(db, order):
            found = _next(db)
        if found is None:
            return None
        leased = ledger.grant(found, "local", secrets.token_hex(16), time.monotonic(), math.inf)
        _update(db, leased)
        since = db.execute("SELECT since FROM run").fetchone()[0]
        token = Token(self._incarnation, leased.id, leased.epoch, leased.lease)
        work = leased.rest
        if work is None:
            return None
        return Grant(
            token, order, work, math.inf, leased.revisited, leased.isolate, since or 0, leased.phase,
            leased.hopeless,
        )  # fmt: skip

    @_reads
    def busy(self, db: sqlite3.Connection) -> bool:
        """Whether a lease is out, so that more work may come."""
        query = "SELECT count(*) FROM partition WHERE lease <> '' AND rest IS NOT NULL"
        return bool(db.execute(query).fetchone()[0])

    @_writes
    def commit(self, db: sqlite3.Connection, token: Token, progress: Progress) -> Renewal:
        partition = _get(db, token.partition)
        if ledger.repeated(partition, token, progress.commit):
            return Renewal(math.inf)
        ledger.check(partition, token, self._incarnation, time.monotonic())
        after, parts = ledger.commit(partition, progress.commit, time.monotonic(), math.inf)
        _update(db, after)
        for part in parts:
            _insert(db, part)
        db.executemany(
            _ITEM,
            [(i.phase, i.key, i.path, i.counted, i.etag, i.size, i.kind) for i in progress.deferred],
        )
        db.executemany(
            "UPDATE segment SET rows = ? WHERE name = ?",
            [(one.rows, one.name) for one in progress.segments],
        )
        counters = _counters(db)
        counters.merge(progress.counters)
        db.execute("UPDATE run SET counters = ?", (json.dumps(counters.to_json()),))
        return Renewal(math.inf)

    @_writes
    def release(self, db: sqlite3.Connection, token: Token, lost: bool = False) -> None:
        """Take a lease back after trouble."""
        partition = _get(db, token.partition)
        if partition.leased and partition.epoch == token.epoch:
            _update(db, ledger.release(partition, lost))

    @_reads
    def items(
        self, db: sqlite3.Connection, token: Token, work: Slice, after: bytes, limit: int
    ) -> list[WorkItem]:
        rows = db.execute(
            "SELECT * FROM item WHERE phase = ? AND key > ? AND key <= ? ORDER BY key LIMIT ?",
            (work.phase, max(after, work.after), work.through, limit),
        ).fetchall()
        return [WorkItem(Phase(row[0]), row[1], row[2], bool(row[3]), *row[4:]) for row in rows]

    @_writes
    def keep(self, db: sqlite3.Connection, token: Token, seq: int, lines: bytes) -> SegmentName:
        name = segment_name("copy", token.partition, token.epoch, seq, lines)
        db.execute("INSERT OR IGNORE INTO segment VALUES (?, 0, ?)", (name, lines))
        return SegmentName(name, lines.count(b"\n"))

    @_writes
    def sight(self, db: sqlite3.Connection, token: Token, sighting: Sighting) -> Start:
        source, target, since, boot = db.execute("SELECT source, target, since, boot FROM run").fetchone()
        if source is None:
            db.execute(
                "UPDATE run SET source = ?, target = ?, since = ?, boot = ?",
                (sighting.source, sighting.target, sighting.clock, sighting.boot),
            )
            return Start(sighting.clock)
        if source != sighting.source:
            raise RunError("AZSM1005", "It changed while the copy went on.")
        if target != sighting.target:
            raise RunError("AZSM1036", "It changed while the copy went on.")
        return Start(int(since), boot != sighting.boot)

    def segments(self) -> Iterator[bytes]:
        """The log lines of all commits, in order; what was given is forgotten when the next is asked for."""
        while (first := self._first_segment()) is not None:
            yield first[1]
            self._forget_segment(first[0])

    @_reads
    def _first_segment(self, db: sqlite3.Connection) -> tuple[int, bytes] | None:
        query = "SELECT rowid, data FROM segment WHERE rows > 0 ORDER BY rowid LIMIT 1"
        row: tuple[int, bytes] | None = db.execute(query).fetchone()
        return row

    @_writes
    def _forget_segment(self, db: sqlite3.Connection, number: int) -> None:
        db.execute("DELETE FROM segment WHERE rowid = ?", (number,))

    @_reads
    def counters(self, db: sqlite3.Connection) -> Counters:
        """The counters of all commits so far."""
        return _counters(db)

    @_reads
    def scanning(self, db: sqlite3.Connection) -> bool:
        """Whether spans are still to be walked."""
        query = "SELECT count(*) FROM partition WHERE rest IS NOT NULL AND stage < ?"
        return bool(db.execute(query, (Phase.LINKS << 16,)).fetchone()[0])

    @_reads
    def error(self, db: sqlite3.Connection) -> str | None:
        """A run code that was noted on the way."""
        noted: str | None = db.execute("SELECT error FROM run").fetchone()[0]
        return noted

    def close(self) -> None:
        """Close the database, once no thread uses it any more: SQLite would free what that one works with."""
        with self._lock:
            self._db.close()


def _advance(db: sqlite3.Connection, order: RunOrder) -> bool:
    """Cut the next phase's work items into partitions; False when a lease is out or nothing is left."""
    if db.execute("SELECT count(*) FROM partition WHERE rest IS NOT NULL").fetchone()[0]:
        return False
    done = db.execute("SELECT phase FROM run").fetchone()[0]
    if done:
        db.execute("DELETE FROM item WHERE phase = ?", (done,))
    for phase in ledger.phases_to_come(late=bool(_waiting(db, Phase.LATE))):
        count = _waiting(db, phase)
        if not count:
            continue
        if phase is Phase.DELETE and order.options.mode is CopyMode.MIRROR:
            refused = run.delete_gate(_counters(db), count, order.options)
            if refused:
                db.execute("UPDATE run SET error = ?", (refused,))
                db.execute("DELETE FROM item WHERE phase = ?", (phase,))
                continue
        keys = (row[0] for row in db.execute("SELECT key FROM item WHERE phase = ? ORDER BY key", (phase,)))
        for part in list(ledger.cut(phase, keys)):
            _insert(db, part)
        db.execute("UPDATE run SET phase = ?", (phase,))
        return True
    return False


def _waiting(db: sqlite3.Connection, phase: Phase) -> int:
    return int(db.execute("SELECT count(*) FROM item WHERE phase = ?", (phase,)).fetchone()[0])


def _counters(db: sqlite3.Connection) -> Counters:
    return Counters.from_json(json.loads(db.execute("SELECT counters FROM run").fetchone()[0]))


def _work_text(work: ledger.Work | None) -> str | None:
    return None if work is None else json.dumps(wire.work_to_json(work))


def _insert(db: sqlite3.Connection, part: Part) -> None:
    db.execute(
        "INSERT INTO partition (stage, rest, revisited, attempt, lost, epoch, lease, seq)"
        " VALUES (?, ?, ?, 0, ?, 0, '', 0)",
        (part.stage, _work_text(part.work), part.revisited, part.lost),
    )


def _update(db: sqlite3.Connection, p: Partition) -> None:
    db.execute(
        "UPDATE partition SET rest = ?, revisited = ?, attempt = ?, lost = ?, epoch = ?, lease = ?, seq = ?"
        " WHERE id = ?",
        (_work_text(p.rest), p.revisited, p.attempt, p.lost, p.epoch, p.lease, p.seq, p.id),
    )


_COLUMNS = "id, stage, rest, revisited, attempt, lost, epoch, lease, seq"


def _partition(row: tuple[Any, ...]) -> Partition:
    rest = wire.work_from_json(json.loads(row[2])) if row[2] else None
    return Partition(
        row[0], row[1], rest, bool(row[3]), row[4], row[5], row[6], row[7], expires=math.inf, seq=row[8]
    )


def _get(db: sqlite3.Connection, number: int) -> Partition:
    row = db.execute(f"SELECT {_COLUMNS} FROM partition WHERE id = ?", (number,)).fetchone()  # noqa: S608
    return _partition(row)


def _next(db: sqlite3.Connection) -> Partition | None:
    """The first partition of the lowest stage that has open ones, unless all of that stage are leased."""
    row = db.execute(
        f"SELECT {_COLUMNS} FROM partition WHERE rest IS NOT NULL AND lease = ''"  # noqa: S608
        " AND stage = (SELECT min(stage) FROM partition WHERE rest IS NOT NULL) ORDER BY id LIMIT 1"
    ).fetchone()
    return _partition(row) if row else None
