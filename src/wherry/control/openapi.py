"""The whole service as one OpenAPI document, made from the routes as they are declared.

FastAPI's own is switched off in `create_app`: its page would be a route without a guard, and handlers take whole
requests, so it would know of no parameter, body or error.  What is told here comes from what is decided by: paths and
`Access` of each route, and for resources the same fields that requests are checked with (`openapi_schemas`).  A route
adds what only it knows with `openapi_extra`.  Served to anybody, since it is the same in every deployment.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from wherry import __version__
from wherry.control import openapi_schemas as schemas
from wherry.control.access import Declaration, Routes, public
from wherry.control.arm import generic
from wherry.control.guard import GuardedRoute
from wherry.control.identity.sessions import COOKIE
from wherry.control.services.types import registry, storage_mover
from wherry.control.services.types.resource_groups import GROUP
from wherry.control.services.types.schema import ResourceType

Json = dict[str, Any]

routes = Routes()

_PARAMETER = re.compile(r"\{(\w+)(?::path)?\}")
_PROVIDER = re.compile(r"/providers/(Microsoft\.\w+)")
_VERSION = r"^\d{4}-\d\d-\d\d(-preview)?$"
_VAULT_VERSION = r"^(?:(7\.\d|\d{4}-\d\d-\d\d)(-preview(\.\d)?)?)$"
_PAGES = ("control.pages.", "_pages", "identity.pages")
_SECURITY: dict[str, list[dict[str, list[str]]]] = {
    "public": [{}],
    "session": [{"session": []}],
    "bearer": [{"bearer": []}],
    "resource": [{"bearer": []}],
    "agent": [{"dpop": []}],
    "enrolment": [{"dpop": []}],
}


@routes.get("/openapi.json", public())
async def openapi_json(request: Request) -> Response:
    """The service as an OpenAPI document."""
    state = request.app.state
    if not hasattr(state, "openapi"):
        # Made once: anybody may ask, and it takes a while.
        declared = [route.declaration for route in request.app.routes if isinstance(route, GuardedRoute)]
        state.openapi = json.dumps(document(declared), separators=(",", ":"), ensure_ascii=False).encode()
    return Response(state.openapi, media_type="application/json")


def document(declared: Iterable[Declaration]) -> Json:
    """The document that tells of these routes."""
    paths: dict[str, Json] = {}
    for one in declared:
        paths.setdefault(path_of(one), {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Wherry",
            "version": __version__,
            "summary": "A self-hosted storage mover with the API of Azure Storage Mover.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": schemas.all_of_them(), "securitySchemes": _SCHEMES},
    }


def path_of(declaration: Declaration) -> str:
    """A route's path as it stands in the document."""
    return _PARAMETER.sub(r"{\1}", declaration.path)


def _operation(one: Declaration) -> Json:
    extra: Json = one.options.get("openapi_extra", {})
    told: Json = {
        "operationId": _name(one),
        "tags": [_tag(one)],
        "summary": " ".join((inspect.getdoc(one.endpoint) or _summary(one)).partition("\n\n")[0].split()),
        "parameters": [*_parameters(one), *extra.get("parameters", ())],
        "responses": _answers(one) | extra.get("responses", {}),
        "security": _SECURITY[one.access.kind],
        "x-wherry-access": one.access.kind,
    }
    if one.access.action:
        told["x-wherry-action"] = one.access.action
    body = _body(one)
    return told | ({"requestBody": body} if body else {})


def _parameters(one: Declaration) -> list[Json]:
    words = one.path.split("/")
    named = [
        {
            "name": found[1],
            "in": "path",
            "required": True,
            "description": _meaning(words, at),
            "schema": {"type": "string"},
        }
        for at, word in enumerate(words)
        if (found := _PARAMETER.fullmatch(word))
    ]
    version = _version(one)
    if version is not None:
        named.append({"name": "api-version", "in": "query", "required": True, "schema": version})
    kind, listed = _kind(one)
    if kind is not None and listed and one.method == "GET":
        named.append({"name": "$skiptoken", "in": "query", "schema": {"type": "string"}})
    if kind is not None and one.method in ("PUT", "PATCH", "DELETE"):
        named += [
            {"name": name, "in": "header", "schema": {"type": "string"}}
            for name in ("If-Match", "If-None-Match")
        ]
    return named


def _meaning(words: list[str], at: int) -> str:
    before = words[at - 1]
    if words[at] == "{scope:path}":
        return "An id of a subscription, group or resource, without the first slash; it may hold slashes."
    return f"Which of {before}." if before and "{" not in before else f"The {words[at].strip('{}')}."


def _version(one: Declaration) -> Json | None:
    """What the query parameter api-version must be; none where it is not asked for."""
    module = one.endpoint.__module__
    if module.endswith("vault.api"):
        return {"type": "string", "pattern": _VAULT_VERSION, "example": "7.6"}
    if ".control.arm." not in module:
        return None
    provider = _provider(one)
    if provider == storage_mover.PROVIDER and "/register" not in one.path:
        return {"type": "string", "enum": list(storage_mover.API_VERSIONS)}
    known = registry.PROVIDERS.get(provider, ())
    example: Json = {"example": known[0]} if known else {}
    return {"type": "string", "pattern": _VERSION} | example


