"""The agent's keys and its join state, as files that every process of the agent shares.

    key.pem        the key that it proves itself with
    key.next.pem   the one that follows, made but not yet offered to the control plane for certain
    key.old.pem    the one before, until the control plane has let the agent in with the new one
    join.json      what the control plane gave with the last token, shown for the next one

A change of the key can be cut short anywhere: before the offer is acknowledged the old key goes on, from then on the
new one, and the old one is never shown again.  Called by `daemon` and, through `AgentIdentity`, by `client.proven`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from wherry.client import kept_file
from wherry.client.agent_protocol import AgentProtocol
from wherry.trust import key_change
from wherry.trust.keys import PrivateKey


class KeptProofs:
    """What one registered agent proves itself with; `AgentIdentity.kept` of a real agent."""

    def __init__(self, folder: Path, read_key: Callable[[], PrivateKey]) -> None:
        self._folder = folder
        self._read_key = read_key

    def begin(self, key: PrivateKey, join_state: str) -> None:
        """What a registration was made with, in place of all there was."""
        with self.exclusive():
            kept_file.replace(self._folder / "key.pem", key.pem())
            for name in ("key.next.pem", "key.old.pem"):
                kept_file.remove(self._folder / name)
            self.keep_join_state(join_state)

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Be the only thread of all processes that asks for a token or changes the key."""
        lock = os.open(self._folder / "join.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def key(self) -> PrivateKey:
        """The key to prove with."""
        return self._read_key()

    def join_state(self) -> str:
        """What the control plane gave last."""
        try:
            return str(json.loads((self._folder / "join.json").read_text())["join_state"])
        except (FileNotFoundError, ValueError, KeyError):
            return ""

    def keep_join_state(self, text: str) -> None:
        """Keep what the control plane gave; on disk when this returns."""
        kept_file.replace(self._folder / "join.json", json.dumps({"join_state": text}).encode())

    def go_back(self) -> bool:
        """The control plane does not know the new key, for a backup was put back there: the old one again."""
        old = self._folder / "key.old.pem"
        if not self.changed:
            return False
        kept_file.replace(self._folder / "key.pem", old.read_bytes())
        kept_file.remove(old)
        return True

    def next_key(self) -> PrivateKey:
        """The key that follows, made at the first call of a change."""
        path = self._folder / "key.next.pem"
        kept_file.create(path, PrivateKey.for_agent().pem())
        return PrivateKey.from_pem(path.read_bytes())

    def take_next(self) -> None:
        """The control plane has the offer: from now on the new key, and only it."""
        following = self._folder / "key.next.pem"
        kept_file.replace(self._folder / "key.old.pem", (self._folder / "key.pem").read_bytes())
        kept_file.replace(self._folder / "key.pem", following.read_bytes())
        kept_file.remove(following)

    @property
    def changed(self) -> bool:
        """Whether the new key was not seen to work yet."""
        return (self._folder / "key.old.pem").exists()

    def confirm(self) -> None:
        """The new key works: the old one is of no use any more."""
        kept_file.remove(self._folder / "key.old.pem")

    def forget(self) -> None:
        """Wipe all of it."""
        for name in ("key.pem", "key.next.pem", "key.old.pem", "join.json"):
            kept_file.remove(self._folder / name)


def change(protocol: AgentProtocol, kept: KeptProofs) -> None:
    """Change the agent's key: offer a new one, take it, let the control plane see it.

    May be called again after it was cut short anywhere.  Raises what requests raise.
    """
    if not kept.changed:
        new = kept.next_key()
        old = kept.key().thumbprint
        if new.thumbprint != old:
            protocol.offer_key(key_change.offer(new, protocol.identity.client_id, old))
        with kept.exclusive():
            kept.take_next()
    protocol.sign_in_anew()
    kept.confirm()
