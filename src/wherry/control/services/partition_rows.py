"""Partitions and work items as rows: `model.ledger`'s values in and out of the database, nothing decided here.

Called by `services.ledger` and `services.phases`, inside their transactions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    ScalarSelect,
    and_,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from wherry.control.db.tables_ledger import partitions, work_items
from wherry.model.ledger import Part, Partition, Phase, Slice, Work, WorkItem
from wherry.model.wire import Json, work_from_json, work_to_json

_BATCH = 500
_KEYS = 20_000


def load(conn: Connection, run: str, partition: int) -> Partition | None:
    """A partition of a run, locked against other writers until the transaction ends."""
    row = conn.execute(
        select(partitions).where(partitions.c.id == partition, partitions.c.run == run).with_for_update()
    ).first()
    return None if row is None else _partition(row)


def answer(conn: Connection, partition: int) -> Json | None:
    """What the last commit of a partition was answered."""
    found = conn.execute(select(partitions.c.answer).where(partitions.c.id == partition)).scalar()
    return dict(found) if found else None


def save(conn: Connection, partition: Partition, answered: Json | None = None) -> None:
    """Write a partition back, with the answer of its commit when this is one."""
    values: dict[str, Any] = {
        "open": partition.open,
        "rest": work_to_json(partition.rest),
        "revisited": partition.revisited,
        "attempt": partition.attempt,
        "lost": partition.lost,
        "epoch": partition.epoch,
        "lease": partition.lease,
        "holder": partition.holder,
        "expires_at": partition.expires,
        "progressed_at": partition.progressed,
        "seq": partition.seq,
    }
    if answered is not None:
        values["answer"] = answered
    conn.execute(update(partitions).where(partitions.c.id == partition.id).values(values))


def add(conn: Connection, run: str, parts: Iterable[Part]) -> int:
    """Make partitions of `parts`; answers how many."""
    count = 0
    waiting = iter(parts)
    while batch := list(islice(waiting, _BATCH)):
        conn.execute(
            insert(partitions),
            [
                {
                    "run": run,
                    "stage": part.stage,
                    "open": True,
                    "rest": work_to_json(part.work),
                    "revisited": part.revisited,
                    "lost": part.lost,
                }
                for part in batch
            ],
        )
        count += len(batch)
    return count


def next_free(conn: Connection, run: str) -> Partition | None:
    """The partition to lease next: of the lowest stage that has open ones, unless all of that stage are leased."""
    row = conn.execute(
        select(partitions).where(_free(run)).order_by(partitions.c.attempt, partitions.c.id).limit(1)
    ).first()
    return None if row is None else _partition(row)


def count_free(conn: Connection, run: str, at_most: int) -> int:
    """How many partitions could be leased now; stops counting at `at_most`."""
    found = select(partitions.c.id).where(_free(run)).limit(at_most).subquery()
    return conn.execute(select(func.count()).select_from(found)).scalar_one()


def any_open(conn: Connection, run: str) -> bool:
    """Whether work is left in the partitions that there are."""
    return conn.execute(select(_lowest_stage(run))).scalar() is not None


def live(conn: Connection, run: str, now: float) -> int:
    """How many leases of a run are running."""
    query = select(func.count()).select_from(partitions)
    return conn.execute(query.where(partitions.c.run == run, partitions.c.expires_at >= now)).scalar_one()


def expired(conn: Connection, now: float) -> list[tuple[str, Partition]]:
    """Leases whose time is over and that nobody has taken away yet, with their runs."""
    rows = conn.execute(
        select(partitions).where(partitions.c.expires_at > 0, partitions.c.expires_at < now).with_for_update()
    )
    return [(row.run, _partition(row)) for row in rows]


def close_all(conn: Connection, run: str) -> None:
    """End all partitions of a run.  Lease and answer of each last commit stay, for its repetition."""
    conn.execute(
        update(partitions)
        .where(partitions.c.run == run)
        .values(open=False, rest=None, holder="", expires_at=0.0)
    )


def put_off(conn: Connection, run: str, items: Sequence[WorkItem]) -> None:
    """Keep work items for a later phase; of two with one key the counted one stays."""
    if not items:
        return
    dialect = postgresql if conn.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(work_items)
    names = ("path", "counted", "etag", "size", "kind")
    statement = statement.on_conflict_do_update(
        index_elements=["run", "phase", "key"],
        set_={name: statement.excluded[name] for name in names},
        where=statement.excluded.counted & ~work_items.c.counted,
    )
    conn.execute(
        statement,
        [
            {
                "run": run, "phase": int(one.phase), "key": one.key, "path": one.path, "counted": one.counted,
                "etag": one.etag, "size": one.size, "kind": one.kind,
            }
            for one in items
        ],
    )  # fmt: skip


def items(conn: Connection, run: str, work: Slice, after: bytes, limit: int) -> list[WorkItem]:
    """Work items of a slice with a key above `after`, in order."""
    table = work_items.c
    rows = conn.execute(
        select(work_items)
        .where(table.run == run, table.phase == int(work.phase))
        .where(table.key > max(after, work.after), table.key <= work.through)
        .order_by(table.key)
        .limit(limit)
    )
    return [
        WorkItem(Phase(row.phase), row.key, row.path, row.counted, row.etag, row.size, row.kind)
        for row in rows
    ]


def forget_done(conn: Connection, run: str, before: Work | None, left: Iterable[Work]) -> None:
    """Remove the work items of a slice that a commit leaves to nobody: they are done."""
    if not isinstance(before, Slice):
        return
    low = before.after
    for one in sorted((w for w in left if isinstance(w, Slice)), key=lambda work: work.after):
        drop_items(conn, run, before.phase, low, one.after)
        low = max(low, one.through)
    drop_items(conn, run, before.phase, low, before.through)


def drop_items(
    conn: Connection, run: str, phase: Phase, low: bytes | None = None, high: bytes | None = None
) -> int:
    """Remove work items of a phase with `low < key <= high`; answers how many."""
    if low is not None and high is not None and low >= high:
        return 0
    statement = delete(work_items).where(work_items.c.run == run, work_items.c.phase == int(phase))
    if low is not None:
        statement = statement.where(work_items.c.key > low)
    if high is not None:
        statement = statement.where(work_items.c.key <= high)
    return conn.execute(statement).rowcount


def count_items(conn: Connection, run: str, phase: Phase) -> int:
    """How many items wait for a phase."""
    query = select(func.count()).select_from(work_items)
    return conn.execute(query.where(work_items.c.run == run, work_items.c.phase == int(phase))).scalar_one()


def keys(conn: Connection, run: str, phase: Phase) -> Iterator[bytes]:
    """The keys of all items that wait for a phase, in order, a page in memory at a time."""
    last = None
    while True:
        query = select(work_items.c.key).where(work_items.c.run == run, work_items.c.phase == int(phase))
        if last is not None:
            query = query.where(work_items.c.key > last)
        page = conn.execute(query.order_by(work_items.c.key).limit(_KEYS)).scalars().all()
        if not page:
            return
        yield from page
        last = page[-1]


def forget_items(conn: Connection, run: str) -> None:
    """Remove all that a run had put off."""
    conn.execute(delete(work_items).where(work_items.c.run == run))


def _lowest_stage(run: str) -> ScalarSelect[int | None]:
    inner = partitions.alias()
    query = select(func.min(inner.c.stage)).where(inner.c.run == run, inner.c.open)
    return query.scalar_subquery()


def _free(run: str) -> ColumnElement[bool]:
    return and_(
        partitions.c.run == run,
        partitions.c.open,
        partitions.c.lease == "",
        partitions.c.stage == _lowest_stage(run),
    )


def _partition(row: Row[Any]) -> Partition:
    return Partition(
        id=row.id, stage=row.stage, rest=work_from_json(row.rest), revisited=row.revisited, attempt=row.attempt,
        lost=row.lost, epoch=row.epoch, lease=row.lease, holder=row.holder, expires=row.expires_at,
        progressed=row.progressed_at, seq=row.seq,
    )  # fmt: skip
