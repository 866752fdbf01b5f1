"""What is wrong with a place as a whole, told apart from what is wrong with one of its items.

A place that cannot be opened ends the run with a code of its side.  While it goes on, an item that is refused or not
reached makes a `Doubt`: the place itself is asked, and when it refuses everything the run ends with one clear error
instead of failing item by item.  One item that is refused stays that item's failure.  Used by `worker`, `deeds` and
`span`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from wherry.engine.lease import boot_id
from wherry.engine.level import SourceUnlisted, TargetUnlisted
from wherry.model.errors import (
    Conflict,
    Denied,
    Full,
    NotFound,
    RunError,
    SourceDenied,
    SourceFailed,
    StoreError,
    Unavailable,
    Unsafe,
)
from wherry.model.wire import Sighting
from wherry.stores.port import ChecksRights, Store

Side = Literal["source", "target"]

_CODES: dict[Side, tuple[tuple[type[StoreError], str], ...]] = {
    "source": ((NotFound, "AZSM1001"), (Denied, "AZSM1003"), (Unsafe, "AZSM1007")),
    "target": (
        (NotFound, "AZSM1022"),
        (Denied, "AZSM1021"),
        (Unsafe, "AZSM1032"),
        (Unavailable, "AZSM1031"),
    ),
}
_OTHERS: dict[Side, str] = {"source": "AZSM1020", "target": "AZSM1040"}
# A place that is open tells more: one of this machine has no host, another one asks for a credential.
_HERE = {"AZSM1031": "AZSM1040"}
_ELSEWHERE = {"AZSM1021": "AZSM1024"}
_OF_THE_SOURCE = (SourceDenied, SourceFailed, SourceUnlisted, NotFound, Unavailable)
_OF_THE_TARGET = (Denied, Conflict, TargetUnlisted, NotFound, Unavailable)
# Items may fail by thousands in a second; a place that has just proven itself is not asked again so soon.
_TRUST_SECONDS = 1.0


@contextmanager
def concerning(side: Side, place: Store | None = None) -> Iterator[None]:
    """Make trouble of a place, met in the block, the end of the run; `place` when it is open already."""
    try:
        yield
    except StoreError as error:
        code = next((code for kind, code in _CODES[side] if isinstance(error, kind)), _OTHERS[side])
        if side == "target" and place is not None:
            code = (_HERE if place.traits.durable else _ELSEWHERE).get(code, code)
        raise RunError(code, _sentence(error)) from error


def opened(side: Side, opening: Callable[[], Store]) -> Store:
    """The place, with all that it may have to ask to know what it can."""
    with concerning(side):
        place = opening()
        try:
            place.traits  # noqa: B018 - asked for the first time, a service is
        except BaseException:
            place.close()
            raise
        return place


def look(source: Store, target: Store) -> Sighting:
    """What is really at both places now.  Raises `RunError` when one of them cannot be used."""
    with concerning("source"):
        near = source.probe()
    with concerning("target", target):
        far = target.probe()
    return Sighting(near.identity, far.identity, far.clock, boot_id() if target.traits.durable else "")


class Doubt:
    """Whether what befell an item befalls all.  Used by all threads of a lease; `writes` False: it is a dry run."""

    def __init__(
        self,
        source: Store,
        target: Store,
        *,
        writes: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._places: dict[Side, Store] = {"source": source, "target": target}
        self._writes = writes
        self._clock = clock
        self._trusted: dict[Side, float] = {}
        self._verdict: tuple[str, str] | None = None
        self._lock = threading.Lock()

    def weigh(self, error: StoreError) -> None:
        """Raise `RunError` when the trouble of an item is that of a whole place."""
        if isinstance(error, Full):
            raise RunError("AZSM1040", f"No space is left on it: {_sentence(error)}") from error
        if isinstance(error, _OF_THE_SOURCE):
            self._ask("source")
        if isinstance(error, _OF_THE_TARGET):
            self._ask("target")

    def _ask(self, side: Side) -> None:
        with self._lock:
            if self._verdict is not None:
                # To ask takes long where nobody answers; all threads of the lease wait for the one that asked.
                raise RunError(*self._verdict)
            if self._clock() < self._trusted.get(side, 0.0):
                return
            try:
                self._look_at(side, self._places[side])
            except RunError as end:
                self._verdict = end.code, end.detail
                raise
            self._trusted[side] = self._clock() + _TRUST_SECONDS

    def _look_at(self, side: Side, place: Store) -> None:
        with concerning(side, place):
            place.probe()
            if side == "target" and self._writes and isinstance(place, ChecksRights):
                place.check_rights()


def _sentence(error: StoreError) -> str:
    text = str(error)
    return text if text.endswith(".") else f"{text}."
