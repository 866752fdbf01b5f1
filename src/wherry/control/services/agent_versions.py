"""What agents are told of the version of their program, and when an old one is refused.

An agent that is too old gets no new lease.  Its heartbeats are taken as long as it works off what it holds, or as
there is a package here by which it can help itself; else they are refused, too, so that it says in its own log what is
wrong.  Either way the control plane has noted that it is there, and what it needs.
"""

from __future__ import annotations

from pathlib import Path

from wherry.control.services import packages
from wherry.model.agent_versions import SERVED, Notice
from wherry.model.errors import ApiError
from wherry.model.versions import Version
from wherry.model.wire import Json


def notice_for(state: Path | None, reported: str) -> Notice | None:
    """What to tell an agent that reports this version; `state` is where packages are offered."""
    offered = packages.offered(state) if state else []
    return SERVED.knowing(offered[0] if offered else None).notice(reported)


def offered_to(state: Path | None, reported: str) -> Version | None:
    """The package for an agent of this version; None when there is none that would help it."""
    later = packages.later_than(state, reported) if state else None
    return later if later is None or later >= SERVED.oldest else None


def refuse_unsupported(notice: Notice | None) -> None:
    """Raise what an agent is refused with that has to be upgraded first."""
    if notice is not None and notice.required:
        raise ApiError(409, notice.code, notice.message)


def noted(facts: Json, notice: Notice | None) -> Json:
    """The facts of an agent, with what the resource API shows of its version."""
    if notice is None:
        return facts
    word = "Required" if notice.required else "Available"
    return {**facts, "upgrade": {"standing": word, **notice.to_json()}}
