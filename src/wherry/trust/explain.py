"""Why a decision came out as it did: each assignment of a principal, and what it lacks for the action in question.

The decision itself is `policy.decide`'s; this only tells of the same facts, by the same tests.  Pure.  Called by
`control.services.access_questions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wherry.model import ids
from wherry.trust import policy
from wherry.trust.policy import Assignment, Facts
from wherry.trust.roles import Role


@dataclass(frozen=True, slots=True)
class Finding:
    """An assignment held against a question: the three things that it needs, and its end."""

    assignment: Assignment
    role: Role | None
    covers: bool
    grants: bool
    holds: bool
    until: float | None

    @property
    def allows(self) -> bool:
        return self.covers and self.grants and self.holds

    @property
    def lacks(self) -> str:
        """What keeps it from allowing, in words; empty when nothing does."""
        if self.role is None:
            return "its role is not known"
        missing = []
        if not self.covers:
            missing.append("its scope does not hold the one asked for")
        if not self.grants:
            missing.append(f"the role {self.role.name} does not have the action")
        if not self.holds:
            missing.append("its condition does not hold (any more)")
        return "; ".join(missing)


def findings(action: str, scope: str, facts: Facts, *, data: bool = False) -> list[Finding]:
    """All assignments among the facts, those that allow first, then the nearest misses."""
    found = [_finding(one, action, scope, facts, data=data) for one in facts.assignments]
    return sorted(found, key=lambda one: -(4 * one.allows + one.covers + one.grants + one.holds))


def roles_with(action: str, roles: Mapping[str, Role], *, data: bool = False) -> list[Role]:
    """The roles that would allow an action, the narrowest first."""
    fitting = [role for role in roles.values() if policy.grants(role, action, data=data)]
    return sorted(fitting, key=lambda role: (_breadth(role), role.name))


def _finding(one: Assignment, action: str, scope: str, facts: Facts, *, data: bool) -> Finding:
    role = facts.roles.get(one.role.lower())
    return Finding(
        one,
        role,
        ids.contains(one.scope, scope),
        role is not None and policy.grants(role, action, data=data),
        policy.holds(one.condition, facts.now),
        policy.expiry(one.condition) if one.condition else None,
    )


def _breadth(role: Role) -> int:
    """Wildcards weigh more than any number of single actions."""
    patterns = (*role.actions, *role.data_actions)
    return sum(1000 if pattern == "*" else 100 if "*" in pattern else 1 for pattern in patterns)
