"""What the identity endpoints share: Entra's error bodies, forms, tenants in paths, scopes to audiences."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wherry.control.plane import Plane
from wherry.model.errors import WherryError
from wherry.trust.principals import ENROL_SCOPE

TENANT_ALIASES = frozenset({"organizations", "common", "adfs"})
OIDC_SCOPES = frozenset({"openid", "profile", "email", "offline_access"})

_MAX_FIELDS = 64


class TokenError(WherryError):
    """An error of the token authority: OAuth's word, Entra's number, a sentence, and headers for the answer."""

    def __init__(
        self,
        error: str,
        number: int,
        description: str,
        status: int = 400,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(description)
        self.error = error
        self.number = number
        self.status = status
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True)
class Scope:
    """A parsed `scope`: the audience, the scope within it, and whether id and refresh tokens are wanted."""

    asked: str
    audience: str
    name: str
    openid: bool
    offline: bool

    @property
    def enrolment(self) -> bool:
        return self.name == ENROL_SCOPE


async def token_error(request: Request, error: Exception) -> Response:
    """The answer for a `TokenError`; registered by `create_app`."""
    assert isinstance(error, TokenError)  # noqa: S101 - registered for it
    trace, correlation = str(uuid.uuid4()), str(request.state.correlation_id)
    stamp = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%SZ}"
    description = (
        f"AADSTS{error.number}: {error} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {stamp}"
    )
    body: dict[str, Any] = {
        "error": error.error,
        "error_description": description,
        "error_codes": [error.number],
        "timestamp": stamp,
        "trace_id": trace,
        "correlation_id": correlation,
        "error_uri": "",
    }
    return JSONResponse(body, error.status, headers=error.headers)


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form; no files, no field twice.  Unknown fields are left to be ignored: clients send many."""
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise TokenError("invalid_request", 900144, "The request body must be an URL-encoded form.")
    sent = await request.form(max_files=0, max_fields=_MAX_FIELDS)
    fields: dict[str, str] = {}
    for name, value in sent.multi_items():
        if isinstance(value, UploadFile) or name in fields:
            raise TokenError(
                "invalid_request", 90014, f"The request body names '{name[:40]}' more than once."
            )
        fields[name] = value
    return fields


def required(fields: Mapping[str, str], name: str) -> str:
    """A field that has to be there."""
    value = fields.get(name, "").strip()
    if not value:
        raise TokenError(
            "invalid_request", 900144, f"The request body must contain the following parameter: '{name}'."
        )
    return value


def tenant_of(plane: Plane, segment: str) -> str:
    """The tenant that a path names: its GUID or an alias; there is one."""
    if segment.lower() in TENANT_ALIASES or segment.lower() == plane.tenant:
        return plane.tenant
    raise TokenError(
        "invalid_tenant",
        90002,
        f"Tenant '{segment[:64]}' not found. Check the tenant id, or use 'organizations'.",
    )


def scope_of(plane: Plane, text: str) -> Scope:
    """Parse `scope`.  `{resource}/.default` keeps a slash that belongs to the resource, as `az` asks for it."""
    words = text.split()
    resources = [word for word in words if word not in OIDC_SCOPES]
    if len(resources) > 1:
        raise TokenError("invalid_scope", 28000, "The scope names more than one resource.")
    audience, name = (plane.public_url, ".default") if not resources else _split(resources[0])
    if name == ENROL_SCOPE:
        known = plane.arm_audiences
    else:
        known = plane.graph_audiences | plane.vault_audiences | {plane.agent_audience}
    if audience.removesuffix("/") not in known:
        raise TokenError(
            "invalid_resource",
            500011,
            f"The resource principal named {audience[:128]} was not found in the tenant.",
        )
    return Scope(text, audience, name, "openid" in words, "offline_access" in words)


def _split(scope: str) -> tuple[str, str]:
    audience, slash, name = scope.rpartition("/")
    if not slash or not audience or "://" not in audience:
        raise TokenError(
            "invalid_scope",
            70011,
            f"The provided value for the input parameter 'scope' is not valid: {scope[:128]}.",
        )
    return audience, name
