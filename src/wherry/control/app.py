"""The application: declared routes behind their guards, errors in ARM's shape, background duties.

`create_app` is called by `serve` and by tests; it fails when a route has no `Access` or two routes claim one place.
A new area of the API adds its `Routes`, and what runs beside them, to `areas`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wherry.control.access import Routes
from wherry.control.areas import AREAS, CONTEXTS
from wherry.control.guard import GuardedRoute
from wherry.control.identity.oauth import TokenError, token_error
from wherry.control.middleware import Door, error_body, stamp
from wherry.control.plane import Plane
from wherry.control.pulse import area_of
from wherry.control.refusals import Refusal
from wherry.model.errors import ApiError

log = logging.getLogger("wherry.control")

_WORDS = {
    404: "NotFound",
    405: "MethodNotAllowed",
    413: "RequestContentTooLarge",
    415: "UnsupportedMediaType",
}


def create_app(plane: Plane, areas: Iterable[Routes] = AREAS) -> FastAPI:
    """The ASGI application of a control plane."""
    # The service's own document is `openapi`: FastAPI's would be a route without a guard.
    app = FastAPI(title="Wherry", docs_url=None, redoc_url=None, openapi_url=None, lifespan=_lifespan)
    app.state.plane = plane
    app.router.redirect_slashes = False
    taken: set[tuple[str, str]] = set()
    for area in areas:
        for declaration in area.declared:
            place = (declaration.method, declaration.path.lower())
            if place in taken:
                raise ValueError(f"two routes for {declaration.method} {declaration.path}")
            taken.add(place)
            app.router.routes.append(GuardedRoute(declaration, dependency_overrides_provider=app))
    unguarded = [route for route in app.router.routes if not isinstance(route, GuardedRoute)]
    if unguarded:
        raise ValueError(f"routes without access: {unguarded}")
    app.add_middleware(Door)
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(TokenError, token_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(OperationalError, _no_database)
    app.add_exception_handler(Exception, _unexpected)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    plane: Plane = app.state.plane
    async with AsyncExitStack() as stack:
        for context in CONTEXTS:
            await stack.enter_async_context(context(plane))
        yield
        plane.stopping.set()


async def _api_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)  # noqa: S101 - registered for it
    headers = error.headers if isinstance(error, Refusal) else None
    return JSONResponse(error_body(error.code, error.message, error.target), error.status, headers=headers)


async def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body")
    text = f"The request content was invalid: {place}: {first['msg']}." if place else f"{first['msg']}."
    return JSONResponse(error_body("InvalidRequestContent", text, place or None), 400)


async def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    code = _WORDS.get(error.status_code, "BadRequest")
    return JSONResponse(error_body(code, str(error.detail)), error.status_code, headers=error.headers)


async def _no_database(_request: Request, error: Exception) -> Response:
    """A full disk, a database that is locked or away: nothing was changed, and trying again is right."""
    assert isinstance(error, OperationalError)  # noqa: S101 - registered for it
    log.error("the database cannot be used", extra={"reason": str(error.orig)})
    body = error_body("ServiceUnavailable", "The service's database cannot be used now. Try again later.")
    return JSONResponse(body, 503, headers={"Retry-After": "5"})


async def _unexpected(request: Request, error: Exception) -> Response:
    state = request.scope.get("state", {})
    log.error("unexpected error", exc_info=error, extra={"request_id": state.get("request_id", "")})
    body = error_body(
        "InternalServerError", "An unexpected error occurred. The service's log has the details."
    )
    response = JSONResponse(body, 500)
    stamp(response.headers, Headers(scope=request.scope), state)
    service: Plane = request.app.state.plane
    service.pulse.answered(area_of(request.scope.get("route")), response.status_code)
    return response
