"""The worker processes and how batches reach them.

A pool lives as long as its agent (or one `wherry copy`) and serves all its leases.  Processes are spawned, not
forked, so that no lock or connection is inherited; they end with the process that made them.  With `workers=0`
batches run in the calling process: the same results, for tests and for tiny machines.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Executor, Future, wait
from functools import partial
from multiprocessing.connection import Connection
from typing import ParamSpec, TypeVar

from wherry.engine import batch as batches
from wherry.engine.batch import Batch
from wherry.engine.lease import LeaseClock, LeaseClocks
from wherry.engine.processes import Processes
from wherry.model.outcomes import Row

# What is under way may take so long to see that its lease is over; then its process is killed.
SETTLE_SECONDS = 90.0
_KILL_SECONDS = 10.0

P = ParamSpec("P")
T = TypeVar("T")


class InProcess(Executor):
    """Runs each call at once in the calling thread."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call `fn`; the result is there when this returns."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - an executor hands every error to its future
            future.set_exception(error)
        return future


class Pool:
    """Worker processes for batches, with the table of lease deadlines that they share."""

    def __init__(self, workers: int | None = None) -> None:
        self.workers = os.cpu_count() or 1 if workers is None else workers
        self._clocks = LeaseClocks()
        self._watched, self._held = multiprocessing.Pipe(duplex=False)
        shared = (self._clocks.deadlines, self._clocks.moves)
        self._executor: Executor
        if self.workers:
            self._executor = self._processes = Processes(
                self.workers, partial(_begin, *shared, self._watched)
            )
        else:
            batches.attach(*shared)
            self._executor = InProcess()

    def lease(self) -> LeaseClock:
        """A clock for a new lease."""
        return self._clocks.take()

    def submit(self, batch: Batch) -> Future[list[Row]]:
        """Run a batch."""
        return self._executor.submit(batches.run, batch)

    def result(self, future: Future[list[Row]], timeout: float | None = None) -> list[Row]:
        """What a batch came to: `TimeoutError` when it is still under way, `WorkerDied` when its process was lost."""
        return future.result(timeout)

    def settle(self, futures: Collection[Future[list[Row]]]) -> bool:
        """Wait until batches of a lease that is over are at their end; False when one may still be at work.

        A process that does not come back is killed.
        """
        under_way = [future for future in futures if not future.cancel()]
        hung = wait(under_way, SETTLE_SECONDS).not_done
        return not hung or self._processes.kill(hung, _KILL_SECONDS)

    def close(self) -> None:
        """End the workers once they finished what they hold."""
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._held.close()
        self._watched.close()


def _begin(
    deadlines: ctypes.Array[ctypes.c_double], moves: ctypes.Array[ctypes.c_ulonglong], parent: Connection
) -> None:
    """Start of a worker process: signals to all are the parent's to obey, and its end is this one's too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    batches.attach(deadlines, moves)


def _end_with(parent: Connection) -> None:
    """Wait for the end of a pipe that only the parent holds open, however it ends."""
    try:
        parent.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)
