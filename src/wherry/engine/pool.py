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
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import ParamSpec, TypeVar

from wherry.engine import batch as batches
from wherry.engine.batch import Batch
from wherry.engine.lease import LeaseClock, LeaseClocks
from wherry.model.errors import WherryError
from wherry.model.outcomes import Row

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
            return executor.submit(batches.run, batch)
        except BrokenProcessPool as error:
            self._replace(executor)
            raise WorkerDied("A worker process ended unexpectedly.") from error

    def result(self, future: Future[list[Row]], timeout: float | None = None) -> list[Row]:
        """What a batch came to; `TimeoutError` when it is still under way."""
        executor = self._executor
        try:
            return future.result(timeout)
        except BrokenProcessPool as error:
            self._replace(executor)
            raise WorkerDied("A worker process ended unexpectedly.") from error

    def _replace(self, broken: Executor) -> None:
        with self._lock:
            if self._executor is broken:
                broken.shutdown(wait=False, cancel_futures=True)
                self._executor = self._start()

    def close(self) -> None:
        """End the workers once they finished what they hold."""
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._held.close()
        self._watched.close()


def _begin(
    deadlines: ctypes.Array[ctypes.c_double], moves: ctypes.Array[ctypes.c_ulonglong], parent: Connection
) -> None:
    """Start of a worker process: the keyboard's signals are left to the parent, whose end is this one's too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    batches.attach(deadlines, moves)


def _end_with(parent: Connection) -> None:
    """Wait for the end of a pipe that only the parent holds open, however it ends."""
    try:
        parent.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)
