"""Worker processes behind `concurrent.futures.Executor`, each with a pipe of its own.

The standard library's pool has one pipe for all answers: a process that is killed while it writes there leaves half
a message, and everybody waits for the other half for ever.  Here the end of a process closes its own pipe, which
ends its own call with `WorkerDied` and touches no other; the next call gets a new process.  Used by `pool`.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import signal
import threading
import traceback
from collections.abc import Callable, Collection
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, TypeVar

from wherry.model.errors import WherryError

_END_SECONDS = 5.0
_TO_ALL = frozenset({signal.SIGINT, signal.SIGTERM})

P = ParamSpec("P")
T = TypeVar("T")

_spawn = multiprocessing.get_context("spawn")
_fork = multiprocessing.get_context("fork")
_Process = tuple[multiprocessing.process.BaseProcess, "Connection"]


class WorkerDied(WherryError):
    """A worker process ended in the middle of its work; what it did since the last commit is done again."""


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    future: Future[Any]
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    named: dict[str, Any]


class Processes(Executor):
    """Up to `count` processes; `begin` is called in each before anything else.

    They are spawned when they are needed, so that no lock and no connection is inherited.  `fork` says that there is
    nothing to inherit: then they are forked at once, if this process has no other thread, in a tenth of the time.
    """

    def __init__(self, count: int, begin: Callable[[], None], *, fork: bool = False) -> None:
        self._begin = begin
        alone = fork and threading.active_count() == 1
        forked = [_started(_fork, begin) for _ in range(count)] if alone else []
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._slots: list[_Slot] = []
        for number in range(count):
            self._add_slot(forked[number] if forked else None)
        # Whoever forgets to shut down shall not wait at its end for processes that wait for calls.
        atexit.register(self.kill_all)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a process call `fn`; function, arguments and result go through pickle."""
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("the processes were shut down")
            self._calls.put(_Call(future, fn, args, kwargs))
        return future

    def kill(self, futures: Collection[Future[Any]], seconds: float) -> bool:
        """Kill the processes that work for `futures`; False when one of them does not end in time.

        Such a one hangs in the kernel: it is given up, and another takes its place.
        """
        with self._lock:
            hung = [slot for slot in self._slots if slot.future in futures]
        for slot in hung:
            slot.kill()
        left = wait(futures, seconds).not_done
        with self._lock:
            for slot in [slot for slot in hung if slot.future in left]:
                slot.given_up = True
                self._slots.remove(slot)
                self._add_slot()
        return not left

    # The names are those of `Executor`.
    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; the processes end when theirs are done."""
        with self._lock:
            self._closed = True
            while cancel_futures and (call := self._next()) is not None:
                call.future.cancel()
            for _ in self._slots:
                self._calls.put(None)
            slots = list(self._slots)
        for slot in slots if wait else ():
            slot.thread.join()
        if wait:
            atexit.unregister(self.kill_all)

    def _next(self) -> _Call | None:
        try:
            return self._calls.get_nowait()
        except Empty:
            return None

    def _add_slot(self, process: _Process | None = None) -> None:
        slot = _Slot(self._begin, process)
        slot.thread = threading.Thread(target=self._keep, args=(slot,), name="worker", daemon=True)
        self._slots.append(slot)
        slot.thread.start()

    def _keep(self, slot: _Slot) -> None:
        """The thread of a slot: one call after the other."""
        while not slot.given_up and (call := self._calls.get()) is not None:
            if call.future.set_running_or_notify_cancel():
                slot.do(call)
        slot.end()

    def kill_all(self) -> None:
        """Kill all processes, whatever they do."""
        for slot in self._slots:
            slot.kill()


class _Slot:
    """Room for one process, which its thread starts, asks, and replaces when it has ended.

    `future` is that of the call under way, `given_up` tells the thread to take no other.
    """

    thread: threading.Thread
    _starting = threading.Lock()

    def __init__(self, begin: Callable[[], None], process: _Process | None) -> None:
        self.future: Future[Any] | None = None
        self.given_up = False
        self._begin = begin
        self._process: multiprocessing.process.BaseProcess | None = process[0] if process else None
        self._line: Connection | None = process[1] if process else None

    def do(self, call: _Call) -> None:
        """Have a call done and its future told."""
        self.future = call.future
        try:
            fine, answer = self._ask((call.function, call.arguments, call.named))
        except BaseException as error:  # noqa: BLE001 - an executor hands every error to its future
            fine, answer = False, error
        self.future = None
        if fine:
            call.future.set_result(answer)
        else:
            call.future.set_exception(answer)

    def kill(self) -> None:
        """Kill the process; its thread learns of it by the end of the pipe."""
        if (process := self._process) is not None:
            process.kill()

    def end(self) -> None:
        """Let the process go."""
        if self._line is not None:
            # Told, because a sibling that was forked after it has a copy of the pipe's end.
            with contextlib.suppress(OSError):
                self._line.send(None)
            self._line.close()
        if self._process is not None:
            if not connection.wait([self._process.sentinel], _END_SECONDS):
                self._process.kill()
            self._process.join()
        self._line = self._process = None

    def _ask(self, message: tuple[Any, ...]) -> tuple[bool, Any]:
        if self._process is not None and not self._process.is_alive():
            self.end()
        line = self._line or self._start()
        try:
            line.send(message)
            answer: tuple[bool, Any] = line.recv()
        except (EOFError, OSError) as lost:
            self.kill()
            self.end()
            raise WorkerDied("A worker process ended unexpectedly.") from lost
        return answer

    def _start(self) -> Connection:
        with self._starting:
            self._process, self._line = _started(_spawn, self._begin)
        return self._line


def _started(context: Any, begin: Callable[[], None]) -> _Process:
    near, far = context.Pipe()
    process = context.Process(target=_serve, args=(far, begin), daemon=True)
    if context is _spawn:
        # Else it is begun with the first process, and lets through what is kept waiting here.
        resource_tracker.ensure_running()
    # What is sent to all waits until the process has begun and knows what it means there.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _TO_ALL)
    try:
        process.start()
    except OSError as refused:
        near.close()
        raise WorkerDied(f"A worker process could not be started: {refused}.") from refused
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        # The only other end is the process's own, so that its death is the end of the pipe.
        far.close()
    return process, near


def _serve(line: Connection, begin: Callable[[], None]) -> None:
    """The life of a worker process, which ends with its parent's."""
    begin()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _TO_ALL)
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            try:
                message = line.recv()
            except (EOFError, ConnectionError):
                raise
            except BaseException as error:  # noqa: BLE001 - a call that cannot be read is answered like one that fails
                line.send((False, _told(error)))
                continue
            if message is None:
                return
            line.send(_answer(*message))


def _answer(
    function: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]
) -> tuple[bool, Any]:
    try:
        return True, function(*arguments, **named)
    except BaseException as error:  # noqa: BLE001 - the caller gets every error
        return False, _told(error)


def _told(error: BaseException) -> BaseException:
    """The error with the place that it comes from, which does not travel with it."""
    if not isinstance(error, WherryError):
        error.add_note("".join(traceback.format_exception(error)))
    return error
