"""One copy from place to place on this machine, with no control plane: what `wherry copy` runs.

The same ledger rules, walk and workers as a run of the control plane; only the ledger is kept here.  With a
state file an interrupted copy goes on where its last commit was; without one, a second copy finds on the target
what the first one did.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from wherry.engine.chapters import Stopped
from wherry.engine.lease import LeaseClock
from wherry.engine.ledger import LocalLedger
from wherry.engine.pool import Pool
from wherry.engine.processes import WorkerDied
from wherry.engine.worker import perform
from wherry.model import run
from wherry.model.errors import RunError, StoreError
from wherry.model.options import JobOptions
from wherry.model.outcomes import Counters, Row, decode_rows
from wherry.model.wire import Grant, Place, RunOrder
from wherry.stores.port import StoreSpec

WALKERS = 2
_IDLE_SECONDS = 0.05
_TELL_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Report:
    """What a copy came to; `resumed` when a state file held an earlier part of it."""

    counters: Counters
    end: run.End
    seconds: float
    resumed: bool = False


def copy(
    source: StoreSpec,
    target: StoreSpec,
    options: JobOptions,
    *,
    workers: int | None = None,
    state: Path | None = None,
    log: Callable[[Row], None] | None = None,
    progress: Callable[[Counters], None] | None = None,
) -> Report:
    """Copy `source` to `target`.

    `log` gets each row of the copy log and `progress` the counters so far, both from the calling thread.
    Raises `UsageError` when the state file belongs to another copy; trouble of the run is in the report.
    """
    begun = time.monotonic()
    order = RunOrder("copy", _place(source), _place(target), options)
    ledger = LocalLedger(state)
    with closing(ledger), closing(Pool(workers)) as pool:
        resumed = ledger.open(order)
        crew = _Crew(order, ledger, source, target, pool)
        crew.work(log or _ignore, progress or _ignore)
        counters = ledger.counters()
        ended = run.failed(crew.code, crew.detail) if crew.code else run.end(counters, ledger.error())
    return Report(counters, ended, time.monotonic() - begun, resumed)


def _ignore(_: object) -> None:
    """Nobody listens."""


def _place(spec: StoreSpec) -> Place:
    return Place(spec.kind, spec.location, spec.subpath)


class _Crew:
    """The walkers of one copy: each takes a lease after the other until no work is left."""

    def __init__(
        self, order: RunOrder, ledger: LocalLedger, source: StoreSpec, target: StoreSpec, pool: Pool
    ) -> None:
        self._order = order
        self._ledger = ledger
        self._places = (source, target)
        self._pool = pool
        self._over = threading.Event()
        self._held: set[LeaseClock] = set()
        self.code = ""
        self.detail = ""

    def work(self, log: Callable[[Row], None], progress: Callable[[Counters], None]) -> None:
        """Run all walkers to the end, telling what is committed meanwhile."""
        with ThreadPoolExecutor(WALKERS, "walker") as threads:
            running = {threads.submit(self._walker) for _ in range(WALKERS)}
            try:
                while running:
                    done, running = wait(running, _TELL_SECONDS)
                    self._tell(log, progress)
                    for future in done:
                        future.result()
            finally:
                self._end()
        self._tell(log, progress)

    def _tell(self, log: Callable[[Row], None], progress: Callable[[Counters], None]) -> None:
        for segment in self._ledger.segments():
            for row in decode_rows(segment):
                log(row)
        progress(self._ledger.counters())

    def _walker(self) -> None:
        while not self._over.is_set():
            grant = self._ledger.lease(self._order)
            if grant is not None:
                self._perform(grant)
            elif not self._ledger.busy():
                return
            else:
                self._over.wait(_IDLE_SECONDS)

    def _perform(self, grant: Grant) -> None:
        lease: LeaseClock = self._pool.lease()
        lease.forever()
        self._held.add(lease)
        lease.stop = self._over.is_set()
        try:
            perform(grant, self._ledger, *self._places, self._pool, lease)
        except Stopped:
            self._ledger.release(grant.token)
        except WorkerDied:
            self._ledger.release(grant.token, lost=True)
        except RunError as error:
            self._stop(grant, error.code, error.detail)
        except StoreError as error:
            self._stop(grant, "AZSM1060", str(error))
        finally:
            self._held.discard(lease)
            lease.close()

    def _stop(self, grant: Grant, code: str, detail: str) -> None:
        self._ledger.release(grant.token)
        self.code, self.detail = self.code or code, self.detail or detail
        self._end()

    def _end(self) -> None:
        """Let every walker commit what is under way and do no more."""
        self._over.set()
        for lease in list(self._held):
            lease.stop = True
