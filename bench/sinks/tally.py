"""What a sink has received: enough to answer, and to tell afterwards whether each file arrived once and whole."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

from bench.sinks.request import headers_of


@dataclass(slots=True)
class Thing:
    """An object: its size, the head of the request that made it, and the hashes of its bodies in their order."""

    size: int
    head: bytes
    digests: list[tuple[int, str]] = field(default_factory=list)
    etag: str = ""


@dataclass(slots=True)
class Part:
    """A staged block or part."""

    size: int
    digest: str = ""
    etag: str = ""


@dataclass
class Tally:
    """Counts of one run; `parts` are staged parts by upload and by their own id."""

    things: dict[bytes, Thing] = field(default_factory=dict)
    parts: dict[bytes, dict[str, Part]] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    again: int = 0
    refused: int = 0
    received: int = 0
    connections: int = 0
    first: float = 0.0
    last: float = 0.0
    processor: float = 0.0

    def keep(self, path: bytes, thing: Thing) -> None:
        """An object has come; a second one of its name is counted."""
        if path in self.things:
            self.again += 1
        self.things[path] = thing

    def report(self, prefix: bytes) -> dict[str, Any]:
        """The counts as JSON, metadata by the names of the headers that begin with `prefix`."""
        sets: Counter[str] = Counter()
        for thing in self.things.values():
            sets[" ".join(sorted(metadata(thing.head, prefix)))] += 1
        return {
            "objects": len(self.things),
            "bytes": sum(thing.size for thing in self.things.values()),
            "received": self.received,
            "calls": dict(self.calls),
            "again": self.again,
            "refused": self.refused,
            "connections": self.connections,
            "processor": self.processor,
            "seconds": self.last - self.first,
            "metadata": dict(sets),
        }

    def lines(self, prefix: bytes) -> list[dict[str, Any]]:
        """One line for each object, for the comparison with the source."""
        return [
            {
                "path": unquote_to_bytes(path).decode("utf-8", "surrogateescape"),
                "size": thing.size,
                "digests": thing.digests,
                "metadata": metadata(thing.head, prefix),
            }
            for path, thing in self.things.items()
        ]


def metadata(head: bytes, prefix: bytes) -> dict[str, str]:
    """The metadata that a request carried, by name without the prefix."""
    return {
        name[len(prefix) :].decode("latin-1"): value.decode("latin-1")
        for name, value in headers_of(head).items()
        if name.startswith(prefix)
    }
