"""What agents send, as values; what goes wrong, as answers.

A message that is malformed is a 400 that says where.  Codes of the error table come out as 409 with the code, so that
the agent knows them by name; trouble of the service itself as 503 with the time to wait.
"""

from __future__ import annotations

import base64
import binascii
import errno
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DataError
from starlette.requests import Request

from wherry.control.caller import Caller
from wherry.control.plane import caller, plane, request_id
from wherry.control.refusals import Refusal
from wherry.control.services import bandwidth, presence
from wherry.control.services.ledger import Holder
from wherry.model.errors import CODES, ApiError, RunError, Unavailable, UsageError
from wherry.model.ledger import Token
from wherry.model.wire import Json, token_from_json
from wherry.trust.principals import Principal

P = ParamSpec("P")
T = TypeVar("T")

RETRY_SECONDS = 5
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE)


async def body_of(request: Request) -> Json:
    """The JSON object that a request carries."""
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError) as broken:
        raise _malformed("it is not JSON") from broken
    if not isinstance(body, dict):
        raise _malformed("an object is expected")
    return body


def text(body: Json, name: str, longest: int = 256, default: str | None = None) -> str:
    """A text in a message."""
    value = body.get(name, default)
    if not isinstance(value, str) or len(value) > longest:
        raise _malformed(f"'{name}' must be a text of at most {longest} characters")
    try:
        value.encode()
    except UnicodeEncodeError as broken:
        raise _malformed(f"'{name}' is not Unicode") from broken
    return value


def number(body: Json, name: str, default: float = 0) -> float:
    """A number of at least zero in a message."""
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**62:
        raise _malformed(f"'{name}' must be a number of at least 0")
    return value


def token_of(body: Json) -> Token:
    """The lease that a message shows."""
    told = body.get("token")
    if not isinstance(told, dict):
        raise _malformed("'token' is missing")
    with answers():
        return token_from_json(told)


def lease_of(request: Request) -> Token:
    """The lease in the header `X-Wherry-Lease`."""
    told = request.headers.get("x-wherry-lease", "")
    try:
        document = json.loads(base64.urlsafe_b64decode(told + "=" * (-len(told) % 4)))
    except (binascii.Error, ValueError, RecursionError) as broken:
        raise _malformed("the header X-Wherry-Lease is not a lease") from broken
    return token_of({"token": document})


def facts_of(body: Json) -> Json:
    """What an agent tells of its machine, in the words of the resource API."""
    told = {
        "agentVersion": text(body, "version", 64, ""),
        "localIPAddress": text(body, "address", 64, ""),
        "timeZone": text(body, "timeZone", 64, ""),
        "memoryInMB": int(number(body, "memoryInMB")),
        "numberOfCores": int(number(body, "cores")),
        "uptimeInSeconds": int(number(body, "uptimeInSeconds")),
    }
    key = text(body, "sshHostKey", 64, "")
    if key and not _FINGERPRINT.fullmatch(key):
        raise _malformed("'sshHostKey' is no SHA-256 fingerprint of a key")
    ours = {"wherry": {"sshHostKey": key}} if key else {}
    failed = body.get("upgrade")
    trouble = _upgrade_trouble(failed) if isinstance(failed, dict) else {}
    known = {name: value for name, value in told.items() if value not in ("", 0)}
    return known | ours | trouble | _applied(body)


def _applied(body: Json) -> Json:
    """The limit of bandwidth that an agent tells that it keeps, as long as it is a number."""
    told = body.get(bandwidth.APPLIED)
    limit = told.get("limitInMbps") if isinstance(told, dict) else None
    if isinstance(limit, bool) or not isinstance(limit, int) or not 0 <= limit < 2**31:
        return {}
    return {bandwidth.APPLIED: {"limitInMbps": limit}}


def _upgrade_trouble(failed: Json) -> Json:
    """What an agent tells of a version that it did not take, as the resource API shows trouble."""
    code = text(failed, "code", 16, "")
    if code not in CODES:
        raise _malformed("'upgrade' has no code of the table")
    message = (
        f"{CODES[code].message} Version {text(failed, 'version', 64, '')}: {text(failed, 'detail', 500, '')}."
    )
    return {"errorDetails": {"code": code, "message": message}}


def caller_of(request: Request) -> Caller:
    """Who asks, as services take it."""
    return Caller(caller(request), request_id(request), plane(request).clock())


async def holding(
    request: Request,
    function: Callable[Concatenate[Connection, Holder, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """The answer of `function(conn, holder, *args)` in one transaction, for the agent that calls."""
    with answers(), _kept():
        return await plane(request).database.write(_for_holder, caller(request), function, *args, **kwargs)


@contextmanager
def _kept() -> Iterator[None]:
    """A number that is too large for the database, or a text that is not Unicode, is the sender's mistake."""
    try:
        yield
    except (OverflowError, UnicodeError, DataError) as strange:
        raise _malformed("a number or a text in it cannot be kept") from strange


@contextmanager
def answers() -> Iterator[None]:
    """Turn what services raise into what agents read."""
    try:
        yield
    except RunError as trouble:
        raise ApiError(409, trouble.code, str(trouble)) from trouble
    except UsageError as malformed:
        raise ApiError(400, "InvalidRequestContent", str(malformed)) from malformed
    except Unavailable as passing:
        raise later(str(passing)) from passing
    except OSError as trouble:
        if trouble.errno not in _FULL:
            raise
        raise later("the log store cannot be written") from trouble


def later(why: str) -> Refusal:
    """503 that says when to come back; nothing was changed."""
    return Refusal(503, "ServiceUnavailable", f"Try again: {why}.", {"Retry-After": str(RETRY_SECONDS)})


def _for_holder(
    conn: Connection,
    principal: Principal,
    function: Callable[Concatenate[Connection, Holder, P], T],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    return function(conn, holder_of(conn, principal), *args, **kwargs)


def holder_of(conn: Connection, principal: Principal) -> Holder:
    """The agent of an identity; 404 when it has no agent resource."""
    key = presence.key_of(conn, principal.oid)
    if key is None:
        raise ApiError(404, "AgentNotFound", "There is no agent resource for this identity.")
    return Holder(principal.oid, key, principal.name)


def _malformed(why: str) -> ApiError:
    return ApiError(400, "InvalidRequestContent", f"The message is malformed: {why}.")


def documents(body: Json, name: str, most: int) -> list[dict[str, Any]]:
    """A list of objects in a message."""
    value = body.get(name)
    if not isinstance(value, list) or len(value) > most or not all(isinstance(one, dict) for one in value):
        raise _malformed(f"'{name}' must be a list of at most {most} objects")
    return value