def _body(one: Declaration) -> Json | None:
    if one.method not in ("PUT", "PATCH") and not (one.method == "POST" and not _without_body(one)):
        return None
    if _is_form(one):
        fields = {"schema": {"type": "object"}}
        return {"required": True, "content": {"application/x-www-form-urlencoded": fields}}
    if "/segments/" in one.path:
        return {"required": True, "content": {"application/gzip": {"schema": {}}}}
    kind, _ = _kind(one)
    schema: Json = {"type": "object"}
    if kind is not None and one.method in ("PUT", "PATCH"):
        schema = schemas.reference(kind, "Update" if one.method == "PATCH" else "Request")
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _without_body(one: Declaration) -> bool:
    last = one.path.rpartition("/")[2]
    return last in ("startJob", "stopJob", "reconcileJob", "register", "recover", "backup") or (
        last == "revokeSignInSessions"
    )


def _answers(one: Declaration) -> Json:
    error = {"description": "What went wrong.", "content": {"application/json": {"schema": _error(one)}}}
    answers: Json = {"default": error}
    kind, listed = _kind(one)
    if _is_page(one):
        page = {"description": "A page.", "content": {"text/html": {"schema": {"type": "string"}}}}
        return {"2XX": page, "303": {"description": "To another page."}} | answers
    if one.method == "HEAD":
        return {"204": {"description": "It is there."}} | answers
    if kind is None:
        return {"2XX": {"description": "Done."}} | answers
    shown = schemas.reference(kind, "List" if listed else "")
    whole = {"description": "Done.", "content": {"application/json": {"schema": shown}}}
    if one.method == "DELETE":
        done = {"200": {"description": "It is gone."}, "204": {"description": "There was nothing."}}
        if kind.slow_delete:
            done["202"] = {"description": "It is being deleted: poll Location."}
        return done | answers
    made = {"201": whole} if one.method == "PUT" else {}
    return {"200": whole} | made | answers


def _error(one: Declaration) -> Json:
    token = one.endpoint.__module__.endswith(("identity.token", "identity.device", "identity.discovery"))
    return {"$ref": f"#/components/schemas/{'TokenError' if token else 'Error'}"}


@cache
def _known() -> dict[str, tuple[ResourceType, bool]]:
    """Paths of resources and of their collections."""
    found: dict[str, tuple[ResourceType, bool]] = {
        generic.GROUP: (GROUP, False),
        generic.GROUP.rpartition("/")[0]: (GROUP, True),
    }
    for kind in registry.TYPES.values():
        if kind is not GROUP:
            found[generic.item(kind)] = (kind, False)
            found[generic.collection(kind)] = found[generic.collection(kind, generic.SUBSCRIPTION)] = (
                kind,
                True,
            )
    return found


def _kind(one: Declaration) -> tuple[ResourceType | None, bool]:
    return _known().get(one.path, (None, False))


def _provider(one: Declaration) -> str:
    found = _PROVIDER.findall(one.path)
    return found[-1] if found else ""


def _is_page(one: Declaration) -> bool:
    module = one.endpoint.__module__
    return one.access.kind == "session" or any(part in f"{module}." for part in _PAGES)


def _is_form(one: Declaration) -> bool:
    return _is_page(one) or one.endpoint.__module__.endswith(("identity.token", "identity.device"))


def _tag(one: Declaration) -> str:
    if _is_page(one):
        return "Pages"
    area = one.endpoint.__module__.split(".")[2]
    named = {"identity": "Sign-in", "directory": "Directory", "vault": "Vault", "agents": "Agents"}
    return named.get(area) or _provider(one) or ("Microsoft.Resources" if area == "arm" else "Service")


def _name(one: Declaration) -> str:
    """A name for the operation that no other one has."""
    path = one.path.removeprefix("/graph/v1.0").removeprefix("/agent/v1")
    head, between, tail = path.rpartition("/providers/")
    where = ""
    if between and "{" not in tail.partition("/")[0]:
        where = (
            "at_scope" if "{scope" in head else ("in_subscription" if head == generic.SUBSCRIPTION else "")
        )
        path = tail
    words = [
        "by_" + word.strip("{}").replace(":path", "") if "{" in word else word for word in path.split("/")
    ]
    area = one.endpoint.__module__.split(".")[2] if one.endpoint.__module__.count(".") > 2 else "service"
    parts = [area, one.method.lower(), *words, where, "latest" if path.endswith("/") else ""]
    return re.sub(r"\W+", "_", "_".join(part for part in parts if part)).strip("_")


def _summary(one: Declaration) -> str:
    kind, listed = _kind(one)
    if kind is None:
        return f"{one.path.rpartition('/')[2].capitalize()} {_provider(one)}."
    verb = {"PUT": "Makes or replaces", "GET": "Shows", "PATCH": "Changes", "DELETE": "Deletes"}[one.method]
    return f"Lists {kind.full}." if listed else f"{verb} a resource of type {kind.full}."


_SCHEMES: Json = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "dpop": {
        "type": "http",
        "scheme": "dpop",
        "description": "RFC 9449: a token that is bound to the agent's key, and a proof of that key in DPoP.",
    },
    "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
}
