"""Join states: how a second holder of an agent's key is noticed.

With each access token the service gives the agent a join state, a signed number that the agent keeps on disk and shows
when it asks for the next token.  A copy of the agent shows a number that the other one has left behind.  One step
back is allowed as long as the newer state was never used: an answer may be lost, an agent may crash before it writes.
Pure; the rows are in `control.services.agent_trust`.
"""

from __future__ import annotations

import base64
import hmac
import re
from dataclasses import dataclass, replace

from wherry.trust.signed import Untrusted

_TEXT = re.compile(r"(\d{1,15})\.(\d{1,9})\.([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True, order=True)
class JoinState:
    """`seq` grows with every token; `attempt` tells states apart that were given for the same one before."""

    seq: int
    attempt: int = 0

    def __str__(self) -> str:
        return f"{self.seq}.{self.attempt}"

    @classmethod
    def parse(cls, text: str) -> JoinState:
        """The inverse of `str`; raises `Untrusted`."""
        seq, _, attempt = text.partition(".")
        if not (seq.isdecimal() and attempt.isdecimal()):
            raise Untrusted("that is no join state")
        return cls(int(seq), int(attempt))


@dataclass(frozen=True, slots=True)
class Chain:
    """What the service knows of one agent's states: the newest, the one it was given for, whether it was used."""

    current: JoinState
    previous: JoinState | None = None
    used: bool = False

    def follow(self, shown: JoinState) -> Chain | None:
        """The chain after `shown` was shown; None when it is out of date: there are two holders.

        A state that is newer than any known was signed by us before a backup was put back: it counts.
        """
        if shown == self.current or shown.seq > self.current.seq:
            return Chain(JoinState(shown.seq + 1), shown)
        if shown == self.previous and not self.used:
            return replace(self, current=JoinState(self.current.seq, self.current.attempt + 1))
        return None

    def use(self, given: JoinState) -> Chain | None:
        """The chain after a token was used that came with `given`; None when that was given anew to somebody else."""
        if given == self.current:
            return self if self.used else replace(self, used=True)
        replaced = given.seq == self.current.seq
        beside = self.previous is not None and given.seq == self.previous.seq and given != self.previous
        return None if replaced or beside else self


def write(key: bytes, client_id: str, state: JoinState) -> str:
    """A state as an agent keeps it: signed, and good for that agent only."""
    return f"{state}.{_signature(key, client_id, str(state))}"


def read(key: bytes, client_id: str, text: str) -> JoinState:
    """The state that an agent shows; raises `Untrusted` for what we did not write for it."""
    found = _TEXT.fullmatch(text)
    if found is None:
        raise Untrusted("there is no join state")
    state = f"{found[1]}.{found[2]}"
    if not hmac.compare_digest(found[3], _signature(key, client_id, state)):
        raise Untrusted("the join state is not of this service, or of another agent")
    return JoinState.parse(state)


def _signature(key: bytes, client_id: str, state: str) -> str:
    tag = hmac.digest(key, f"{client_id}\0{state}".encode(), "sha256")
    return base64.urlsafe_b64encode(tag).rstrip(b"=").decode()
