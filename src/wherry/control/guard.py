"""The guard of every route: authenticate → policy → audit, in this order, before the body is read.

`GuardedRoute` is what `create_app` makes of a declaration.  A refusal of somebody known is in the audit trail before
it is answered, whoever refuses, the guard or what the handler asks; the record of an allowed write rides in the
handler's own transaction (`db.engine.companion`) or is written after it, before the answer; allowed reads and refusals
of nobody in particular are counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from fastapi.routing import APIRoute
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from wherry.control import audit, authentication, authorization, refusals
from wherry.control.access import Access, Declaration, scope_of_path
from wherry.control.audit import Record
from wherry.control.db.engine import companion
from wherry.control.identity import sessions
from wherry.control.plane import Plane, plane, request_id, source
from wherry.control.refusals import NotTheirs, Refusal
from wherry.control.services import limits
from wherry.model.errors import ApiError
from wherry.trust.policy import Decision
from wherry.trust.principals import Principal

FOREIGN_RECORDS = 10
_READS = frozenset({"GET", "HEAD", "OPTIONS"})

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class GuardedRoute(APIRoute):
    """A route that cannot be reached but through its `Access`."""

    def __init__(self, declaration: Declaration, **options: Any) -> None:
        self.declaration = declaration
        self.access: Access = declaration.access
        super().__init__(
            declaration.path,
            declaration.endpoint,
            methods=[declaration.method],
            **{"response_model": None, **declaration.options, **options},
        )
        if declaration.case_insensitive:
            self.path_regex = re.compile(self.path_regex.pattern, re.IGNORECASE | re.ASCII)

    def get_route_handler(self) -> Handler:
        handle, access = super().get_route_handler(), self.access

        async def guarded(request: Request) -> Response:
            if access.kind == "public":
                return await handle(request)
            if access.kind == "session":
                return await _signed_in(request, access, handle)
            return await _admitted(request, access, handle)

        return guarded


async def _signed_in(request: Request, access: Access, handle: Handler) -> Response:
    principal = await sessions.principal_of(plane(request), request)
    if principal is None:
        response = RedirectResponse("/signin", 303)
        sessions.remember_page(response, request.url.path)
        return response
    request.state.principal = principal
    try:
        return await _accounted(request, handle, audit.of(principal, "wherry/page", "allowed"), routine=True)
    except ApiError as refused:
        if access.refused is None:
            raise
        return access.refused(request, refused)


async def _admitted(request: Request, access: Access, handle: Handler) -> Response:
    service = plane(request)
    try:
        principal = await _authenticate(service, request, access)
    except ApiError as refused:
        who = refused.who if isinstance(refused, Refusal) else None
        service.counters.count(who, access.action or f"wherry/{access.kind}", "denied", service.clock())
        raise
    request.state.principal = principal
    scope = await _scope(request, access)
    decision = await _decide(service, access, principal, scope)
    record = audit.of(
        principal,
        access.action or f"wherry/{access.kind}",
        "allowed" if decision.allowed else "denied",
        scope=scope,
        source=source(request),
        request_id=request_id(request),
        reason=decision.reason,
        assignment=decision.assignment_id or "",
    )
    if not decision.allowed:
        await service.database.write(audit.append, replace(record, status=403), service.clock())
        raise refusals.forbidden(principal, access.action, scope)
    response = await _accounted(request, handle, record, routine=access.routine)
    if access.kind == "agent":
        response.headers["DPoP-Nonce"] = service.nonces.issue(service.clock())
    return response


async def _authenticate(service: Plane, request: Request, access: Access) -> Principal:
    if access.kind == "agent":
        return await authentication.authenticate_agent(service, request)
    if access.kind == "enrolment":
        return await authentication.authenticate_enrolment(service, request)
    audiences = {
        "arm": service.arm_audiences,
        "vault": service.vault_audiences,
        "graph": service.graph_audiences,
    }
    wanted = service.vault_resource(request.headers.get("host", "")) if access.audience == "vault" else ""
    return await authentication.bearer(service, request, audiences[access.audience], wanted)


async def _scope(request: Request, access: Access) -> str:
    if access.scope is not None:
        found = access.scope(request)
        return found if isinstance(found, str) else await found
    # Not `request.url`: it would end the path at a `?` that was encoded.
    path = str(request.scope["path"])
    return scope_of_path(path) if access.kind == "resource" else path


async def _decide(service: Plane, access: Access, principal: Principal, scope: str) -> Decision:
    if access.kind != "resource":
        return Decision(True, access.kind)
    return await service.database.read(
        authorization.decide, principal, access.action, scope, service.clock(), data=access.data
    )


async def _accounted(request: Request, handle: Handler, record: Record, *, routine: bool = False) -> Response:
    service = plane(request)
    if routine or request.method in _READS:
        return await _read(request, handle, record)
    written = False

    def ride(conn: Connection) -> Callable[[], None] | None:
        nonlocal written
        if written:
            return None

        def committed() -> None:
            nonlocal written
            written = True

        audit.append(conn, record, service.clock())
        return committed

    token = companion.set(ride)
    try:
        response = await handle(request)
    except NotTheirs as foreign:
        written = True
        await _note_foreign(request, record, foreign)
        raise
    except ApiError as refused:
        record = _refused(record, refused)
        raise
    except BaseException:
        # What came of it is not known: a record that says "allowed" would say too much.
        record = replace(record, result="failed", status=500)
        raise
    finally:
        companion.reset(token)
        if not written:
            await service.database.write(audit.append, record, service.clock())
    return response


async def _read(request: Request, handle: Handler, record: Record) -> Response:
    service = plane(request)
    try:
        response = await handle(request)
    except NotTheirs as foreign:
        await _note_foreign(request, record, foreign)
        raise
    except ApiError as refused:
        if refused.status == 403:
            await service.database.write(audit.append, _refused(record, refused), service.clock())
        else:
            service.counters.count(request.state.principal, record.action, "refused", service.clock())
        raise
    service.counters.count(request.state.principal, record.action, "allowed", service.clock())
    return response


async def _note_foreign(request: Request, record: Record, foreign: NotTheirs) -> None:
    """Who asks for what is another's is in the trail, a few times a minute; beyond that it is counted."""
    service = plane(request)
    told, now = replace(record, result="denied", status=foreign.status, reason=foreign.code), service.clock()
    if not await service.database.write(_append_some, told, now):
        service.counters.count(request.state.principal, record.action, "denied", now)


def _append_some(conn: Connection, record: Record, now: float) -> bool:
    if not limits.hit(conn, f"not theirs/{record.actor}", FOREIGN_RECORDS, 60.0, now):
        return False
    audit.append(conn, record, now)
    return True


def _refused(record: Record, refused: ApiError) -> Record:
    result = "denied" if refused.status == 403 else "refused"
    return replace(record, result=result, status=refused.status, reason=refused.code)
