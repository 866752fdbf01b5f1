"""The places of `wherry copy`: what SRC and DST mean, with secrets out of the environment.

folder                       of this machine
blob:URL[/PREFIX]            a container of Azure Blob Storage; on hosts without a domain the account comes first
s3:BUCKET[/PREFIX]           a bucket at AWS_ENDPOINT_URL_S3, else at Amazon's
s3:URL/BUCKET[/PREFIX]       a bucket at this endpoint
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import unquote, urlsplit

from wherry.model import names
from wherry.model.errors import RunError, UsageError
from wherry.stores.port import StoreSpec

SAS = "WHERRY_BLOB_SAS"
CA_FILE = "WHERRY_BLOB_CA_FILE"
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def place(text: str, environ: Mapping[str, str] = os.environ) -> StoreSpec:
    """A place of the command line as the engine opens it."""
    if not text:
        raise UsageError("An empty word is no place; has a variable no value?")
    kind, colon, rest = text.partition(":")
    if colon and kind == "blob":
        return _blob(rest, environ)
    if colon and kind == "s3":
        return _bucket(rest, environ)
    if colon and kind in ("http", "https"):
        raise UsageError(f"Say what is at the URL: blob:{kind}:… for a container, s3:{kind}:… for a bucket.")
    return StoreSpec("posix", os.path.abspath(text))


def check_apart(source: StoreSpec, target: StoreSpec) -> None:
    """Raise `RunError` when one of the places lies in the other."""
    if source.kind == target.kind == "posix":
        from wherry.agent.roots import check_apart as check_folders

        check_folders(source, target)
    elif source.kind == target.kind and source.location.lower() == target.location.lower():
        near, far = (names.parts(one.subpath) for one in (source, target))
        if near[: len(far)] == far[: len(near)]:
            raise RunError(
                "AZSM1033", f"Both are in the same {'container' if source.kind == 'blob' else 'bucket'}."
            )


def told(spec: StoreSpec) -> str:
    """A place for people, without its secret."""
    if spec.kind == "posix":
        return spec.location
    return "/".join(part for part in (f"{spec.kind}:{spec.location}", names.escape(spec.subpath)) if part)


def _blob(url: str, environ: Mapping[str, str]) -> StoreSpec:
    if "?" in url:
        raise UsageError(f"Leave the SAS out of the URL, others can read it there: put it into {SAS}.")
    secret = environ.get(SAS, "").lstrip("?")
    if not secret:
        raise UsageError(f"{SAS} is not set: it holds the SAS of the container.")
    host, parts = _split(url, "blob:https://ACCOUNT.blob.core.windows.net/CONTAINER")
    # Of Azurite and the like the account is no part of the host's name.
    depth = 1 if _has_domain(host) else 2
    location = "/".join((url.partition("://")[0] + "://" + host, *parts[:depth]))
    return StoreSpec(
        "blob", location, _prefix(parts[depth:]), secret=secret, ca_file=environ.get(CA_FILE, "")
    )


def _bucket(rest: str, environ: Mapping[str, str]) -> StoreSpec:
    region = _first(_REGIONS, environ)
    missing = [name for name in _KEYS if not environ.get(name)]
    if missing:
        raise UsageError(f"{' and '.join(missing)} not set: the key that opens the bucket.")
    if not rest.startswith(("http://", "https://")):
        endpoint = _first(_ENDPOINTS, environ) or f"https://s3.{region or 'us-east-1'}.amazonaws.com"
        rest = f"{endpoint.rstrip('/')}/{rest}"
    host, parts = _split(rest, "s3:BUCKET or s3:https://ENDPOINT/BUCKET")
    token = environ.get("AWS_SESSION_TOKEN", "")
    secret = environ[_KEYS[1]] + (f"\n{token}" if token else "")
    spec = StoreSpec(
        "s3", f"{rest.partition('://')[0]}://{host}/{parts[0]}", _prefix(parts[1:]), secret=secret
    )
    return replace(spec, identity=environ[_KEYS[0]], region=region, ca_file=environ.get("AWS_CA_BUNDLE", ""))


def _split(url: str, example: str) -> tuple[str, list[str]]:
    """Host and parts of the path."""
    found = urlsplit(url)
    parts = [part for part in found.path.split("/") if part]
    if "@" in found.netloc:
        raise UsageError("Leave name and password out of the URL, others can read them there.")
    if (
        found.scheme not in ("http", "https")
        or not found.hostname
        or not parts
        or found.query
        or found.fragment
    ):
        raise UsageError(f"'{url}' is no place: give {example}.")
    return found.netloc, parts


def _prefix(parts: list[str]) -> bytes:
    return names.clean_subpath("/".join(unquote(part, errors="surrogateescape") for part in parts))


def _has_domain(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "." in name
    return False


def _first(variables: tuple[str, ...], environ: Mapping[str, str]) -> str:
    return next((environ[name] for name in variables if environ.get(name)), "")
