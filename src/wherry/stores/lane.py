"""The short way: how plain small files go from one store to another many at a time, for one thread.

A target may have one from some kinds of source.  Whatever is not plain, or goes wrong on it, is left to the long way
(`Store.put`), which knows what to make of it.  Offered by adapters, driven by the engine's `chapters`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from wherry.model.entry import Entry
from wherry.stores.port import Store


class Parcel:
    """Files of one folder on the short way: how many are under way, and the numbers of those that are left.

    Of what is left nothing is known to be on the target, but when an answer was lost it may be.
    """

    __slots__ = ("entries", "folder", "left", "under_way")

    def __init__(self, folder: bytes, entries: list[Entry]) -> None:
        self.folder = folder
        self.entries = entries
        self.left: list[int] = []
        self.under_way = 0


class Lane(Protocol):
    """A short way; for one thread."""

    limit: int

    def send(self, folder: bytes, entries: list[Entry]) -> Parcel:
        """Send files of at most `limit` bytes that the target lacks, with all their metadata.

        Some may still be under way when this returns.  Raises `LeaseLost`.
        """

    def wait(self) -> None:
        """Wait a moment for what is under way to arrive."""

    def close(self) -> None:
        """Wait until nothing is under way any more; nothing is sent afterwards."""


@runtime_checkable
class HasLane(Protocol):
    """A target with a short way."""

    def lane(self, source: Store) -> Lane | None:
        """The way from `source`, None where there is none."""


@runtime_checkable
class ReadsSmall(Protocol):
    """A source that reads small files quickly, many of one folder."""

    def contents(self, folder: bytes, entries: Sequence[Entry]) -> Iterator[bytes | None]:
        """All bytes of each file, if it is that version after its last byte is read and has no attributes.

        None when that is not so, or went wrong.
        """
