"""The two sides of a run: from an endpoint to the place that an agent opens, and to how the broker opens it.

`Opening` is frozen into the run, so that access is taken back where it was given, whatever becomes of the endpoint.  It
holds addresses and names of secrets, never a secret.  Called by `services.runs` at a start.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from sqlalchemy import Connection

from wherry.control.services import claims, resource_store
from wherry.control.services.resource_store import Json, Resource
from wherry.model import drivers, names
from wherry.model.errors import ApiError, UsageError
from wherry.model.wire import Place

ENDPOINT = "microsoft.storagemover/storagemovers/endpoints"
BLOB, BUCKET, SHARE = "AzureStorageBlobContainer", "S3WithHMAC", "SmbMount"
_CONTAINERS = "blobServices/default/containers"


@dataclass(frozen=True, slots=True)
class Opening:
    """What a driver needs to open a place; `place` is its URL."""

    driver: str
    place: str
    told: Json

    def to_json(self) -> Json:
        return {"driver": self.driver, "place": self.place, "told": self.told}


@dataclass(frozen=True, slots=True)
class Side:
    """An endpoint of a job with its place; `scope` is where rights on it are given."""

    endpoint: Resource
    place: Place
    scope: str
    opening: Opening | None = None


def side(conn: Connection, job: Resource, mover: str, which: str) -> Side:
    """The `source` or `target` of a job; 400 for one that is not there."""
    name = job.properties[f"{which}Name"]
    endpoint = resource_store.find(conn, f"{mover}/endpoints/{name}", ENDPOINT)
    if endpoint is None:
        raise ApiError(
            400,
            "EndpointNotFound",
            f"There is no endpoint '{name}' in this mover.",
            f"properties.{which}Name",
        )
    try:
        subpath = names.clean_subpath(job.properties.get(f"{which}Subpath") or "")
    except UsageError as refused:
        raise ApiError(400, "InvalidSubpath", str(refused), f"properties.{which}Subpath") from refused
    kind = endpoint.properties["endpointType"]
    if kind == claims.LOCAL:
        return Side(endpoint, Place(kind, endpoint.properties["path"], subpath), endpoint.id)
    if kind == BUCKET:
        return _bucket(endpoint, subpath)
    found = _container(conn, endpoint)
    if found is None:
        account = endpoint.properties["storageAccountResourceId"]
        message = f"The storage account '{account}' of endpoint '{name}' is not registered."
        raise ApiError(400, "StorageAccountNotFound", message, f"properties.{which}Name")
    opening, scope = found
    return Side(endpoint, Place(kind, opening.place, subpath), scope, opening)


def opening_of(conn: Connection, endpoint: Resource) -> Opening | None:
    """How an endpoint is opened now; None for a folder, and for what is not registered."""
    kind = endpoint.properties["endpointType"]
    if kind == BLOB:
        found = _container(conn, endpoint)
        return None if found is None else found[0]
    if kind == SHARE:
        return _share(endpoint)
    return _bucket(endpoint, b"").opening if kind == BUCKET else None


def _container(conn: Connection, endpoint: Resource) -> tuple[Opening, str] | None:
    told = endpoint.properties
    account = resource_store.find(conn, told["storageAccountResourceId"])
    if account is None:
        return None
    back_end, container = account.properties["wherry"], told["blobContainerName"]
    facts = {
        "accountKey": account.key, "endpoint": back_end["blobEndpoint"], "account": back_end["accountName"],
        "container": container, "subject": f"wherry:{account.key}",
    }  # fmt: skip
    driver = drivers.BLOB_SAS
    if "federation" in back_end:
        driver, facts = drivers.BLOB_TOKEN, facts | {"federation": back_end["federation"]}
    opening = Opening(driver.name, f"{back_end['blobEndpoint']}/{container}", facts)
    return opening, f"{account.id}/{_CONTAINERS}/{container}"


def _bucket(endpoint: Resource, subpath: bytes) -> Side:
    """`sourceUri` is the bucket's in path style, with a folder in it that belongs to the endpoint."""
    told, ours = endpoint.properties, endpoint.properties.get("wherry", {})
    parts = urlsplit(told["sourceUri"])
    bucket, _, folder = parts.path.strip("/").partition("/")
    origin = f"{parts.scheme}://{parts.netloc}"
    facts = {
        "endpoint": origin, "bucket": bucket, "region": ours.get("region", ""),
        "subject": f"wherry:{endpoint.key}",
        "author": endpoint.state.get("credentialsSetBy", ""),
        **{name: told.get("credentials", {}).get(name, "") for name in ("accessKeyUri", "secretKeyUri")},
        **{name: ours[name] for name in ("roleArn", "stsEndpoint", "audience") if name in ours},
        "ca": ours.get("caCertificate", ""),
        "iamEndpoint": ours.get("iamEndpoint", _iam(origin, parts.hostname or "")),
    }  # fmt: skip
    place = f"{origin}/{bucket}"
    below = names.join(names.clean_subpath(folder), subpath)
    opening = Opening(ours.get("credentialDriver", drivers.S3_USER.name), place, facts)
    return Side(endpoint, Place(BUCKET, place, below), endpoint.id, opening)


def _share(endpoint: Resource) -> Opening:
    told, ours = endpoint.properties, endpoint.properties.get("wherry", {})
    facts = {
        "host": told["host"], "share": told["shareName"], "author": endpoint.state.get("credentialsSetBy", ""),
        **{name: told.get("credentials", {}).get(name, "") for name in ("usernameUri", "passwordUri")},
    }  # fmt: skip
    driver = ours.get("credentialDriver", drivers.SMB_SECRET.name)
    return Opening(driver, f"smb://{told['host']}/{told['shareName']}", facts)


def _iam(origin: str, host: str) -> str:
    """Amazon has a host of its own for users, which its client knows; others serve all at one."""
    return "" if host.endswith((".amazonaws.com", ".amazonaws.com.cn")) else origin
