"""Distant stores that stay open from one lease to the next, in whichever process works leases off.

To open one costs requests that find out what the service can, and TLS handshakes.  So a store is kept when its lease
has ended well, for the next lease with the same place and the same credential: a credential that was renewed opens
the place anew.  A folder of this machine is never kept, nobody could unmount it.  Used by `worker`; whoever ends the
work of a process closes what it keeps.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from multiprocessing import util

from wherry.engine.places import Side, opened
from wherry.model.errors import LeaseLost
from wherry.stores.port import Fence, Rests, Store, StoreSpec
from wherry.stores.registry import is_distant, open_source, open_store

_MOST = 4
# What a service can changes seldom, but it does.
_SECONDS = 600.0


class _Gate:
    """The fence of a kept store: that of the lease that has it now, and of none in between."""

    def __init__(self) -> None:
        self.fence: Fence = _nobody

    def __call__(self) -> None:
        self.fence()


def _nobody() -> None:
    raise LeaseLost("it is over")


@dataclass(slots=True, eq=False)
class _Kept:
    key: tuple[Side, StoreSpec]
    store: Store
    gate: _Gate
    since: float


@dataclass(eq=False)
class KeptStores:
    """The idle ones, the longest unused first."""

    clock: Callable[[], float] = time.monotonic
    _idle: list[_Kept] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def store(self, side: Side, spec: StoreSpec, fence: Fence) -> Iterator[Store]:
        """The store of one side of a lease, as long as the block lasts.  Raises `RunError` when it cannot be opened."""
        if not is_distant(spec):
            with closing(_opened(side, spec, fence)) as near:
                yield near
            return
        kept = self._taken((side, spec)) or self._made(side, spec)
        kept.gate.fence = fence
        try:
            yield kept.store
        except BaseException:
            kept.store.close()
            raise
        finally:
            kept.gate.fence = _nobody
        self._keep(kept)

    def _made(self, side: Side, spec: StoreSpec) -> _Kept:
        gate = _Gate()
        return _Kept((side, spec), _opened(side, spec, gate), gate, self.clock())

    def _taken(self, key: tuple[Side, StoreSpec]) -> _Kept | None:
        old = self.clock() - _SECONDS
        with self._lock:
            gone = [kept for kept in self._idle if kept.since < old]
            self._idle = [kept for kept in self._idle if kept.since >= old]
            found = next((kept for kept in reversed(self._idle) if kept.key == key), None)
            if found is not None:
                self._idle.remove(found)
        for kept in gone:
            kept.store.close()
        return found

    def _keep(self, kept: _Kept) -> None:
        if isinstance(kept.store, Rests):
            kept.store.rest()
        with self._lock:
            self._idle.append(kept)
            gone, self._idle = self._idle[:-_MOST], self._idle[-_MOST:]
        for one in gone:
            one.store.close()

    def close(self) -> None:
        """Close all that nobody uses at this moment."""
        with self._lock:
            gone, self._idle = self._idle, []
        for kept in gone:
            kept.store.close()


def _opened(side: Side, spec: StoreSpec, fence: Fence) -> Store:
    way = open_source if side == "source" else open_store
    return opened(side, lambda: way(spec, fence))


KEPT = KeptStores()
"""Those of this process."""

# A worker process that is told to end.
util.Finalize(None, KEPT.close, exitpriority=1)
