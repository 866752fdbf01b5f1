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
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from wherry.engine import batch as batches
from wherry.engine.batch import Batch
from wherry.engine.lease import LeaseClock, LeaseClocks
from wherry.model.errors import WherryError
from wherry.model.outcomes import Row

# What is under way may take so long to see that its lease is over; then its process is killed.
SETTLE_SECONDS = 90.0
_KILL_SECONDS = 10.0

P = ParamSpec("P")
T = TypeVar("T")


class WorkerDied(WherryError):
    """A worker process ended in the middle of its work; what it did since the last commit is done again."""


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
        self._lock = threading.Lock()
        self._watched, self._held = multiprocessing.Pipe(duplex=False)
        self._executor = self._start()
        self._executors: WeakKeyDictionary[Future[list[Row]], Executor] = WeakKeyDictionary()

    def _start(self) -> Executor:
        if not self.workers:
            batches.attach(self._clocks.deadlines, self._clocks.moves)
            return InProcess()
        return ProcessPoolExecutor(
            self.workers,
            multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(self._clocks.deadlines, self._clocks.moves, self._watched),
        )

    def lease(self) -> LeaseClock:
        """A clock for a new lease."""
        return self._clocks.take()

    def submit(self, batch: Batch) -> Future[list[Row]]:
        """Run a batch; raises `WorkerDied` here or from the future when a process was lost."""
        executor = self._executor
        try:
            future = executor.submit(batches.run, batch)
        except BrokenProcessPool as error:
            self._replace(executor)
            raise WorkerDied("A worker process ended unexpectedly.") from error
        with self._lock:
            self._executors[future] = executor
        return future

    def result(self, future: Future[list[Row]], timeout: float | None = None) -> list[Row]:
        """What a batch came to; `TimeoutError` when it is still under way."""
        try:
            return future.result(timeout)
        except BrokenProcessPool as error:
            with self._lock:
                executor = self._executors.get(future)
            if executor is not None:
                self._replace(executor)
            raise WorkerDied("A worker process ended unexpectedly.") from error

    def settle(self, futures: Collection[Future[list[Row]]]) -> bool:
        """Wait until batches of a lease that is over are at their end; False when one may still be at work.

        They are not cancelled: an executor that breaks while it holds a cancelled one never tells the others.
        A process that does not come back is killed, with those beside it.
        """
        if not self.workers:
            return True
        left = wait(futures, SETTLE_SECONDS).not_done
        with self._lock:
            hung = {self._executors[future] for future in left if future in self._executors}
        ended = [self._replace(executor) for executor in hung]
        return all(ended)

    def _replace(self, broken: Executor) -> bool:
        """Work on with new processes; whether the old ones have all ended."""
        with self._lock:
            if self._executor is not broken:
                return True
            processes: Sequence[BaseProcess] = list((getattr(broken, "_processes", None) or {}).values())
            broken.shutdown(wait=False)
            self._executor = self._start()
        for process in processes:
            process.kill()
        return _ended(processes)

    def close(self) -> None:
        """End the workers once they finished what they hold."""
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._held.close()
        self._watched.close()


def _ended(processes: Sequence[BaseProcess]) -> bool:
    """Whether all processes end within the time that a killed one may take."""
    until = time.monotonic() + _KILL_SECONDS
    left = {process.sentinel for process in processes}
    while left and (seconds := until - time.monotonic()) > 0:
        left.difference_update(one for one in connection.wait(left, seconds) if isinstance(one, int))
    return not left


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
