"""The device authorization endpoint: a device asks for a code that a person will approve elsewhere.

Any known client may ask for a person's sign-in.  An agent asks under its own client id for one registration: it says
which, proves its key (DPoP), and gets a number to show beside the code.
"""

from __future__ import annotations

import json

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wherry.control import authentication, networks
from wherry.control.access import Routes, public
from wherry.control.identity.oauth import Scope, TokenError, form_of, required, scope_of, tenant_of
from wherry.control.plane import Plane, plane, source
from wherry.control.refusals import Refusal
from wherry.control.services import agent_versions, device_codes, private_links
from wherry.control.services.device_codes import Codes
from wherry.model.errors import ApiError
from wherry.trust import clients, device_flow
from wherry.trust.device_flow import DeviceGrant
from wherry.trust.enrolment import AGENT_CLIENT_ID, EnrolmentRequest
from wherry.trust.proofs import Proof

routes = Routes()


@routes.post("/{tenant}/oauth2/v2.0/devicecode", public())
@routes.post("/{tenant}/oauth2/devicecode", public())
async def device_code(request: Request, tenant: str) -> Response:
    """RFC 8628 §3.1, with Entra's `message`."""
    service = plane(request)
    fields = await form_of(request)
    client_id = required(fields, "client_id").lower()
    if client_id not in clients.NAMES:
        raise TokenError(
            "unauthorized_client", 700016, f"Application with identifier '{client_id[:64]}' was not found."
        )
    # The v1 path of older clients names the resource instead of a scope.
    scope = scope_of(
        service, fields.get("scope") or f"{fields.get('resource', service.public_url)}/.default openid"
    )
    _refuse_from_afar(request, service, client_id)
    key, asked = _enrolment(request, service, client_id, scope, fields)
    if asked is not None and asked.private_link_scope:
        await _check_scope(request, service, asked.private_link_scope)
    grant = device_flow.begin(
        client_id=client_id,
        tenant=tenant_of(service, tenant),
        scope=scope.asked,
        source=source(request),
        now=service.clock(),
        jkt=key.jkt if key else None,
        details=(asked.details(),) if asked else (),
    )
    codes = await service.database.write(device_codes.start, service.master, grant, service.clock())
    if codes is None:
        raise TokenError(
            "temporarily_unavailable",
            50196,
            "Too many device codes are waiting. Try again in a minute.",
            429,
            {"Retry-After": "60"},
        )
    return JSONResponse(_answer(service, grant, codes))


def _refuse_from_afar(request: Request, service: Plane, client_id: str) -> None:
    """Whoever begins this flow gets what another person approves, from any place: so it is begun nearby, or nowhere.

    Agents are not concerned: what they can get is one registration, bound to their key.
    """
    allowed = service.settings.device_flow_networks
    if client_id == AGENT_CLIENT_ID or networks.contains(allowed, source(request)):
        return
    raise TokenError(
        "access_denied",
        530036,
        f"Signing in by device code is not allowed from {source(request) or 'this address'}. Sign in from a private "
        "network, or as a program with a secret or certificate; or let the operator of the control plane allow this "
        "network: wherry serve --device-flow-networks, or the setting device_flow_networks.",
        403,
    )


def _enrolment(
    request: Request, service: Plane, client_id: str, scope: Scope, fields: dict[str, str]
) -> tuple[Proof | None, EnrolmentRequest | None]:
    if scope.enrolment != (client_id == AGENT_CLIENT_ID):
        raise TokenError("invalid_scope", 65002, "This client may not ask for this scope.")
    if not scope.enrolment:
        return None, None
    proof = proof_of(request, service)
    if proof is None:
        raise TokenError("invalid_dpop_proof", 9009, "An agent asks with a proof of its key (DPoP header).")
    try:
        asked = EnrolmentRequest.parse(json.loads(required(fields, "authorization_details")))
    except (ValueError, RecursionError) as broken:
        raise TokenError(
            "invalid_authorization_details", 9010, "authorization_details is not JSON."
        ) from broken
    except ApiError as broken:
        raise TokenError("invalid_authorization_details", 9010, broken.message) from broken
    _check_version(service, asked.agent_version)
    return proof, asked


def _check_version(service: Plane, version: str) -> None:
    """An agent that would be refused is told before a person is asked."""
    try:
        agent_versions.refuse_unsupported(agent_versions.notice_for(service.state, version))
    except ApiError as refused:
        raise TokenError(refused.code, 530036, refused.message) from refused


async def _check_scope(request: Request, service: Plane, scope: str) -> None:
    """An agent that is to come by private networks only begins there too."""
    try:
        await service.database.read(private_links.require, scope, source(request))
    except ApiError as refused:
        raise TokenError("access_denied", 530036, refused.message, refused.status) from refused


def proof_of(request: Request, service: Plane) -> Proof | None:
    """The verified proof that a request carries; None when it carries none, `TokenError` for a bad one."""
    sent = request.headers.getlist("dpop")
    if not sent:
        return None
    if len(sent) > 1:
        raise TokenError("invalid_dpop_proof", 9009, "One proof is expected.")
    try:
        return authentication.verify_proof(service, request, sent[0])
    except Refusal as refused:
        nonce = {"DPoP-Nonce": refused.headers["DPoP-Nonce"]}
        raise TokenError(refused.code, 9009, refused.message, headers=nonce) from refused


def _answer(service: Plane, grant: DeviceGrant, codes: Codes) -> dict[str, object]:
    page = f"{service.public_url}/device"
    return {
        "user_code": codes.user,
        "device_code": codes.device,
        "verification_uri": page,
        "expires_in": int(grant.expires_at - grant.created_at),
        "interval": int(grant.interval),
        "message": f"To sign in, use a web browser to open the page {page} and enter the code {codes.user} "
        "to authenticate.",
        **({"match": grant.match} if grant.match else {}),
    }
