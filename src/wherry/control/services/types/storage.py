"""Microsoft.Storage: registrations of real storage back ends, and of the containers in them.

An account's `properties.wherry` names the Blob endpoint and the account that requests are signed as; its key
goes to the vault (`services.accounts`) and is in no answer.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import socket
from urllib.parse import urlsplit

from sqlalchemy import Connection

from wherry.control.caller import Caller
from wherry.control.services import run_view, vault
from wherry.control.services.draft import Draft
from wherry.control.services.resource_store import Json, Resource
from wherry.control.services.types.schema import Field, ResourceType, Rules, invalid
from wherry.model import ids
from wherry.model.errors import ApiError

PROVIDER = "Microsoft.Storage"
API_VERSIONS = ("2025-08-01", "2025-06-01", "2024-01-01", "2023-05-01", "2023-01-01", "2022-09-01")


Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_PLAIN = re.compile(r"https?://[A-Za-z0-9._:\[\]-]+(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/*", re.IGNORECASE)
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
_METADATA = frozenset(
    ipaddress.ip_address(one) for one in ("fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192")
)
"""Where clouds tell machines their secrets, beside the link-local addresses."""


def blob_endpoint(value: str, target: str) -> str:
    """The URL of a Blob service: https, or http to this machine; never to an address of cloud metadata."""
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname or "", parts.port
    except ValueError as broken:
        raise invalid(target, "The URL of a Blob service is expected.") from broken
    if parts.scheme not in ("http", "https") or not host or not value.isascii() or not value.isprintable():
        raise invalid(
            target, "The URL of a Blob service is expected, such as https://account.blob.example.net."
        )
    if not _PLAIN.fullmatch(value) or parts.username is not None:
        raise invalid(target, "The URL must hold neither credentials, nor a query, nor anything encoded.")
    address = _address(host.rstrip("."))
    if address is not None and _is_never_storage(address):
        raise invalid(target, f"{host} is not the address of a storage service.")
    if parts.scheme == "http" and host != "localhost" and not (address is not None and address.is_loopback):
        raise invalid(
            target, "Use https; http is only for a service on this machine (127.0.0.1, ::1, localhost)."
        )
    return value.rstrip("/")


def _address(host: str) -> Address | None:
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        try:
            # Reads what resolvers read: 2852039166, 0xA9FEA9FE, 169.254.43518.
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except OSError:
            return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


def _is_never_storage(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        # IPv4 in another dress: 6to4, translated (RFC 6052), compatible.
        inner = address.sixtofour
        if address in _TRANSLATED or 1 < int(address) < 2**32:
            inner = ipaddress.IPv4Address(int(address) & (2**32 - 1))
        if inner is not None:
            return _is_never_storage(inner)
    return address.is_link_local or address.is_multicast or address.is_unspecified or address in _METADATA


def account_key(value: str, target: str) -> str:
    """The key of a storage account, in base64."""
    try:
        if len(base64.b64decode(value, validate=True)) >= 16:
            return value
    except (binascii.Error, ValueError):
        pass
    raise invalid(target, "An account key is expected: at least 16 bytes in base64.")


KEY = "accountKey"


def prepare_account(conn: Connection, draft: Draft) -> None:
    """A back end needs its key; another address or name needs the key again, so that none is used elsewhere."""
    told = draft.properties["wherry"]
    given = told.pop(KEY, None)
    name = draft.id.rpartition("/")[2]
    told.setdefault("accountName", name)
    old = draft.old.properties["wherry"] if draft.old is not None else None
    if given is None and old != told:
        message = "The key of the account is required when the endpoint is registered or changed."
        raise invalid(f"properties.wherry.{KEY}", message, "MissingProperty")
    if draft.old is not None and old != told:
        _refuse_in_use(conn, draft.old, draft.caller)
    draft.secret = given


def release_account(conn: Connection, account: Resource, caller: Caller, _root: Resource) -> None:
    """The key goes with the registration, but not while it is needed to take access back."""
    _refuse_in_use(conn, account, caller)
    vault.delete_secret(conn, account.key)


def release_container(conn: Connection, container: Resource, caller: Caller, _root: Resource) -> None:
    """A container that a run writes into stays registered until the run ends."""
    _refuse_in_use(conn, container, caller)


def _refuse_in_use(conn: Connection, found: Resource, caller: Caller) -> None:
    run = run_view.run_into(conn, found.key, caller.now)
    if run is not None:
        message = f"The job run '{run}' has access to it. Stop the run or wait for its end, then try again."
        raise ApiError(409, "StorageAccountInUse", message)


def view_account(_conn: Connection, account: Resource, properties: Json) -> None:
    """Where Azure's clients look for the address."""
    properties["primaryEndpoints"] = {"blob": account.properties["wherry"]["blobEndpoint"] + "/"}


ACCOUNT = ResourceType(
    PROVIDER,
    ("storageAccounts",),
    (
        Field(
            "wherry",
            "object",
            required=True,
            fields=(
                Field("blobEndpoint", required=True, longest=2048, check=blob_endpoint),
                Field("accountName", pattern=ids.ACCOUNT_NAME),
                Field(KEY, longest=512, check=account_key),
            ),
        ),
    ),
    name=ids.ACCOUNT_NAME,
    tracked=True,
    rules=Rules(prepare=prepare_account, release=release_account, view=view_account),
)

CONTAINER = ResourceType(
    PROVIDER,
    ("storageAccounts", "blobServices=default", "containers"),
    name=ids.CONTAINER_NAME,
    verbs=frozenset({"put", "get", "delete", "list"}),
    rules=Rules(release=release_container),
)

TYPES = (ACCOUNT, CONTAINER)
