"""What an agent asks for when it enrols, as both sides write it: authorization details (RFC 9396) of one type.

The agent sends them before any code is shown, the consent page shows them, the enrolment token repeats them, and the
registration must be equal to them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wherry.model import ids
from wherry.model.errors import ApiError
from wherry.model.ids import ResourceId

AGENT_CLIENT_ID = "6d0d43a5-7f3c-4a0e-9f6a-1d2b0c7e5a10"
"""The public client that agents enrol as; its tokens can register one agent and do nothing else."""

DETAILS_TYPE = "storagemover_agent"

MOVER_ACTION = "Microsoft.StorageMover/storageMovers/agents/write"
MACHINE_ACTION = "Microsoft.HybridCompute/machines/write"
"""What the approver must be allowed: the first on the mover, the second on its resource group."""

SCOPE_ACTION = "Microsoft.HybridCompute/privateLinkScopes/read"
"""And on the private link scope that the agent is registered with."""

_CONSONANTS = "bdfghjklmnprstvz"
_VOWELS = "aiou"
_WORDS = 4
_WORDS_OF_A_DETAIL = ("mover", "agentName", "hostName", "agentVersion", "privateLinkScope")
_SCOPE_TYPE = "microsoft.hybridcompute/privatelinkscopes"
_FREE_TEXT = re.compile(r"[\x20-\x7e]{0,128}")


@dataclass(frozen=True, slots=True)
class EnrolmentRequest:
    """One agent that wants to be registered with one mover."""

    mover: str
    agent_name: str
    host_name: str = ""
    agent_version: str = ""
    private_link_scope: str = ""

    @property
    def group(self) -> str:
        """The id of the resource group that the agent's machine will be in."""
        parsed = ResourceId.parse(self.mover)
        return f"/subscriptions/{parsed.subscription}/resourceGroups/{parsed.group}"

    def same_as(self, other: EnrolmentRequest) -> bool:
        """Whether mover, agent and scope, without regard to case, and the host that was shown are the same."""
        return self._compared() == other._compared()

    def _compared(self) -> tuple[str, ...]:
        scope = ids.key(self.private_link_scope)
        return ids.key(self.mover), self.agent_name.lower(), self.host_name, scope

    def details(self) -> dict[str, str]:
        """The authorization detail to send."""
        return {
            "type": DETAILS_TYPE,
            "mover": self.mover,
            "agentName": self.agent_name,
            "hostName": self.host_name,
            "agentVersion": self.agent_version,
            **({"privateLinkScope": self.private_link_scope} if self.private_link_scope else {}),
        }

    @classmethod
    def parse(cls, details: object) -> EnrolmentRequest:
        """The request in a list of authorization details; raises `ApiError` 400 for anything but one sound one."""
        if not isinstance(details, list | tuple) or len(details) != 1 or not isinstance(details[0], Mapping):
            raise _malformed("exactly one is expected")
        detail: Mapping[str, Any] = details[0]
        if detail.get("type") != DETAILS_TYPE:
            raise _malformed(f"the type must be {DETAILS_TYPE}")
        words = {name: detail.get(name, "") for name in _WORDS_OF_A_DETAIL}
        if not all(isinstance(word, str) for word in words.values()):
            raise _malformed("all members are texts")
        mover = ResourceId.parse(words["mover"])
        if mover.type != "microsoft.storagemover/storagemovers" or mover.group is None:
            raise _malformed("mover must be the id of a storage mover")
        if not ids.AGENT_NAME.fullmatch(words["agentName"]):
            raise _malformed("the agent's name has 1 to 64 letters, digits, '-', '_' and '.'")
        if not all(_FREE_TEXT.fullmatch(words[name]) for name in ("hostName", "agentVersion")):
            raise _malformed("hostName and agentVersion have up to 128 printable ASCII characters")
        scope = words["privateLinkScope"]
        if scope and ResourceId.parse(scope).type != _SCOPE_TYPE:
            raise _malformed("privateLinkScope must be the id of a private link scope")
        return cls(str(mover), words["agentName"], words["hostName"], words["agentVersion"], scope)


def key_words(thumbprint: str) -> str:
    """64 bits of a key's thumbprint as words that two people can read to each other; on agent and page the same.

    They are proquints: a word has 16 bits, four in each consonant and two in each vowel.
    """
    bits = int.from_bytes(hashlib.sha256(thumbprint.encode()).digest()[: 2 * _WORDS])
    return "-".join(_word(bits >> 16 * place & 0xFFFF) for place in reversed(range(_WORDS)))


def _word(bits: int) -> str:
    first, second, third = (_CONSONANTS[bits >> place & 15] for place in (12, 6, 0))
    one, two = (_VOWELS[bits >> place & 3] for place in (10, 4))
    return f"{first}{one}{second}{two}{third}"


def _malformed(why: str) -> ApiError:
    return ApiError(400, "InvalidAuthorizationDetails", f"The authorization details cannot be used: {why}.")
