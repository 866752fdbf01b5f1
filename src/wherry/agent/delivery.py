"""Tells the control plane what could not be told at its time: commits with their log, and events of runs.

A lease's commit that gets no answer is put into the spool, and the worker goes on for as long as its lease is good; it
writes nothing after that.  Before the agent takes new work, and after each heartbeat that is answered, the spool is
told from its beginning, in order.  What the control plane refuses (another holder has taken over, the run has ended) is
dropped: it was counted by others.  Called by `session` and `daemon`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from wherry.agent import log_lines, spool
from wherry.agent.log_lines import tell
from wherry.agent.reach import Reach
from wherry.agent.spool import Letter, Spool
from wherry.client.agent_protocol import AgentProtocol, LeasedLedger, Unanswered
from wherry.engine.lease import LeaseClock
from wherry.model.errors import ApiError, LeaseLost, RunError
from wherry.model.ledger import Slice, Token, WorkItem
from wherry.model.outcomes import encode_lines, segment_name
from wherry.model.wire import Progress, Renewal, SegmentName, Sighting, Start, token_from_json, token_to_json

SEGMENT, COMMIT, EVENT = "segment", "commit", "event"

_PATIENCE = 15.0
_DELIVERY_SECONDS = 15.0
_TRIES = 10
_EVENTS = 200
_LONGEST_MESSAGE = 2000


@dataclass
class Delivery:
    """The spool of an agent, how it is told, and whether the control plane answers; for any number of threads."""

    protocol: AgentProtocol
    spool: Spool
    reach: Reach = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stuck: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.reach = Reach(self._returned)

    def deliver(self) -> bool:
        """Tell all that is kept; False when the control plane did not take it, so that it stays, or others tell it.

        Raises `IdentityGone`.
        """
        if not self.spool and not self.spool.refused:
            return True
        if not self._lock.acquire(blocking=False):
            return False
        try:
            while letters := self._next():
                if not self._told(letters):
                    return False
                self.spool.drop(letters)
        finally:
            self._lock.release()
        lost = self.spool.take_refused()
        if lost:
            tell(
                logging.ERROR,
                "spool.lost",
                f"{lost} letters were not kept, as there was no room.",
                count=lost,
            )
        return True

    def _told(self, letters: Sequence[Letter]) -> bool:
        """Whether letters were taken, or never will be."""
        first = letters[0]
        try:
            self._tell(letters)
        except Unanswered as silence:
            # Of one that the service breaks at again and again others are not kept away.
            self._stuck[first.seq] += silence.heard
            if self._stuck[first.seq] < _TRIES:
                self.reach.note(silence)
                return False
            tell(
                logging.ERROR,
                "spool.refused",
                "The control plane fails at it.",
                kind=first.kind,
                run=first.run,
            )
        except (RunError, ApiError) as refused:
            if isinstance(refused, ApiError) and refused.status == HTTPStatus.UNAUTHORIZED:
                return False  # Who told it was not known, by a wrong clock for one: that says nothing of the letter.
            why = f"It counts by others or not at all: {refused}"
            tell(logging.INFO, "spool.refused", why, kind=first.kind, run=first.run)
        self._stuck.pop(first.seq, None)
        return True

    def _returned(self, seconds: float) -> None:
        """The control plane answers again after so long: say so in the log of each run of which something is kept."""
        for run in self.spool.runs():
            self.note(
                run,
                time.time(),
                "Warning",
                f"The control plane could not be reached for {seconds:.0f} s. What was done meanwhile is told now.",
            )

    def note(self, run: str, at: float, level: str, message: str, code: str = "") -> None:
        """Keep an event for the log of a run."""
        head = {"time": at, "level": level, "code": code, "message": message[:_LONGEST_MESSAGE]}
        self.spool.put(Letter(EVENT, run, head))

    def ledger(self, run: str, clock: LeaseClock) -> SpooledLedger:
        """The ledger of a lease whose commits are kept while nobody answers."""
        return SpooledLedger(self, run, clock)

    def asking(self, run: str, seconds: float) -> LeasedLedger:
        """The ledger of a run, giving up after so long."""
        until = time.monotonic() + seconds
        return self.protocol.ledger(run, lambda: until - time.monotonic())

    def _next(self) -> list[Letter]:
        """The oldest letter, or the oldest events of one run with numbers that follow each other."""
        found = self.spool.first(_EVENTS)
        if not found or found[0].kind != EVENT:
            return found[:1]
        first = found[0]
        same = [
            number
            for number, one in enumerate(found)
            if (one.kind, one.run, one.seq) == (EVENT, first.run, first.seq + number)
        ]
        return found[: next((at for at, number in enumerate(same) if at != number), len(same))]

    def _tell(self, letters: Sequence[Letter]) -> None:
        first = letters[0]
        ledger = self.asking(first.run, _DELIVERY_SECONDS)
        if first.kind == EVENT:
            ledger.tell([one.head for one in letters], self.spool.name, first.seq)
        elif first.kind == SEGMENT:
            ledger.put(token_from_json(first.head["token"]), first.head["name"], first.body)
        else:
            ledger.commit_late(token_from_json(first.head["token"]), first.head["progress"])


class SpooledLedger:
    """The engine's `Ledger` for one lease: asked over the network, kept here when that does not answer."""

    def __init__(self, delivery: Delivery, run: str, clock: LeaseClock) -> None:
        self._delivery = delivery
        self._run = run
        self._clock = clock
        self._ledger = delivery.protocol.ledger(run, clock.remaining)
        self._held: dict[str, bytes] = {}
        self._away = False

    def items(self, token: Token, work: Slice, after: bytes, limit: int) -> list[WorkItem]:
        """Work items; waited for as long as the lease is good."""
        return self._ledger.items(token, work, after, limit)

    def sight(self, token: Token, sighting: Sighting) -> Start:
        """What both sides are; waited for as long as the lease is good."""
        return self._ledger.sight(token, sighting)

    def keep(self, token: Token, seq: int, lines: bytes) -> SegmentName:
        """Store a segment, or hold it until a commit names it."""
        segment = encode_lines(lines)
        name = segment_name(self._run, token.partition, token.epoch, seq, segment)
        try:
            if self._away:
                raise Unanswered
            self._brief().put(token, name, segment)
        except Unanswered:
            self._held[name] = segment
        return SegmentName(name, lines.count(b"\n"))

    def commit(self, token: Token, progress: Progress) -> Renewal:
        """Record what is finished, or keep it to be told later; then no time is won.

        Raises `LeaseLost` when there is no room to keep it either.
        """
        held = [(one.name, self._held.pop(one.name)) for one in progress.segments if one.name in self._held]
        try:
            if not self._back():
                raise Unanswered
            for name, segment in held:
                self._brief().put(token, name, segment)
            return self._brief().commit(token, progress)
        except Unanswered:
            self._spool(token, progress, held)
            return Renewal(0.0)

    def _spool(self, token: Token, progress: Progress, held: Sequence[tuple[str, bytes]]) -> None:
        shown = token_to_json(token)
        letters = [Letter(SEGMENT, self._run, {"token": shown, "name": name}, body) for name, body in held]
        letters.append(Letter(COMMIT, self._run, {"token": shown, "progress": progress.to_json()}))
        if not self._delivery.spool.put(*letters):
            raise LeaseLost("the control plane cannot be reached, and there is no room to keep what was done")
        self._delivery.reach.note(Unanswered())
        if not self._away:
            why = "The control plane does not answer: what is done is kept here."
            tell(logging.WARNING, "spool.begin", why, run=self._run)
        self._away = True

    def _back(self) -> bool:
        """Whether the control plane can be asked: after a silence only once the lease was renewed, and all is told."""
        if self._away and not self._clock.ending and self._delivery.deliver():
            self._away = False
        return not self._away

    def _brief(self) -> LeasedLedger:
        """The ledger, not waited for as long as the lease is good: there is other work to do."""
        return self._delivery.asking(self._run, min(_PATIENCE, self._clock.remaining() / 3))


class _Lines(logging.Handler):
    """Keeps lines of the agent's own log that are about a run, while the control plane is away."""

    def __init__(self, delivery: Delivery) -> None:
        super().__init__(logging.WARNING)
        self._delivery = delivery

    def emit(self, record: logging.LogRecord) -> None:
        about = getattr(record, "fields", {})
        if self._delivery.reach.away and "run" in about and not self._delivery.spool.full:
            level = "Error" if record.levelno >= logging.ERROR else "Warning"
            message = " ".join(filter(None, [record.getMessage(), about.get("detail")]))
            self._delivery.note(about["run"], record.created, level, message, about.get("code", ""))


@contextmanager
def delivering(protocol: AgentProtocol, directory: Path, owner: str) -> Iterator[Delivery]:
    """The delivery of the agent `owner`, and of lines about runs that it logs while nobody answers, during a block."""
    with spool.opened(directory, owner) as kept:
        delivery = Delivery(protocol, kept)
        logger, handler = logging.getLogger(log_lines.LOGGER), _Lines(delivery)
        logger.addHandler(handler)
        try:
            yield delivery
        finally:
            logger.removeHandler(handler)
