"""Break-glass: approving a device code from the control plane's own host, as the first administrator.

A Unix socket in the state directory (0600), answered only to the user who runs the service and to root, as the kernel
tells it; each use is in the audit trail by name.  `approve` is the client, called by `wherry device approve`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from wherry.control import audit
from wherry.control.audit import Record
from wherry.control.db.tables_identity import meta
from wherry.control.plane import Plane
from wherry.control.services import device_codes
from wherry.model.errors import ApiError, UsageError, WherryError
from wherry.trust.enrolment import key_words

NAME = "admin.sock"
_MAX_LINE = 4096
_SECONDS = 30.0


@asynccontextmanager
async def listening(plane: Plane, state: Path) -> AsyncIterator[None]:
    """Answer on the socket in `state` while the block runs; it is gone afterwards."""
    listener = _bind(state)
    server = await asyncio.start_unix_server(
        lambda reader, writer: _serve(plane, reader, writer), sock=listener, limit=_MAX_LINE
    )
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()
        remove(state)


def remove(state: Path) -> None:
    """Take the socket away: at the end, and when break-glass is off."""
    with contextlib.suppress(FileNotFoundError):
        (state / NAME).unlink()


def approve(state: Path, code: str) -> dict[str, str]:
    """Approve the device code `code` at the control plane that serves `state`; answers what was approved.

    Raises `UsageError` when none listens there or it refuses this user, `ApiError` with the service's words otherwise.
    """
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_SECONDS)
        try:
            with _short_path(state) as path:
                client.connect(path)
            client.sendall(json.dumps({"approve": code}).encode() + b"\n")
            with client.makefile("rb") as lines:
                answer = json.loads(lines.readline(_MAX_LINE) or b"{}")
        except FileNotFoundError:
            raise UsageError(
                f"There is no {NAME} in {state}. Is `wherry serve --state {state}` running, with break-glass on?"
            ) from None
        except (OSError, ValueError) as trouble:
            raise UsageError(
                f"The control plane of {state} does not answer on {NAME}: {trouble}."
            ) from trouble
    if "error" in answer:
        error = answer["error"]
        raise ApiError(int(error["status"]), str(error["code"]), str(error["message"]))
    return {str(name): str(value) for name, value in answer.items()}


def _bind(state: Path) -> socket.socket:
    remove(state)
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        with _short_path(state) as path:
            listener.bind(path)
    except BaseException:
        listener.close()
        raise
    finally:
        os.umask(before)
    listener.listen(8)
    return listener


@contextlib.contextmanager
def _short_path(state: Path) -> Any:
    # A socket's path has at most 107 bytes; through a descriptor of its directory it is always short enough.
    handle = os.open(state, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{handle}/{NAME}"
    finally:
        os.close(handle)


async def _serve(plane: Plane, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        async with asyncio.timeout(_SECONDS):
            line = await reader.readline()
            answer = await _answer(plane, writer, line)
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
    except (TimeoutError, OSError):
        pass
    finally:
        writer.close()


async def _answer(plane: Plane, writer: asyncio.StreamWriter, line: bytes) -> dict[str, Any]:
    try:
        uid = _peer(writer.get_extra_info("socket"))
        if uid not in (os.geteuid(), 0):
            raise ApiError(
                403, "AuthorizationFailed", "Only the user who runs the control plane, and root, may do this."
            )
        return await plane.database.write(_approve, plane, _code(line), uid)
    except ApiError as refused:
        return {"error": {"status": refused.status, "code": refused.code, "message": refused.message}}
    except WherryError as refused:
        return {"error": {"status": 400, "code": "BadRequest", "message": str(refused)}}


def _code(line: bytes) -> str:
    try:
        asked = json.loads(line)
        return str(asked["approve"])[:32]
    except (ValueError, KeyError, TypeError) as broken:
        raise ApiError(400, "BadRequest", "The request is malformed.") from broken


def _peer(connection: socket.socket) -> int:
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, _gid = struct.unpack("3i", raw)
    return int(uid)


def _approve(conn: Connection, plane: Plane, code: str, uid: int) -> dict[str, Any]:
    now = plane.clock()
    oid = conn.execute(select(meta.c.value).where(meta.c.key == "first_administrator")).scalar_one()
    owners = plane.settings.register_needs_owner
    grant = device_codes.approve(conn, plane.master, code, oid, now, owners=owners)
    record = Record(
        "",
        "allowed",
        actor=oid,
        actor_kind="user",
        actor_name="break-glass",
        reason=f"break-glass by uid {uid}",
    )
    audit.append(conn, audit.about_device(record, grant), now)
    if grant.state != "approved":
        return {
            "error": {
                "status": 403,
                "code": "AuthorizationFailed",
                "message": "The first administrator may not do this any more: the right was taken away.",
            }
        }
    detail = grant.details[0] if grant.details else {}
    return {
        "state": grant.state,
        "client": grant.client_id,
        "source": grant.source,
        "agent": str(detail.get("agentName", "")),
        "mover": str(detail.get("mover", "")),
        "words": key_words(grant.jkt) if grant.jkt else "",
    }
