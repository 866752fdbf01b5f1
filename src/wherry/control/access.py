"""How a route says who may call it, and why a route that does not say so cannot exist.

Routes are declared on a `Routes`, never on FastAPI directly:

    routes = Routes(case_insensitive=True)

    @routes.put(MOVER, resource("Microsoft.StorageMover/storageMovers/write"))
    async def put_mover(request: Request, mover: str) -> Response: ...

`create_app` turns declarations into `GuardedRoute`s, whose guard (`control.guard`) authenticates, decides and audits
before the body is read.  The handler finds who calls in `caller(request)` and the service in `plane(request)`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from wherry.model import ids
from wherry.model.errors import ApiError

Kind = Literal["public", "session", "bearer", "resource", "agent", "enrolment"]
Audience = Literal["arm", "vault", "graph"]
ScopeOf = Callable[[Request], str | Awaitable[str]]
Refused = Callable[[Request, ApiError], Response]
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Access:
    """Who may call a route.  Made by the functions below only.

    `routine`: the audit counts allowed calls, as it does reads, in place of a record for each.  `refused` makes the
    answer to an `ApiError` where it is not JSON.
    """

    kind: Kind
    action: str = ""
    scope: ScopeOf | None = None
    data: bool = False
    audience: Audience = "arm"
    routine: bool = False
    refused: Refused | None = None


def public() -> Access:
    """Anybody.  The route decides nothing and shows nothing that is not meant for everybody."""
    return Access("public")


def session() -> Access:
    """Somebody who signed in with the browser; others are sent to the sign-in page.

    The guard only counts the calls: what a page does is decided and recorded by what it does (`pages.frame.do`).
    """
    return Access("session")


def bearer(audience: Audience = "arm") -> Access:
    """Any signed-in user with a token: for lists that show only what the caller may see (subscriptions, tenants)."""
    return Access("bearer", audience=audience)


def resource(
    action: str, scope: ScopeOf | None = None, *, data: bool = False, audience: Audience = "arm"
) -> Access:
    """A user whose roles have `action` at the scope, by default `scope_of_path` of the request's path."""
    return Access("resource", action, scope, data, audience)


def agent(*, routine: bool = False) -> Access:
    """A registered agent: its own token, bound to its key, identity and key alive at this moment."""
    return Access("agent", routine=routine)


def enrolment() -> Access:
    """The holder of an enrolment token and of the key that it was approved for."""
    return Access("enrolment")


@dataclass(frozen=True, slots=True)
class Declaration:
    """One route as declared: what `create_app` makes a `GuardedRoute` of."""

    method: str
    path: str
    access: Access
    endpoint: Callable[..., Any]
    case_insensitive: bool
    options: dict[str, Any] = field(default_factory=dict)


class Routes:
    """Routes of one area.  `case_insensitive` for resource paths, whose segments ARM compares without case."""

    def __init__(self, prefix: str = "", *, case_insensitive: bool = False) -> None:
        self.prefix = prefix
        self.case_insensitive = case_insensitive
        self.declared: list[Declaration] = []

    def route(self, method: str, path: str, access: Access, **options: Any) -> Callable[[F], F]:
        """Declare `endpoint` for `method` and `path`; `options` are those of FastAPI's `APIRoute`."""

        def declare(endpoint: F) -> F:
            self.declared.append(
                Declaration(method, self.prefix + path, access, endpoint, self.case_insensitive, options)
            )
            return endpoint

        return declare

    def get(self, path: str, access: Access, **options: Any) -> Callable[[F], F]:
        return self.route("GET", path, access, **options)

    def put(self, path: str, access: Access, **options: Any) -> Callable[[F], F]:
        return self.route("PUT", path, access, **options)

    def patch(self, path: str, access: Access, **options: Any) -> Callable[[F], F]:
        return self.route("PATCH", path, access, **options)

    def post(self, path: str, access: Access, **options: Any) -> Callable[[F], F]:
        return self.route("POST", path, access, **options)

    def delete(self, path: str, access: Access, **options: Any) -> Callable[[F], F]:
        return self.route("DELETE", path, access, **options)

    def head(self, path: str, access: Access, **options: Any) -> Callable[[F], F]:
        return self.route("HEAD", path, access, **options)


def scope_of_path(path: str) -> str:
    """The resource that a path is about: without a last segment that names a collection or an operation.

    `…/storageMovers/m` is itself, `…/storageMovers` its group, `…/jobDefinitions/j/startJob` the definition,
    `{scope}/providers/Microsoft.Authorization/roleAssignments[/name]` that scope or the assignment below it.
    """
    words = ids.check(path).strip("/").split("/")
    del words[len(words) // 2 * 2 :]
    if len(words) >= 2 and words[-2].lower() == "providers":
        del words[-2:]
    return "".join(f"/{word}" for word in words)
