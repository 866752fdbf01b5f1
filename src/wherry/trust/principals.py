"""Who makes a request: the outcome of authentication, the input of every decision.

A `Principal` is made in one place only, from a verified token or session; nothing of a request is trusted to
name one.  It is immutable, so that it can be passed through threads and kept in audit records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

PrincipalKind = Literal["user", "agent", "service"]

FULL_SCOPE = "user_impersonation"
"""Delegated scope of a signed-in user: everything that the user's roles allow."""

PROGRAM_SCOPE = "program"
"""Scope of a program that signed in by itself: everything that the roles of its service principal allow."""

AGENT_SCOPE = "agent"
"""Scope of an agent's own tokens: the agent protocol and what its identity was granted."""

ENROL_SCOPE = "agent.register"
"""Scope of an enrolment token: one registration, nothing else."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A user, an agent's identity or a program (`service`: a service principal).

    `oid` is the object id that role assignments name; `jkt` the thumbprint of the key that the token is bound to;
    `join` the join state that an agent's token came with;
    `resource_id` the machine that an agent's identity belongs to; `epoch` dies with a revocation; `details` are
    the authorization details (RFC 9396) that a person consented to, echoed by the token.
    """

    kind: PrincipalKind
    oid: str
    tenant: str
    name: str
    scopes: frozenset[str] = frozenset()
    audience: str = ""
    client_id: str = ""
    session: str = ""
    token_id: str = ""
    jkt: str | None = None
    join: str = ""
    resource_id: str = ""
    epoch: int = 1
    issued_at: int = 0
    expires_at: int = 0
    details: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)
