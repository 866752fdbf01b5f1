"""Who asks a service for something, and the right to ask for more than the route's own action.

Made by the ARM routes from a request that the guard let through (`arm.request.caller_of`); passed to services as their
context.  A service that touches another resource than the one of the route asks `authorize` first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection

from wherry.control import authorization
from wherry.trust.policy import Decision
from wherry.trust.principals import Principal

CreatedBy = Literal["User", "Application", "ManagedIdentity"]


@dataclass(frozen=True, slots=True)
class Caller:
    """The principal of a request, the request's id and its time (Unix seconds)."""

    principal: Principal
    request_id: str
    now: float

    def authorize(self, conn: Connection, action: str, scope: str, *, data: bool = False) -> Decision:
        """The decision that allows `action` at `scope`; raises 403 `AuthorizationFailed`."""
        return authorization.require(conn, self.principal, action, scope, self.now, data=data)

    @property
    def name(self) -> str:
        """What `systemData` calls the caller."""
        return self.principal.name if self.principal.kind == "user" else self.principal.oid

    @property
    def kind(self) -> CreatedBy:
        """The kind of caller in the words of `systemData`."""
        return "User" if self.principal.kind == "user" else "Application"
