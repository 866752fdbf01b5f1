"""The shapes of the agent protocol, shared by the agent and the control plane, and their JSON.

Bytes travel as unpadded base64url.  A `from_json` refuses what is malformed with `UsageError`; both sides
ignore fields that they do not know, so that one may be newer than the other.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from wherry.model.entry import Kind
from wherry.model.errors import UsageError
from wherry.model.ledger import Commit, Phase, Slice, Span, Token, Work, WorkItem
from wherry.model.options import JobOptions
from wherry.model.outcomes import Counters

Json = dict[str, Any]

HEARTBEAT_SECONDS = 30.0
LONG_POLL_SECONDS = 25.0


_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")


@contextmanager
def well_formed(what: str) -> Iterator[None]:
    """Turns whatever a foreign value makes go wrong into a `UsageError` that names the shape."""
    try:
        yield
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise UsageError(f"{what} is malformed.") from error


def pack(data: bytes | None) -> str | None:
    """Bytes as base64url text."""
    return None if data is None else base64.urlsafe_b64encode(data).decode().rstrip("=")


def unpack(text: str | None) -> bytes | None:
    """The inverse of `pack`."""
    if text is None:
        return None
    with well_formed("A field in base64url"):
        # The decoder itself passes over what does not belong there.
        if not _BASE64URL.fullmatch(text):
            raise ValueError
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def work_to_json(work: Work | None) -> Json | None:
    """A span or slice."""
    if work is None:
        return None
    if isinstance(work, Slice):
        return {"phase": int(work.phase), "after": pack(work.after), "through": pack(work.through)}
    return {
        "prefix": pack(work.prefix), "start": pack(work.start), "stop": pack(work.stop), "cursor": pack(work.cursor)
    }  # fmt: skip


def work_from_json(data: Mapping[str, Any] | None) -> Work | None:
    """The inverse of `work_to_json`."""
    if data is None:
        return None
    with well_formed("A part of a run"):
        if "phase" in data:
            return Slice(Phase(data["phase"]), unpack(data["after"]) or b"", unpack(data["through"]) or b"")
        return Span(
            unpack(data["prefix"]) or b"", unpack(data.get("start")), unpack(data.get("stop")),
            unpack(data.get("cursor")),
        )  # fmt: skip


def item_to_json(item: WorkItem) -> Json:
    """A work item."""
    return {
        "phase": int(item.phase), "key": pack(item.key), "path": pack(item.path), "counted": item.counted,
        "etag": item.etag, "size": item.size, "kind": item.kind,
    }  # fmt: skip


def item_from_json(data: Mapping[str, Any]) -> WorkItem:
    """The inverse of `item_to_json`."""
    with well_formed("A work item"):
        return WorkItem(
            Phase(data["phase"]), unpack(data["key"]) or b"", unpack(data["path"]) or b"", bool(data["counted"]),
            str(data.get("etag", "")), int(data.get("size", 0)), Kind(data.get("kind", "F")).value,
        )  # fmt: skip


def token_to_json(token: Token) -> Json:
    """A lease token."""
    return {
        "incarnation": token.incarnation, "partition": token.partition, "epoch": token.epoch, "lease": token.lease
    }  # fmt: skip


def token_from_json(data: Mapping[str, Any]) -> Token:
    """The inverse of `token_to_json`."""
    with well_formed("A lease token"):
        return Token(str(data["incarnation"]), int(data["partition"]), int(data["epoch"]), str(data["lease"]))


@dataclass(frozen=True, slots=True)
class Place:
    """One side of a run.

    `kind` is the endpoint type; `location` the folder (`LocalMount`) or the URL of the container
    (`AzureStorageBlobContainer`, without a credential); `subpath` a path below it.
    """

    kind: str
    location: str
    subpath: bytes = b""

    def to_json(self) -> Json:
        return {"kind": self.kind, "location": self.location, "subpath": pack(self.subpath)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Place:
        with well_formed("A place"):
            return cls(str(data["kind"]), str(data["location"]), unpack(data.get("subpath")) or b"")


@dataclass(frozen=True, slots=True)
class RunOrder:
    """What a run is: its id, its two places and its frozen options."""

    run: str
    source: Place
    target: Place
    options: JobOptions

    def to_json(self) -> Json:
        return {
            "run": self.run, "source": self.source.to_json(), "target": self.target.to_json(),
            "options": self.options.to_json(),
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RunOrder:
        with well_formed("The order of a run"):
            return cls(
                str(data["run"]), Place.from_json(data["source"]), Place.from_json(data["target"]),
                JobOptions.from_json(data["options"]),
            )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sighting:
    """What an agent saw when it opened both sides.

    `source` and `target` identify what is really there (not only how it was named); `clock` is the target's
    own time in ns; `boot` the boot id of the machine whose page cache holds a local target, else empty.
    """

    source: str
    target: str
    clock: int
    boot: str = ""

    def to_json(self) -> Json:
        return {"source": self.source, "target": self.target, "clock": self.clock, "boot": self.boot}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Sighting:
        with well_formed("A sighting"):
            return cls(
                str(data["source"]), str(data["target"]), int(data["clock"]), str(data.get("boot", ""))
            )


class Start(NamedTuple):
    """The answer to a sighting: the run's start on the target's clock, ns.

    `restarted`: the machine of a local target was started anew since then, so that what earlier leases wrote
    and did not commit may have the right size and the wrong bytes.
    """

    since: int
    restarted: bool = False


@dataclass(frozen=True, slots=True)
class Grant:
    """A lease as its holder gets it.

    `ttl` in seconds, counted by the holder on its own clock from before it asked.  `since`: the run's start on
    the target's clock in ns, for telling earlier attempts' work; `isolate`: cut the work before doing any;
    `phase`: what the work is part of; `hopeless`: let it fail untouched.
    """

    token: Token
    order: RunOrder
    work: Work
    ttl: float
    revisited: bool = False
    isolate: bool = False
    since: int = 0
    phase: Phase = Phase.COPY
    hopeless: bool = False

    def to_json(self) -> Json:
        return {
            "token": token_to_json(self.token), "order": self.order.to_json(), "work": work_to_json(self.work),
            "ttl": self.ttl, "revisited": self.revisited, "isolate": self.isolate, "since": self.since,
            "phase": int(self.phase), "hopeless": self.hopeless,
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Grant:
        with well_formed("A lease"):
            work = work_from_json(data["work"])
            if work is None:
                raise UsageError("A lease without work.")
            return cls(
                token_from_json(data["token"]), RunOrder.from_json(data["order"]), work, float(data["ttl"]),
                bool(data.get("revisited")), bool(data.get("isolate")), int(data.get("since", 0)),
                Phase(data.get("phase", 0)), bool(data.get("hopeless")),
            )  # fmt: skip


@dataclass(frozen=True, slots=True)
class SegmentName:
    """A copy-log segment that a commit names: it exists for readers from then on."""

    name: str
    rows: int


@dataclass(frozen=True, slots=True)
class Progress:
    """A commit with all that belongs to it: counters of the finished items, their log, what is put off."""

    commit: Commit
    counters: Counters
    segments: tuple[SegmentName, ...] = ()
    deferred: tuple[WorkItem, ...] = field(default=())

    def to_json(self) -> Json:
        return {
            "seq": self.commit.seq,
            "rest": work_to_json(self.commit.rest),
            "parts": [work_to_json(part) for part in self.commit.parts],
            "counters": self.counters.to_json(),
            "segments": [[one.name, one.rows] for one in self.segments],
            "deferred": [item_to_json(item) for item in self.deferred],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Progress:
        with well_formed("A commit"):
            parts = tuple(work for one in data["parts"] if (work := work_from_json(one)) is not None)
            return cls(
                Commit(int(data["seq"]), work_from_json(data["rest"]), parts),
                Counters.from_json(data["counters"]),
                tuple(SegmentName(str(name), int(rows)) for name, rows in data["segments"]),
                tuple(item_from_json(item) for item in data["deferred"]),
            )


@dataclass(frozen=True, slots=True)
class Renewal:
    """The answer to a renewal or a commit: more time, and what the control plane wants.

    `split`: others are idle, give work away; `stop`: somebody asked to stop the run.
    """

    ttl: float
    split: bool = False
    stop: bool = False

    def to_json(self) -> Json:
        return {"ttl": self.ttl, "split": self.split, "stop": self.stop}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Renewal:
        with well_formed("A renewal"):
            return cls(float(data["ttl"]), bool(data.get("split")), bool(data.get("stop")))
