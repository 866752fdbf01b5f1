"""An audit trail in a file: lines of JSON that prove themselves to whoever has the deployment's CA certificate.

    {"wherry": "audit trail", "format": 1, "trail": TENANT, "first": N, "previous": HASH, "certificates": [PEM]}
    {"seq": N, "hash": HASH, "record": {…}}      a record; its digest is that of the text of `record` as it stands
    {"seq": N, "hash": HASH, "digest": DIGEST}   one that was left out
    {"checkpoint": SIGNED}                       the last line: vouches for the last record, and so for all

Written by the control plane, verified by anybody; pure functions over lines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wherry.trust import authority, chain
from wherry.trust.chain import Checkpoint, Entry, Walk
from wherry.trust.keys import KeyTrouble, PublicKey
from wherry.trust.signed import Untrusted

SIGNER = "Wherry audit trail"
"""The name in the certificates of keys that sign checkpoints."""

_FORMAT = 1
_KIND = "audit trail"
_RECORD = re.compile(r'\{"seq":(\d{1,15}),"hash":"([0-9a-f]{64})","record":(\{.*\})\}')
_OMITTED = re.compile(r'\{"seq":(\d{1,15}),"hash":"([0-9a-f]{64})","digest":"([0-9a-f]{64})"\}')


@dataclass(slots=True)
class Verdict:
    """What verifying came to: how many records from where to where, up to where a signature vouches, what is wrong.

    `notes` are no faults: what cannot be said for sure, and why.
    """

    trail: str = ""
    first: int = 0
    last: int = 0
    records: int = 0
    omitted: int = 0
    signed_to: int = 0
    troubles: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        return not self.troubles


def head(trail: str, first: int, previous: str, certificates: Sequence[str]) -> str:
    """The first line; `previous` is the hash before record `first`."""
    return json.dumps(
        {
            "wherry": _KIND, "format": _FORMAT, "trail": trail, "first": first, "previous": previous,
            "certificates": list(certificates),
        }
    )  # fmt: skip


def line(seq: int, hash_: str, text: str) -> str:
    """The line of a record, whose text goes in as it stands."""
    return f'{{"seq":{seq},"hash":"{hash_}","record":{text}}}'


def omitted(seq: int, hash_: str, text: str) -> str:
    """The line of a record that is left out."""
    return f'{{"seq":{seq},"hash":"{hash_}","digest":"{chain.digest_of(text)}"}}'


def end(checkpoint: str) -> str:
    """The last line."""
    return json.dumps({"checkpoint": checkpoint})


def verify(lines: Iterable[str], ca: bytes, earlier: Checkpoint | None = None) -> Verdict:
    """Check a file against the CA's certificate; `earlier` is the end of a trail that this one must go on from.

    Raises `Untrusted` for what is no such file at all, or is certified by another authority.
    """
    walked = iter(lines)
    told = _head(next(walked, ""))
    keys = keys_of(told["certificates"], ca)
    verdict = Verdict(trail=told["trail"], first=told["first"])
    walk = Walk(verdict.first - 1, told["previous"], _marks(verdict, earlier))
    covered = 0
    for number, text in enumerate(walked, 2):
        stripped = text.rstrip("\n")
        entry = _entry(stripped, verdict)
        if entry is not None:
            walk.add(entry)
            continue
        covered = _covered(_checkpoint(stripped, keys), walk, verdict, number) or covered
    walk.end()
    verdict.last, verdict.signed_to = walk.seq, covered
    verdict.troubles = [*verdict.troubles, *walk.troubles]
    if covered < walk.seq or not covered:
        verdict.troubles.append(
            "The last line, which is a signature of all before, is missing or does not fit."
        )
    return verdict


def last_checkpoint(lines: Iterable[str], ca: bytes) -> Checkpoint:
    """The checkpoint that ends a file, for later files to be compared with."""
    walked = iter(lines)
    keys = keys_of(_head(next(walked, ""))["certificates"], ca)
    found = [one for text in walked if (one := _checkpoint(text.rstrip("\n"), keys)) is not None]
    if not found:
        raise Untrusted("the earlier file ends with no checkpoint that this authority vouches for")
    return found[-1]


def keys_of(certificates: Iterable[str], ca: bytes) -> dict[str, PublicKey]:
    """The keys that may have signed checkpoints, by kid; `Untrusted` when another authority certified them."""
    try:
        return {
            authority.fingerprint(one.encode()): authority.signer_key(one.encode(), ca, SIGNER)
            for one in certificates
        }
    except KeyTrouble as foreign:
        raise Untrusted(f"signed by somebody else: {foreign}") from foreign


def _marks(verdict: Verdict, earlier: Checkpoint | None) -> Mapping[int, Checkpoint]:
    if earlier is None:
        return {}
    if earlier.trail != verdict.trail:
        verdict.troubles.append("The earlier file is of another deployment.")
        return {}
    if earlier.seq < verdict.first:
        verdict.notes.append(
            f"The earlier file ends with record {earlier.seq}, before this one begins: they cannot be compared."
        )
        return {}
    return {earlier.seq: earlier}


def _covered(found: Checkpoint | None, walk: Walk, verdict: Verdict, number: int) -> int:
    """The record that a checkpoint in the file vouches for; 0 when it vouches for nothing that was read."""
    if found is None:
        walk.trouble(f"Line {number} is no record, and no checkpoint of this deployment.")
    elif found.trail != verdict.trail:
        walk.trouble(f"Line {number} is a checkpoint of another deployment.")
    elif found.seq != walk.seq:
        walk.trouble(f"Line {number} is a checkpoint of record {found.seq}, and stands behind {walk.seq}.")
    elif found.hash != walk.previous:
        walk.trouble(
            f"Records {verdict.first} to {found.seq} are not what was signed: at least one of them was changed, "
            "and the chain made to fit."
        )
        return found.seq
    else:
        return found.seq
    return 0


def _head(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
        fits = (
            found["wherry"] == _KIND
            and found["format"] == _FORMAT
            and isinstance(found["first"], int)
            and isinstance(found["certificates"], list)
        )
        told = {**found, "trail": str(found["trail"]), "previous": str(found["previous"])}
    except (ValueError, KeyError, TypeError, RecursionError) as broken:
        raise Untrusted("this is no exported audit trail") from broken
    if not fits:
        raise Untrusted("this is no exported audit trail, or one of a newer version of wherry")
    return told


def _entry(text: str, verdict: Verdict) -> Entry | None:
    if found := _RECORD.fullmatch(text):
        verdict.records += 1
        return Entry(int(found[1]), chain.digest_of(found[3]), found[2])
    if found := _OMITTED.fullmatch(text):
        verdict.omitted += 1
        return Entry(int(found[1]), found[3], found[2])
    return None


def _checkpoint(text: str, keys: Mapping[str, PublicKey]) -> Checkpoint | None:
    try:
        return Checkpoint.read(str(json.loads(text)["checkpoint"]), keys)
    except (ValueError, KeyError, TypeError, RecursionError, Untrusted):
        return None


def entries(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The records in a file, each with its `seq`, unverified."""
    for text in lines:
        if found := _RECORD.fullmatch(text.rstrip("\n")):
            yield {"seq": int(found[1]), **json.loads(found[3])}
