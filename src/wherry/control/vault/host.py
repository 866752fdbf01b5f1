"""Which vault a request is for: the host that it was sent to says so.

`https://NAME.vault.HOST` is the vault NAME; the control plane's own address is the vault called `default`, for where
names below it cannot be resolved.  Tokens are for `https://vault.HOST`, which Azure's client insists is the domain
that the vault lies in.
"""

from __future__ import annotations

import ipaddress

from starlette.requests import Request

from wherry.control.plane import Plane, plane
from wherry.control.services import vault_secrets
from wherry.model.errors import ApiError

DEFAULT = "default"


def is_named(service: Plane) -> bool:
    """Whether hosts can lie below this control plane's: it goes by a name, not by an address."""
    try:
        ipaddress.ip_address(service.host)
    except ValueError:
        return True
    return False


def uri_of(service: Plane, name: str) -> str:
    """The address of a vault, without a trailing slash."""
    if name.lower() == DEFAULT:
        return service.public_url
    return f"https://{name.lower()}.{service.vault_domain}"


def name_of(service: Plane, host: str) -> str:
    """The name of the vault that a request to `host` is for; 404 for a host that is none of ours."""
    told = host.lower()
    name, dot, domain = told.partition(".")
    if dot and domain == service.vault_domain and name:
        return name
    if f"https://{told}" in service.origins:
        return DEFAULT
    raise ApiError(404, "VaultNotFound", "This host is no vault.")


def ours(service: Plane, host: str) -> str | None:
    """The vault of ours that `host` is, whether it is there or not; None for a host that is none of ours."""
    try:
        return name_of(service, host)
    except ApiError:
        return None


async def scope(request: Request) -> str:
    """The scope that a request is about: the secret that its path names, else the vault."""
    service = plane(request)
    name = name_of(service, request.headers.get("host", ""))
    vault_id = await service.database.read(vault_secrets.find_vault, name)
    if vault_id is None:
        raise ApiError(404, "VaultNotFound", f"There is no vault '{name}'. Make it: wherry vault create.")
    request.state.vault = (vault_id, uri_of(service, name))
    secret = request.path_params.get("secret")
    return f"{vault_id}/secrets/{secret}" if secret else vault_id


def decided(request: Request) -> tuple[str, str]:
    """Id and address of the vault that the guard decided about."""
    found: tuple[str, str] = request.state.vault
    return found
