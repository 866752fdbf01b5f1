"""The workers, and how a lease reaches one.

A pool lives as long as its agent (or one `wherry copy`) and serves all its leases: each becomes a task that one worker
does from its first listing to its last commit.  Its processes end with the process that made them.  With `workers=0`
tasks run in the calling thread; with an executor of one's own they run wherever that runs them: the same results.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from multiprocessing.connection import Connection
from typing import ParamSpec, TypeVar

from wherry.engine import given_up
from wherry.engine.kept_stores import KEPT
from wherry.engine.lease import SLOTS, LeaseClock, LeaseClocks, boot_time
from wherry.engine.ledger import Ledger
from wherry.engine.pacer import Limits, MachineLimit, turns
from wherry.engine.processes import Processes, WorkerDied
from wherry.engine.remote_ledger import LedgerLine
from wherry.engine.shared import Sheet
from wherry.engine.worker import Task, work
from wherry.model.ledger import Token
from wherry.model.wire import Grant, Progress, Renewal, RunOrder
from wherry.stores.port import StoreSpec

# What is under way may take so long to see that its lease is over; then its process is killed.
SETTLE_SECONDS = 90.0
_KILL_SECONDS = 10.0
_LOOK_SECONDS = 1.0

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
    """Workers, the table of lease deadlines that they share, and the line by which they reach their ledgers."""

    def __init__(
        self,
        workers: int | None = None,
        executor: Executor | None = None,
        *,
        fork: bool = False,
        governed: bool = False,
    ) -> None:
        """With `governed` what all workers send together has a limit that `govern` sets."""
        # No more than can hold a lease at once.
        self.workers = min(SLOTS, os.cpu_count() or 1 if workers is None else workers)
        self._watched, self._held = multiprocessing.Pipe(duplex=False)
        self._processes: Processes | None = None
        if executor is None and self.workers:
            executor = self._processes = Processes(
                self.workers, partial(_begin, self._watched, self._held), fork=fork
            )
        self._clocks = LeaseClocks()
        self._line = LedgerLine()
        self._lock = threading.Lock()
        self._paces: dict[str, Sheet] = {}
        self._machine = MachineLimit() if governed else None
        # How the last worker that was lost has ended.
        self._death = ""
        self._executor = executor or InProcess()
        if not isinstance(self._executor, InProcess):
            self._line.listen()

    def govern(self, rate: float) -> None:
        """Let all workers together send so many bytes a second from now on: inf for any number, 0 for none."""
        if self._machine is not None:
            self._machine.set(rate)

    def lease(self) -> LeaseClock:
        """A clock for a new lease."""
        return self._clocks.take()

    def give_back(self, clock: LeaseClock) -> None:
        """End a lease's clock."""
        self._clocks.give_back(clock)

    def perform(
        self, grant: Grant, ledger: Ledger, source: StoreSpec, target: StoreSpec, clock: LeaseClock,
        *, logged: bool = True,
    ) -> None:  # fmt: skip
        """Have a worker do the work of a grant until it is finished or what is left of it was given away.

        What is hopeless fails here, untouched.

        Raises `LeaseLost`, `Stopped`, any other `RunError` that must end the run, `WorkerDied` when a process was
        lost, and `StoreError` when a place cannot be opened now.  Whatever was done since the last commit is found
        on the target by the successor.  `logged` False: nobody reads the log, no rows are made.
        """
        if grant.hopeless:
            given_up.fail(grant, _Watched(ledger, clock), self._death, logged=logged)
            return
        address = self._line.put(_Watched(ledger, clock))
        try:
            limits = self._limits(grant.order)
            task = Task(grant, source, target, address, clock.table, clock.slot, logged, limits)
            self._wait(self._executor.submit(work, task), clock)
        except WorkerDied as died:
            self._death = str(died)
            raise
        finally:
            self._line.take_off(address)

    def _limits(self, order: RunOrder) -> Limits | None:
        """What all workers of a run, and all of this machine, may send together."""
        bandwidth, requests = order.options.bandwidth, order.options.requests_per_second
        machine = "" if self._machine is None else self._machine.path
        if bandwidth is None and requests is None:
            return Limits("", None, None, machine) if machine else None
        with self._lock:
            pace = self._paces[order.run] = (
                self._paces.pop(order.run) if order.run in self._paces else turns()
            )
            if len(self._paces) > SLOTS:
                # Of the run that has had no lease for the longest time; whoever has it open keeps it.
                self._paces.pop(next(iter(self._paces))).close()
        return Limits(pace.path, bandwidth, requests, machine)

    def _wait(self, future: Future[None], clock: LeaseClock) -> None:
        while True:
            try:
                return future.result(_LOOK_SECONDS)
            except TimeoutError:
                if future.done():
                    # It ended meanwhile, or the error is its own.
                    return future.result()
                if clock.remaining() < -SETTLE_SECONDS:
                    return self._give_up(future, clock)

    def _give_up(self, future: Future[None], clock: LeaseClock) -> None:
        """Kill a worker that does not see that its lease is over."""
        if not future.cancel():
            killed = self._processes is not None and self._processes.kill([future], _KILL_SECONDS)
            clock.stuck = not killed
            if killed:
                return future.result()
        raise WorkerDied("A worker hung beyond its lease and was given up.")

    def kill(self) -> None:
        """End the workers in the middle of what they do; an executor of one's own is its owner's to end."""
        if self._processes is not None:
            self._processes.kill_all()

    def close(self) -> None:
        """End the workers once they finished what they hold; an executor of one's own is its owner's to end."""
        if self._processes is not None:
            self._processes.shutdown(wait=True, cancel_futures=True)
        # Those of tasks that ran in this process.
        KEPT.close()
        self._line.close()
        self._clocks.close()
        for pace in self._paces.values():
            pace.close()
        if self._machine is not None:
            self._machine.close()
        self._held.close()
        self._watched.close()


class _Watched:
    """A lease's ledger whose answers move its clock."""

    def __init__(self, ledger: Ledger, clock: LeaseClock) -> None:
        self._ledger = ledger
        self._clock = clock
        self.items = ledger.items
        self.keep = ledger.keep
        self.sight = ledger.sight

    def commit(self, token: Token, progress: Progress) -> Renewal:
        asked = boot_time()
        renewal = self._ledger.commit(token, progress)
        # None for a commit that is kept to be told later: the lease's time stays what it was.
        if renewal.ttl > 0:
            self._clock.renewed(asked, renewal)
        return renewal


def _begin(parent: Connection, held: Connection) -> None:
    """Start of a worker process: signals to all are the parent's to obey, and its end is this one's too."""
    held.close()
    # Entries come by thousands and go by reference counts: looking for cycles among them finds none.
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
    # Each of many threads keeps some folders and a connection open.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Connection) -> None:
    """Wait for the end of a pipe that only the parent holds open, however it ends."""
    try:
        parent.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)
