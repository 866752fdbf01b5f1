"""Where everything is: OpenID discovery, the key set, and the document that `az cloud register` reads."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wherry.control.access import Routes, public
from wherry.control.identity.oauth import tenant_of
from wherry.control.plane import Plane, plane

routes = Routes()


@routes.get("/{tenant}/v2.0/.well-known/openid-configuration", public())
async def configuration(request: Request, tenant: str) -> Response:
    """The discovery document, for a tenant or an alias of it."""
    service = plane(request)
    tenant_of(service, tenant)
    # `organizations` names the endpoints of `organizations`, as Entra does: clients cache by this segment.
    return JSONResponse(
        _document(service, f"{service.public_url}/{tenant}", "/oauth2/v2.0", "/discovery/v2.0/keys")
    )


@routes.get("/adfs/.well-known/openid-configuration", public())
async def adfs_configuration(request: Request) -> Response:
    """The same under the tenant name at which clients skip instance discovery without a switch."""
    service = plane(request)
    return JSONResponse(_document(service, f"{service.public_url}/adfs", "/oauth2", "/discovery/keys"))


@routes.get("/{tenant}/discovery/v2.0/keys", public())
@routes.get("/{tenant}/discovery/keys", public())
async def keys(request: Request, tenant: str) -> Response:
    """The public keys that verify tokens, those of the next period too."""
    tenant_of(plane(request), tenant)
    return JSONResponse((await plane(request).ring()).jwks(), headers={"cache-control": "max-age=3600"})


@routes.get("/metadata/endpoints", public())
async def endpoints(request: Request) -> Response:
    """What `az` calls a cloud: for `az cloud register` and Terraform's `metadata_host`."""
    service = plane(request)
    url = service.public_url
    return JSONResponse(
        {
            "name": "Wherry",
            "portal": url,
            "authentication": {
                "loginEndpoint": url,
                "audiences": [url],
                "tenant": service.tenant,
                "identityProvider": "AAD",
            },
            "graphAudience": service.graph_audience,
            "graph": service.graph_audience,
            "microsoftGraphResourceId": service.graph_audience,
            "resourceManager": url,
            "media": "",
            "batch": "",
            "suffixes": {"storage": "", "keyVaultDns": f".{service.vault_domain}"},
            "wherry": {"agentAudience": service.agent_audience, "issuer": service.issuer},
        }
    )


def _document(service: Plane, base: str, oauth: str, key_set: str) -> dict[str, Any]:
    return {
        "issuer": service.issuer,
        "authorization_endpoint": f"{base}{oauth}/authorize",
        "token_endpoint": f"{base}{oauth}/token",
        "device_authorization_endpoint": f"{base}{oauth}/devicecode",
        "jwks_uri": f"{base}{key_set}",
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "grant_types_supported": [
            "urn:ietf:params:oauth:grant-type:device_code",
            "refresh_token",
            "client_credentials",
        ],
        "token_endpoint_auth_methods_supported": [
            "none",
            "private_key_jwt",
            "client_secret_post",
            "client_secret_basic",
        ],
        "token_endpoint_auth_signing_alg_values_supported": ["ES256", "RS256", "PS256"],
        "dpop_signing_alg_values_supported": ["ES256", "RS256"],
        "authorization_details_types_supported": ["storagemover_agent"],
        "claims_supported": ["sub", "iss", "aud", "exp", "iat", "oid", "tid", "preferred_username", "name"],
        "tenant_region_scope": None,
        "cloud_instance_name": service.host,
    }
