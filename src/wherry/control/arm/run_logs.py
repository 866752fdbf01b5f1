"""Logs of a run: the copy log with a row an item, the run log with a row an event.

Both are pages with a `nextLink`.  A page of the copy log looks at a bounded number of rows, so with a filter that few
rows pass it may hold none and still name a next one.  `exportCopyLogs` is all of it as one file (`log_export`).
"""

from __future__ import annotations

import json
import re
from typing import Any

import anyio.to_thread
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from wherry.control import log_export, logs
from wherry.control.access import Routes, resource
from wherry.control.arm import generic
from wherry.control.arm.request import after_of, page, target_of
from wherry.control.dispatch import Dispatch
from wherry.control.logs import Place, RowFilter
from wherry.control.plane import plane
from wherry.control.services import resources, run_log, run_view
from wherry.control.services.types.registry import Target
from wherry.control.services.types.storage_mover import JOB_RUN
from wherry.model import names
from wherry.model.errors import ApiError
from wherry.model.outcomes import Outcome

routes = Routes(case_insensitive=True)

MOST = 1000
_NUMBER = re.compile(r"[0-9]{1,4}")
_COPY_LOGS, _EVENTS, _EXPORT = "/copyLogs", "/events", "/exportCopyLogs"
_WANTED = [
    {"name": "outcome", "in": "query", "schema": {"type": "string", "enum": [str(one) for one in Outcome]}},
    *({"name": name, "in": "query", "schema": {"type": "string"}} for name in ("code", "pathPrefix", "text")),
]
_TOP = {"name": "$top", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": MOST}}
_FORMAT = {"name": "format", "in": "query", "schema": {"type": "string", "enum": list(log_export.FORMS)}}


@routes.get(
    generic.item(JOB_RUN) + _COPY_LOGS,
    resource(JOB_RUN.action("read")),
    openapi_extra={"parameters": [*_WANTED, _TOP]},
)
async def copy_logs(request: Request) -> Response:
    """Rows of the copy log in the order of commits; `format=jsonl` gives a page as lines."""
    service = plane(request)
    run = await service.database.read(_run, target_of(request, JOB_RUN, _COPY_LOGS))
    begin = Place(*(after_of(request) or ()))
    found = await service.database.read(logs.named, run, begin)
    store = service.part(Dispatch).logs
    rows, after = await anyio.to_thread.run_sync(
        logs.page, store, found, begin, _filter(request), _top(request)
    )
    documents = [logs.document(run, row) for row in rows]
    following = None if after is None else [after.segment, after.row]
    if _told(request, "format") == "jsonl":
        return _lines(documents, page(request, [], following))
    return page(request, documents, following)


@routes.get(
    generic.item(JOB_RUN) + _EXPORT,
    resource(JOB_RUN.action("read")),
    openapi_extra={"parameters": [*_WANTED, _FORMAT]},
)
async def export_copy_logs(request: Request) -> Response:
    """The whole copy log as a file: `format` is csv (the default), parquet or jsonl."""
    service = plane(request)
    run = await service.database.read(_run, target_of(request, JOB_RUN, _EXPORT))
    told = (_told(request, "format") or "csv").lower()
    if told not in log_export.FORMS:
        raise _invalid("format", f"One of {', '.join(log_export.FORMS)} is expected.")
    wanted = _filter(request)
    form = await anyio.to_thread.run_sync(log_export.FORMS[told], run)
    store = service.part(Dispatch).logs
    headers = {"Content-Disposition": f'attachment; filename="copy-log.{told}"'}
    return StreamingResponse(
        log_export.pieces(service.database, store, run, wanted, form),
        media_type=form.media_type,
        headers=headers,
    )


@routes.get(generic.item(JOB_RUN) + _EVENTS, resource(JOB_RUN.action("read")))
async def events(request: Request) -> Response:
    """Rows of the run log in the order of arrival; `level` names the lowest one shown."""
    level = _told(request, "level")
    known = run_log.level_of(level) if level else None
    if level and known is None:
        raise _invalid("level", f"One of {', '.join(run_log.LEVELS)} is expected.")
    after = after_of(request) or [0]
    rows = await plane(request).database.read(
        _events,
        target_of(request, JOB_RUN, _EVENTS),
        known,
        _told(request, "code") or None,
        after[0],
        _top(request),
    )
    following = [rows[-1][0]] if len(rows) == _top(request) else None
    return page(request, [document for _, document in rows], following)


def _events(
    conn: Connection, target: Target, level: run_log.Level | None, code: str | None, after: int, limit: int
) -> list[tuple[int, dict[str, Any]]]:
    return run_log.page(conn, _run(conn, target), level=level, code=code, after=after, limit=limit)


def _run(conn: Connection, target: Target) -> str:
    row = run_view.get_run(conn, str(target.id))
    if row is None:
        raise resources.absent(target)
    return str(row.id)


def _filter(request: Request) -> RowFilter:
    told = _told(request, "outcome")
    outcome = next((one for one in Outcome if one.value.lower() == told.lower()), None)
    if told and outcome is None:
        raise _invalid("outcome", f"One of {', '.join(Outcome)} is expected.")
    prefix = names.unescape(_told(request, "pathPrefix"))
    return RowFilter(outcome, _told(request, "code"), prefix, _told(request, "text"))


def _top(request: Request) -> int:
    told = _told(request, "$top")
    if not told:
        return 100
    if not _NUMBER.fullmatch(told) or not 1 <= int(told) <= MOST:
        raise _invalid("$top", f"A number from 1 to {MOST} is expected.")
    return int(told)


def _told(request: Request, name: str) -> str:
    found = [value for key, value in request.query_params.multi_items() if key.lower() == name.lower()]
    return found[0] if found else ""


def _lines(documents: list[dict[str, Any]], linked: Response) -> Response:
    headers = {"Content-Disposition": 'attachment; filename="copy-log.jsonl"'}
    following = json.loads(bytes(linked.body)).get("nextLink")
    if following:
        headers["Link"] = f'<{following}>; rel="next"'
    lines = (json.dumps(one, ensure_ascii=False) + "\n" for one in documents)
    return StreamingResponse(lines, media_type="application/jsonl", headers=headers)


def _invalid(parameter: str, message: str) -> ApiError:
    return ApiError(400, "InvalidQueryParameter", f"{message} (query parameter '{parameter}')", parameter)
