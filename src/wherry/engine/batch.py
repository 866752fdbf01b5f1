"""A batch of deeds and how a worker process carries it out.

The supervisor decides (`plan`), a worker does: it gets some hundred deeds with the specs of both stores, does
them with as many threads as the stores want, and answers with one list of log rows a deed.  A worker keeps its
stores open between batches.  Called by `pool`, in the worker processes.
"""

from __future__ import annotations

import ctypes
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import chain

from wherry.engine import deeds
from wherry.engine.deeds import Both, Deed
from wherry.engine.lease import fence_of
from wherry.model.options import JobOptions
from wherry.model.outcomes import Row
from wherry.model.plan import Attempt
from wherry.stores.port import StoreSpec
from wherry.stores.registry import open_store

BATCH_ITEMS = 500
BATCH_BYTES = 64 * 1024 * 1024
_OPEN_PAIRS = 8


@dataclass(frozen=True, slots=True)
class Batch:
    """Deeds of one lease.  `slot` names its deadline, `lease` tells it from others that have that slot after it."""

    source: StoreSpec
    target: StoreSpec
    options: JobOptions
    slot: int
    lease: str
    attempt: Attempt
    deeds: tuple[Deed, ...]


class _Bench:
    """What a worker process keeps: the shared tables, open stores, threads."""

    def __init__(self) -> None:
        self.deadlines: ctypes.Array[ctypes.c_double] | None = None
        self.moves: ctypes.Array[ctypes.c_ulonglong] | None = None
        self.stores: OrderedDict[int, tuple[str, Both]] = OrderedDict()
        self.threads: dict[int, ThreadPoolExecutor] = {}


_bench = _Bench()


def attach(deadlines: ctypes.Array[ctypes.c_double], moves: ctypes.Array[ctypes.c_ulonglong]) -> None:
    """Give this process the table of deadlines, before the first batch of a pool."""
    _bench.deadlines, _bench.moves = deadlines, moves
    # Stores of an earlier pool in this process look at its deadlines.
    while _bench.stores:
        _bench.stores.popitem()[1][1].close()


def run(batch: Batch) -> list[Row]:
    """Do all deeds of a batch; rows come in the order of the deeds."""
    both = _stores(batch)
    width = max(both.source.traits.threads, both.target.traits.threads)
    if width == 1 or len(batch.deeds) == 1:
        return list(chain.from_iterable(_do(both, deed, batch) for deed in batch.deeds))
    threads = _bench.threads.setdefault(width, ThreadPoolExecutor(width))
    futures = [threads.submit(_do, both, deed, batch) for deed in batch.deeds]
    try:
        return list(chain.from_iterable(future.result() for future in futures))
    finally:
        # Nothing of it may go on when it is over: its lease's slot is another's then.
        for future in futures:
            future.cancel()
        wait(futures)


def _do(both: Both, deed: Deed, batch: Batch) -> list[Row]:
    both.fence()
    rows = deeds.do(both, deed, batch.options, batch.attempt)
    both.moved()
    return rows


def _stores(batch: Batch) -> Both:
    """The stores of the batch's lease.  Each lease opens its own: by then something else may lie at their places."""
    lease, both = _bench.stores.get(batch.slot, ("", None))
    if both is None or lease != batch.lease:
        if both is not None:
            _bench.stores.pop(batch.slot)
            both.close()
        both = _open(batch)
        _bench.stores[batch.slot] = (batch.lease, both)
        while len(_bench.stores) > _OPEN_PAIRS:
            _bench.stores.popitem(last=False)[1][1].close()
    _bench.stores.move_to_end(batch.slot)
    return both


def _open(batch: Batch) -> Both:
    deadlines, moves, slot = _bench.deadlines, _bench.moves, batch.slot
    if deadlines is None or moves is None:
        raise RuntimeError("this process was not attached to a pool")
    fence = fence_of(deadlines, slot)
    fence()

    def moved() -> None:
        fence()
        moves[slot] += 1

    # A large file passes the target's fence again and again: that is progress, too.
    return Both(open_store(batch.source, fence), open_store(batch.target, moved), fence, moved)
