"""The one function that allows or denies: `decide(principal, action, scope, facts)`.

Azure's evaluation: an assignment holds at its scope and below, by whole segments and without case; per role
`actions − not_actions` (never across roles), data actions apart from them; a condition must hold; nothing matches,
nothing is allowed.  Conditions have one form here, the expiry of a grant, made by `expires` and by nobody else's
syntax: whatever is not exactly that denies.

Pure: the caller (`control.authorization`) brings the assignments and the time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache

from wherry.model import ids
from wherry.trust.principals import ENROL_SCOPE, Principal
from wherry.trust.roles import ROLES, Role

CONDITION_VERSION = "2.0"

_EXPIRY = re.compile(
    r"\s*\(?\s*@Environment\[UtcNow\]\s+DateTimeLessThan\s+'"
    r"(?P<until>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,7})?Z)'\s*\)?\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Assignment:
    """A role given to a principal at a scope; `role` is the GUID of its definition."""

    id: str
    principal_id: str
    role: str
    scope: str
    condition: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What a decision rests on besides the request: assignments, the time (Unix seconds), the roles there are.

    `groups` are the object ids of all groups that the principal is a member of, directly or through other groups.
    """

    assignments: Iterable[Assignment]
    now: float
    roles: Mapping[str, Role] = field(default_factory=lambda: ROLES)
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Decision:
    """Allow or deny, why in words for the audit trail, and by which assignment."""

    allowed: bool
    reason: str
    assignment_id: str | None = None


def decide(principal: Principal, action: str, scope: str, facts: Facts, *, data: bool = False) -> Decision:
    """Whether `principal` may do `action` at `scope`; `data` asks the data actions of its roles."""
    if ENROL_SCOPE in principal.scopes or not principal.scopes:
        return Decision(False, "the token is not meant for this")
    reason = "no role assignment allows it"
    holders = {oid.lower() for oid in (principal.oid, *facts.groups)}
    for assignment in facts.assignments:
        if assignment.principal_id.lower() not in holders or not ids.contains(assignment.scope, scope):
            continue
        role = facts.roles.get(assignment.role.lower())
        if role is None or not grants(role, action, data=data):
            continue
        if not holds(assignment.condition, facts.now):
            reason = "the condition of the role assignment does not hold"
            continue
        return Decision(True, f"role {role.name}", assignment.id)
    return Decision(False, reason)


def grants(role: Role, action: str, *, data: bool = False) -> bool:
    """Whether `role` by itself has `action`."""
    has, but_not = (role.data_actions, role.not_data_actions) if data else (role.actions, role.not_actions)
    return _matches(has, action) and not _matches(but_not, action)


def expires(at: float) -> str:
    """The condition of an assignment that ends at `at` (Unix seconds, rounded down to whole ones)."""
    return (
        f"(@Environment[UtcNow] DateTimeLessThan '{datetime.fromtimestamp(int(at), UTC):%Y-%m-%dT%H:%M:%SZ}')"
    )


def expiry(condition: str) -> float | None:
    """When an assignment with `condition` ends; None when the condition is not of the one form known here."""
    match = _EXPIRY.fullmatch(condition)
    if match is None or condition.count("(") != condition.count(")"):
        return None
    text = match["until"][:-1]
    try:
        return datetime.fromisoformat(text[:26]).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def holds(condition: str | None, now: float) -> bool:
    """Whether an assignment's condition is true at `now`; unknown syntax never is."""
    if condition is None or not condition.strip():
        return True
    until = expiry(condition)
    return until is not None and now < until


def _matches(patterns: Iterable[str], action: str) -> bool:
    return any(_pattern(pattern).fullmatch(action) for pattern in patterns)


@lru_cache(maxsize=1024)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in text.split("*")), re.IGNORECASE | re.DOTALL)
