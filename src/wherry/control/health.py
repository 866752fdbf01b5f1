"""Whether the control plane works, and the certificate to pin: what anybody may ask."""

from __future__ import annotations

from sqlalchemy import Connection, text
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from wherry import __version__
from wherry.control.access import Routes, public
from wherry.control.plane import plane

routes = Routes()


@routes.get("/healthz", public())
async def healthz(request: Request) -> Response:
    """200 when the database answers."""
    await plane(request).database.read(_touch)
    return JSONResponse({"status": "ok", "version": __version__})


@routes.get("/ca.pem", public())
async def ca_certificate(request: Request) -> Response:
    """The CA's certificate: an agent that was given its fingerprint fetches it here, compares and pins it."""
    return PlainTextResponse(plane(request).ca_pem, media_type="application/x-pem-file")


def _touch(conn: Connection) -> None:
    conn.execute(text("SELECT 1"))
