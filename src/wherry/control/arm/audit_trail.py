"""The audit trail for whoever may read it: pages of records, one record, and all as a file that proves itself.

    GET /providers/Microsoft.Insights/eventtypes/audit/values?since=…&until=…&who=…&action=…&result=…&scope=…
    GET /providers/Microsoft.Insights/eventtypes/audit/values/{number}
    GET /providers/Microsoft.Insights/eventtypes/audit/export      the same filters; JSON lines

The trail tells of everything, so its reader needs the action on everything (the scope `/`): roles Owner, Reader and
Storage Mover Auditor have it there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from wherry.control import audit, audit_state
from wherry.control.access import Routes, resource
from wherry.control.arm.request import after_of, check_version, page
from wherry.control.plane import Plane, caller, plane, request_id, source
from wherry.control.services import audit_trail
from wherry.control.services.audit_trail import Filter, Range
from wherry.model.errors import ApiError

PROVIDER = "Microsoft.Insights"
_BASE = f"/providers/{PROVIDER}/eventtypes/audit"
_READ = resource(f"{PROVIDER}/eventtypes/audit/read", lambda _: "")
_PAGE = 100
_MOST = 1000

routes = Routes(case_insensitive=True)


@routes.get(f"{_BASE}/values", _READ)
async def list_records(request: Request) -> Response:
    """A page of records, the newest first; it may be short, or empty, while a `nextLink` says that there is more."""
    check_version(request, PROVIDER)
    asked, size = Filter.parse(request.query_params), _size(request)
    before = after_of(request)
    found, further = await plane(request).database.read(audit_trail.page, asked, before, size)
    return page(request, found, further)


@routes.get(f"{_BASE}/values/{{number}}", _READ)
async def get_record(request: Request, number: str) -> Response:
    """One record, with the hash that ties it to all before."""
    check_version(request, PROVIDER)
    if not (number.isascii() and number.isdigit() and len(number) <= 15):
        raise ApiError(404, "AuditRecordNotFound", "An audit record has a number.")
    return JSONResponse(await plane(request).database.read(audit_trail.one, int(number)))


@routes.get(f"{_BASE}/export", _READ)
async def export(request: Request) -> Response:
    """The trail as lines of JSON with a signed end; that it was exported is a record in it."""
    check_version(request, PROVIDER)
    service, asked = plane(request), Filter.parse(request.query_params)
    record = audit.of(
        caller(request), "wherry/audit/export", "allowed", source=source(request),
        request_id=request_id(request), details={"query": dict(request.query_params)},
    )  # fmt: skip
    told, head = await service.database.write(
        audit_trail.begin_export, audit_state.ledger(service), asked, record, service.clock()
    )
    await audit_state.keep(service, told.head)
    named = {"Content-Disposition": 'attachment; filename="audit.jsonl"'}
    return StreamingResponse(
        _lines(service, asked, told, head), media_type="application/jsonl", headers=named
    )


async def _lines(service: Plane, asked: Filter, told: Range, head: str) -> AsyncIterator[str]:
    yield head + "\n"
    after = told.first - 1
    while after < told.last:
        made, after = await service.database.read(audit_trail.lines, asked, after, told)
        yield "".join(f"{one}\n" for one in made)
    yield audit_trail.end_of(told) + "\n"


def _size(request: Request) -> int:
    told = request.query_params.get("$top", str(_PAGE))
    if not (told.isascii() and told.isdigit() and len(told) <= 5 and 1 <= int(told) <= _MOST):
        raise ApiError(400, "InvalidQueryParameter", f"'$top' is a number from 1 to {_MOST}.", "$top")
    return int(told)
