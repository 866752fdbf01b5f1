"""The threads of one lease: many where a store answers late, none where it is this machine's own.

Small deeds on fast local stores are done by the walking thread itself, as threads only get in each other's way there;
large files always go to threads, and the pieces of one are shared among all that are free.  Stores with latency get
as many threads as the tuner finds worth having.  Used by `chapters` and `transfer`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from itertools import chain
from typing import Generic, TypeVar

from wherry.engine.tuner import Tuner
from wherry.stores.port import Traits

HEAVY = 64 * 1024 * 1024
_HANDFUL = 8
_HANDFUL_BYTES = 1024 * 1024
_TUNE_SECONDS = 0.4
_ROOM = 8

T = TypeVar("T")
D = TypeVar("D")


class Team:
    """Threads that come and go with the tuner's advice."""

    def __init__(self, source: Traits, target: Traits) -> None:
        most = max(source.threads, target.threads)
        self.local = most == 1
        self._tuner = Tuner(most) if most > 1 else None
        self._width = self._tuner.width if self._tuner else min(4, os.cpu_count() or 1)
        self._ready = threading.Condition()
        self._jobs: deque[Callable[[], None]] = deque()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._over = False
        self._items = 0
        self._bytes = 0
        self._tuned_at = time.monotonic()

    @property
    def width(self) -> int:
        """How many things are worth having under way at once."""
        return self._width

    @property
    def room(self) -> int:
        """How many deeds at most to hand out at a time: few on a slow target, so that others find some to share."""
        return sys.maxsize if self.local else _ROOM * self._width

    def do(
        self, deeds: Sequence[D], deed: Callable[[D], list[T]], size: Callable[[D], int]
    ) -> Future[list[T]]:
        """Do all of them; the results come in their order.  The first error is the error of all."""
        load: _Load[T] = _Load(len(deeds))
        done: Future[list[T]] = load.future
        if not deeds:
            done.set_result([])
        begin = 0
        while begin < len(deeds):
            end, heft = begin, 0
            most = max(1, min(_HANDFUL, len(deeds) // max(1, self._width)))
            while end < len(deeds) and end - begin < most and heft < _HANDFUL_BYTES:
                heft += size(deeds[end])
                end += 1
            self._put(self._handful(load, begin, deeds[begin:end], deed, heft))
            begin = end
        return done

    def _handful(
        self, load: _Load[T], at: int, deeds: Sequence[D], deed: Callable[[D], list[T]], heft: int
    ) -> Callable[[], None]:
        def job() -> None:
            for number, one in enumerate(deeds, at):
                if load.failed or self._over:
                    load.skip()
                    continue
                try:
                    load.finish(number, deed(one))
                except BaseException as error:  # noqa: BLE001 - every error belongs to whoever waits for the load
                    load.fail(error)
            self._count(len(deeds), heft)

        return job

    def share(self, pieces: Iterable[T], do: Callable[[T], None]) -> None:
        """Do all pieces, with the help of whoever is free.  Raises the first error, after all have let go."""
        shared = _Shared(list(pieces), do)
        for _ in range(min(len(shared.left) - 1, self._width - 1)):
            self._put(shared.help, first=True)
        shared.help()
        shared.wait()

    def _put(self, job: Callable[[], None], *, first: bool = False) -> None:
        with self._ready:
            (self._jobs.appendleft if first else self._jobs.append)(job)
            if not self._wake() and len(self._threads) < self._width:
                thread = threading.Thread(target=self._serve, name="team", daemon=True)
                self._threads.add(thread)
                thread.start()

    def _wake(self) -> bool:
        """Wake one that waits; one that was woken before counts no more.  The lock is held."""
        if not self._idle:
            return False
        self._idle -= 1
        self._ready.notify()
        return True

    def _serve(self) -> None:
        me = threading.current_thread()
        while True:
            with self._ready:
                while not self._jobs and not self._over:
                    self._idle += 1
                    self._ready.wait()
                if (self._over and not self._jobs) or len(self._threads) > self._width:
                    self._threads.discard(me)
                    self._wake()
                    return
                job = self._jobs.popleft()
            job()

    def _count(self, items: int, size: int) -> None:
        """Tell the tuner now and then how fast it goes."""
        if self._tuner is None:
            return
        with self._ready:
            self._items += items
            self._bytes += size
            now = time.monotonic()
            seconds = now - self._tuned_at
            if seconds < _TUNE_SECONDS:
                return
            self._width = self._tuner.observe(self._items / seconds, self._bytes / seconds)
            self._items = self._bytes = 0
            self._tuned_at = now

    def close(self) -> None:
        """Let what is under way end, and the threads with it."""
        with self._ready:
            self._over = True
            self._idle = 0
            self._ready.notify_all()
            threads = list(self._threads)
        for thread in threads:
            thread.join()


class _Load(Generic[T]):
    """Deeds of one call of `Team.do`, and what came of them so far."""

    def __init__(self, count: int) -> None:
        self.future: Future[list[T]] = Future()
        self.failed = False
        self._error: BaseException | None = None
        self._results: list[list[T]] = [[] for _ in range(count)]
        self._left = count
        self._lock = threading.Lock()

    def finish(self, number: int, results: list[T]) -> None:
        """One deed is done."""
        self._results[number] = results
        self._end()

    def fail(self, error: BaseException) -> None:
        """One deed has raised: the others are not begun any more."""
        with self._lock:
            self._error = self._error or error
            self.failed = True
        self._end()

    def skip(self) -> None:
        """One deed is not begun any more."""
        self.failed = True
        self._end()

    def _end(self) -> None:
        with self._lock:
            self._left -= 1
            if self._left:
                return
        if self._error is not None:
            self.future.set_exception(self._error)
        elif self.failed:
            self.future.cancel()
            self.future.set_running_or_notify_cancel()
        else:
            self.future.set_result(list(chain.from_iterable(self._results)))


class _Shared(Generic[T]):
    """Pieces of one thing, taken one by one by several threads."""

    def __init__(self, pieces: list[T], do: Callable[[T], None]) -> None:
        self.left = deque(pieces)
        self._do = do
        self._error: BaseException | None = None
        self._at_work = 0
        self._calm = threading.Condition()

    def help(self) -> None:
        """Do pieces until none is left or one has failed."""
        with self._calm:
            self._at_work += 1
        try:
            while self._error is None:
                try:
                    piece = self.left.popleft()
                except IndexError:
                    return
                self._do(piece)
        except BaseException as error:  # noqa: BLE001 - raised again by `wait`
            self._error = self._error or error
        finally:
            with self._calm:
                self._at_work -= 1
                self._calm.notify_all()

    def wait(self) -> None:
        """Return when nobody is at work any more; nothing is left then, or it has failed."""
        with self._calm:
            self._calm.wait_for(lambda: not self._at_work)
        if self._error is not None:
            raise self._error
