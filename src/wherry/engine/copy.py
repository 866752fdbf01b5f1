"""One copy from place to place on this machine, with no control plane: what `wherry copy` runs.

The same ledger rules, walk and workers as a run of the control plane; only the ledger is kept here.  With a
state file an interrupted copy goes on where its last commit was; without one, a second copy finds on the target
what the first one did.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from wherry.engine.chapters import Stopped
from wherry.engine.lease import Effort, LeaseClock
from wherry.engine.ledger import LocalLedger
from wherry.engine.pool import Pool
from wherry.engine.processes import WorkerDied
from wherry.model import losses, run
from wherry.model.errors import RunError, StoreError
from wherry.model.ledger import Token
from wherry.model.options import JobOptions, Links
from wherry.model.outcomes import Counters, rows_of
from wherry.model.wire import Grant, Place, Progress, Renewal, RunOrder
from wherry.stores import registry
from wherry.stores.port import StoreSpec

_IDLE_SECONDS = 0.05
_TELL_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Live:
    """How far a copy is: committed `counters`, and what workers did so far, committed or not.

    `items` and `bytes` have ended; `listing`, `reading`, `writing` and `computing` are seconds of all workers
    together, `threads` what they use now.  `scanning`: the source is not listed to its end.  `stopping`: somebody has
    interrupted it, and what is under way is being finished.
    """

    counters: Counters
    items: int
    bytes: int
    listing: float
    reading: float
    writing: float
    computing: float
    threads: int
    scanning: bool
    stopping: bool = False

    @classmethod
    def of(cls, counters: Counters, efforts: list[Effort], *, scanning: bool, stopping: bool = False) -> Live:
        """The sum of what workers told."""
        whole = Effort()
        for effort in efforts:
            whole.add(effort)
        return cls(
            counters, int(whole.items), int(whole.bytes), whole.listing, whole.reading, whole.writing,
            whole.computing, int(whole.threads), scanning, stopping,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Report:
    """What a copy came to; `resumed` when a state file held an earlier part of it.

    `losses`, of a dry run: how many items the target cannot hold, or not wholly, by the words of `model.losses`.
    """

    counters: Counters
    end: run.End
    seconds: float
    resumed: bool = False
    losses: Mapping[str, int] = field(default_factory=dict)


def copy(
    source: StoreSpec,
    target: StoreSpec,
    options: JobOptions,
    *,
    workers: int | None = None,
    executor: Executor | None = None,
    state: Path | None = None,
    log: Callable[[bytes], None] | None = None,
    progress: Callable[[Live], None] | None = None,
) -> Report:
    """Copy `source` to `target`.

    `workers` processes do it, by default one for each processor; 0 does it in this one, and an `executor`
    of one's own runs up to `workers` tasks at once.  `log` gets the lines of the copy log as `outcomes.rows_of` reads
    them, and `progress` how far it is, both from the calling thread.  Raises `UsageError` when the state file belongs
    to another copy; trouble of the run is in the report.
    """
    begun = time.monotonic()
    options = options.at(time.time_ns())
    if options.links is Links.FOLLOW:
        source = replace(source, follow=True)
    order = RunOrder("copy", _place(source), _place(target), options)
    # Once, before workers are forked, and not in each of them.
    for place in (source, target):
        registry.adapter(place.kind)
    with closing(Pool(workers, executor, fork=True)) as pool, closing(LocalLedger(state)) as ledger:
        resumed = ledger.open(order)
        lost: Counter[str] = Counter()
        if options.dry_run:
            log = partial(_count_losses, lost, log or _ignore)
        crew = _Crew(order, ledger, source, target, pool, logged=log is not None)
        crew.work(log or _ignore, progress or _ignore)
        counters = ledger.counters()
        if not crew.code:
            ledger.finish()
        ended = run.failed(crew.code, crew.detail) if crew.code else run.end(counters, ledger.error())
    return Report(counters, ended, time.monotonic() - begun, resumed, lost)


def _count_losses(lost: Counter[str], log: Callable[[bytes], None], lines: bytes) -> None:
    for row in rows_of(lines):
        lost.update(losses.told(row))
    log(lines)


def _ignore(_: object) -> None:
    """Nobody listens."""


def _place(spec: StoreSpec) -> Place:
    return Place(spec.kind, spec.location, spec.subpath)


class _Crew:
    """One thread for each worker: it takes a lease after the other and has the worker do it, until no work is left."""

    def __init__(
        self, order: RunOrder, ledger: LocalLedger, source: StoreSpec, target: StoreSpec, pool: Pool, *, logged: bool
    ) -> None:  # fmt: skip
        self._order = order
        self._ledger = ledger
        self._places = (source, target)
        self._pool = pool
        self._logged = logged
        self._over = threading.Event()
        self._news = threading.Condition()
        self._held: set[LeaseClock] = set()
        self._done = Effort()
        self.code = ""
        self.detail = ""

    def work(self, log: Callable[[bytes], None], progress: Callable[[Live], None]) -> None:
        """Run all to the end, telling what is committed meanwhile."""
        count = max(1, self._pool.workers)
        with ThreadPoolExecutor(count, "lease") as threads:
            running = {threads.submit(self._take_leases) for _ in range(count)}
            try:
                while running:
                    done, running = wait(running, _TELL_SECONDS)
                    self._tell(log, progress)
                    for future in done:
                        future.result()
            except KeyboardInterrupt:
                self._end()
                self._wind_up(running, progress)
                raise
            finally:
                self._end()
        self._tell(log, progress)

    def _tell(self, log: Callable[[bytes], None], progress: Callable[[Live], None]) -> None:
        for lines in self._ledger.segments():
            log(lines)
        progress(self._live())

    def _live(self, *, stopping: bool = False) -> Live:
        efforts = [self._done, *(clock.effort() for clock in list(self._held))]
        scanning = self._ledger.scanning()
        return Live.of(self._ledger.counters(), efforts, scanning=scanning, stopping=stopping)

    def _wind_up(self, running: set[Future[None]], progress: Callable[[Live], None]) -> None:
        """Wait for what is under way; whoever interrupts a second time has it killed."""
        try:
            while running:
                progress(self._live(stopping=True))
                running = wait(running, _TELL_SECONDS).not_done
        except KeyboardInterrupt:
            self._pool.kill()
            raise

    def _take_leases(self) -> None:
        while not self._over.is_set():
            grant = self._ledger.lease(self._order)
            if grant is not None:
                self._perform(grant)
            elif not self._ledger.busy():
                return
            else:
                self._wait_for_work()

    def _wait_for_work(self) -> None:
        """Ask those who have work to give some of it away, and wait until one of them has told something."""
        for clock in list(self._held):
            clock.ask_to_split()
        with self._news:
            self._news.wait(_IDLE_SECONDS)

    def _perform(self, grant: Grant) -> None:
        try:
            clock = self._pool.lease()
        except RunError as error:
            self._stop(grant, error.code, error.detail)
            return
        clock.forever()
        self._held.add(clock)
        if self._over.is_set():
            clock.ask_to_stop()
        try:
            self._pool.perform(
                grant, _Told(self._ledger, self._tell_news), *self._places, clock, logged=self._logged
            )
        except Stopped:
            self._ledger.release(grant.token)
        except WorkerDied:
            # Of one that was killed to end it all nobody is to be blamed.
            self._ledger.release(grant.token, lost=not self._over.is_set())
        except RunError as error:
            self._stop(grant, error.code, error.detail)
        except StoreError as error:
            self._stop(grant, "AZSM1060", str(error))
        finally:
            self._held.discard(clock)
            self._done.add(replace(clock.effort(), threads=0))
            self._pool.give_back(clock)
            self._tell_news()

    def _tell_news(self) -> None:
        with self._news:
            self._news.notify_all()

    def _stop(self, grant: Grant, code: str, detail: str) -> None:
        self._ledger.release(grant.token)
        self.code, self.detail = self.code or code, self.detail or detail
        self._end()

    def _end(self) -> None:
        """Let every worker commit what is under way and do no more."""
        self._over.set()
        for clock in list(self._held):
            clock.ask_to_stop()
        self._tell_news()


class _Told:
    """The ledger of one lease that says when it was written."""

    def __init__(self, ledger: LocalLedger, tell: Callable[[], None]) -> None:
        self._ledger = ledger
        self._tell = tell
        self.items = ledger.items
        self.keep = ledger.keep
        self.sight = ledger.sight

    def commit(self, token: Token, progress: Progress) -> Renewal:
        renewal = self._ledger.commit(token, progress)
        self._tell()
        return renewal
