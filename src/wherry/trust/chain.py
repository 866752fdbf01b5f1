r"""The hash chain of the audit trail: how records are tied to those before, how the end is signed, how all is checked.

    digest = SHA-256(record as it stands)      hash = SHA-256(number \n hash before \n digest)

A record can be left out of a copy and the rest still be checked, as its digest stands in for it.  A checkpoint is a
signed statement that record `seq` had `hash`, and that the trail began with record `first`: whoever changes the
database can make a chain that fits in itself, but no checkpoint for it.  Pure functions; called by the control plane
for its database and by the command line for exported files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from wherry.trust import signed
from wherry.trust.keys import PrivateKey, PublicKey

FIRST = "0" * 64
"""The hash before the first record."""

TYP = "wherry-audit+jwt"
_MOST_TROUBLES = 20


def digest_of(text: str) -> str:
    """What stands for a record in the chain."""
    return hashlib.sha256(text.encode()).hexdigest()


def link(seq: int, previous: str, digest: str) -> str:
    """The hash of record `seq`, which ties it to all before."""
    return hashlib.sha256(f"{seq}\n{previous}\n{digest}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Entry:
    """A record as it was found; `digest` is computed from its text wherever that is there."""

    seq: int
    digest: str
    hash: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """That the trail of `trail` (a deployment's tenant) began with record `first` and reached `seq` with `hash`."""

    trail: str
    first: int
    seq: int
    hash: str
    at: float

    def sign(self, key: PrivateKey, kid: str) -> str:
        """The signed text of it."""
        claims = {
            "iss": self.trail,
            "first": self.first,
            "seq": self.seq,
            "hash": self.hash,
            "iat": int(self.at),
        }
        return signed.write(claims, key, TYP, {"kid": kid})

    @classmethod
    def read(cls, text: str, keys: Mapping[str, PublicKey]) -> Checkpoint:
        """A checkpoint that one of `keys` signed, or `signed.Untrusted`."""
        _, claims = signed.read(text, TYP, lambda header: keys.get(str(header.get("kid"))))
        return cls(
            signed.text_claim(claims, "iss"),
            signed.time_claim(claims, "first"),
            signed.time_claim(claims, "seq"),
            signed.text_claim(claims, "hash"),
            float(signed.time_claim(claims, "iat")),
        )


@dataclass(slots=True)
class Walk:
    """Follows a chain from the record after `seq`, whose hash is `previous`, and notes what does not fit.

    `marks` are checkpoints by the number that they are about.  `add` each entry in the order in which it was found,
    then `end`; `troubles` says of each what is wrong and with which record.
    """

    seq: int = 0
    previous: str = FIRST
    marks: Mapping[int, Checkpoint] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)
    count: int = 0
    covered: int = 0
    """The last record that a checkpoint vouches for."""

    def add(self, entry: Entry) -> None:
        """The next entry; what is wrong with it is told once, and the walk goes on behind it."""
        self.count += 1
        if entry.seq <= self.seq:
            self.trouble(f"Record {entry.seq} stands behind record {self.seq}: out of order, or put in.")
            return
        if entry.seq > self.seq + 1:
            self.trouble(f"{_span(self.seq + 1, entry.seq - 1)} missing.")
        elif entry.hash != link(entry.seq, self.previous, entry.digest):
            self.trouble(f"Record {entry.seq} was changed, or its tie to the one before.")
        self.seq, self.previous = entry.seq, entry.hash
        mark = self.marks.get(entry.seq)
        if mark is None:
            return
        if mark.hash != entry.hash:
            self.trouble(
                f"{_span(self.covered + 1, entry.seq)} not what was signed: at least one of them was changed, "
                "and the chain made to fit."
            )
        self.covered = entry.seq

    def end(self) -> None:
        """Nothing follows: whatever was signed beyond here is cut off."""
        last = max(self.marks, default=0)
        if last > self.seq:
            self.trouble(f"{_span(self.seq + 1, last)} missing: the end is cut off.")

    def trouble(self, text: str) -> None:
        """Note what is wrong; after many the rest is as good as known."""
        if len(self.troubles) < _MOST_TROUBLES:
            self.troubles.append(text)


def _span(first: int, last: int) -> str:
    return f"Record {last} is" if first == last else f"Records {first} to {last} are"
