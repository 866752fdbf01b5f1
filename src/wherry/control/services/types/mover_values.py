"""Values of Microsoft.StorageMover's properties that need more than a pattern.

Each function takes a value and its target and gives the value to keep, or raises the 400 that names the target.
"""

from __future__ import annotations

import re
import ssl
from typing import Any
from urllib.parse import unquote, urlsplit

from wherry.control.services.runs import BESIDE_OPTIONS
from wherry.control.services.secret_uris import SecretUri
from wherry.control.services.types.addresses import service_url
from wherry.control.services.types.schema import Json, invalid
from wherry.model import ids, local_times, names, schedules
from wherry.model.errors import ApiError, RunError, UsageError
from wherry.model.options import JobOptions
from wherry.model.schedules import DAYS, Overlap, Schedule

ENDPOINT_TYPES = (
    "LocalMount", "AzureStorageBlobContainer", "NfsMount", "SmbMount", "S3WithHMAC", "AzureStorageSmbFileShare",
    "AzureStorageNfsFileShare", "AzureMultiCloudConnector",
)  # fmt: skip

REGION = re.compile(r"[A-Za-z0-9-]+")
ROLE = re.compile(r"arn:[a-z-]+:iam:[^\s]*:role/[\w+=,.@/-]+")
HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,253}[A-Za-z0-9])?")
SHARE = re.compile(r"[^\x00-\x1f\\/:*?\"<>|\[\]+=;,]{1,80}")
STORAGE_ACCOUNT = "microsoft.storage/storageaccounts"
MACHINE = "microsoft.hybridcompute/machines"
PRIVATE_LINK_SERVICE = "microsoft.network/privatelinkservices"

TOLD_OF_SCHEDULES = frozenset(
    {"nextRuns", "nextRunsWhenEnabled", "lastFiring", "scheduledBy", "waitingSince"}
)
"""What an answer tells of a job's schedule under `properties.wherry`; ignored in requests."""

_LEADS_ELSEWHERE = re.compile(r"(?:^|/)\.{0,2}(?:/|$)|[\\\0]")
_LONGEST_PATH = 4096


def _id_of(type_key: str, what: str, value: str, target: str) -> str:
    try:
        parsed = ids.ResourceId.parse(value)
    except ApiError as broken:
        raise invalid(target, f"The id of a {what} is expected.") from broken
    if parsed.type != type_key or len(parsed.segments) != 1 or parsed.group is None:
        raise invalid(target, f"The id of a {what} is expected.")
    return value


def storage_account_id(value: str, target: str) -> str:
    """The id of a storage account; whether it is registered is seen when a job starts."""
    return _id_of(STORAGE_ACCOUNT, "storage account", value, target)


def machine_id(value: str, target: str) -> str:
    """The id of a machine."""
    return _id_of(MACHINE, "machine (Microsoft.HybridCompute/machines)", value, target)


def private_link_service(value: str, target: str) -> str:
    """The id of a private link service, which is somebody else's to know."""
    return _id_of(PRIVATE_LINK_SERVICE, "private link service (Microsoft.Network)", value, target)


def container_name(value: str, target: str) -> str:
    """The name of a Blob container."""
    if not ids.CONTAINER_NAME.fullmatch(value):
        raise invalid(target, "A container name has 3 to 63 of a-z, 0-9 and single hyphens inside.")
    return value


def absolute_path(value: str, target: str) -> str:
    """A folder on the agent's machine, as an absolute path without detours."""
    parts = value.rstrip("/").split("/")[1:]
    if not value.startswith("/") or any(part in ("", ".", "..") for part in parts):
        raise invalid(target, "An absolute path is expected, without empty parts, '.' or '..'.")
    return value.rstrip("/") or "/"


def subpath(value: str, target: str) -> str | None:
    """A path below an endpoint; as given, but for slashes behind it.  `/` is the endpoint itself."""
    if value.startswith("/") and value.strip("/"):
        raise invalid(target, "A subpath begins below its endpoint: give it without a slash in front.")
    if len(value.encode()) >= _LONGEST_PATH:
        raise invalid(target, f"A subpath has less than {_LONGEST_PATH} bytes.")
    # Nobody here reads it so, but whoever does further on must not find a way up in it.
    plain = value.rstrip("/")
    if (decoded := unquote(plain)) != plain and _LEADS_ELSEWHERE.search(decoded):
        raise invalid(target, "A subpath is written as it is, without anything encoded that leads elsewhere.")
    try:
        names.clean_subpath(value)
    except UsageError as refused:
        raise invalid(target, str(refused)) from refused
    return value.strip("/") or None


def bucket_url(value: str, target: str) -> str:
    """The URL of a bucket in path style, with a folder in it or without."""
    url = service_url(value, target)
    if not urlsplit(url).path.strip("/"):
        raise invalid(target, "The URL names a bucket in its path, such as https://s3.example.net/bucket.")
    return url


def secret_uri(value: str, target: str) -> str | None:
    """The URI of a secret in a vault; an empty one clears it."""
    if not value:
        return None
    try:
        return SecretUri.parse(value).text
    except RunError as refused:
        raise invalid(target, refused.detail) from refused


def certificates(value: str, target: str) -> str | None:
    """Certificates of authorities as PEM, and nothing that is secret; an empty text clears them."""
    if not value:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=value)
    except (ssl.SSLError, ValueError) as broken:
        raise invalid(target, "Certificates as PEM text are expected.") from broken
    if "PRIVATE KEY" in value:
        raise invalid(target, "This holds a private key: it is no secret any more. Send certificates only.")
    if not context.get_ca_certs():
        raise invalid(target, "None of these is the certificate of an authority.")
    return value


def half_hour(value: int, target: str) -> int:
    """The minutes of a schedule."""
    if value not in (0, 30):
        raise invalid(target, "0 or 30 is expected.")
    return value


def week(value: Json, target: str) -> Json | None:
    """An upload schedule: times in order, each day once in a recurrence, no two windows of a day overlapping.

    One without windows clears it.
    """
    windows: dict[str, list[tuple[int, int]]] = {day: [] for day in DAYS}
    for at, one in enumerate(value.get("weeklyRecurrences", [])):
        here = f"{target}.weeklyRecurrences[{at}]"
        begin, end = (_minutes(one[name], f"{here}.{name}") for name in ("startTime", "endTime"))
        if begin >= end:
            raise invalid(f"{here}.endTime", "The end must be after the start, on the same day.")
        if not one["days"] or len(set(one["days"])) != len(one["days"]):
            raise invalid(f"{here}.days", "At least one day is expected, and each only once.")
        for day in one["days"]:
            if any(begin < other_end and other_begin < end for other_begin, other_end in windows[day]):
                raise invalid(here, f"It overlaps another recurrence on {day}.")
            windows[day].append((begin, end))
    return value if value.get("weeklyRecurrences") else None


def _minutes(time: Json, target: str) -> int:
    minutes = int(time["hour"]) * 60 + int(time.get("minute", 0))
    if minutes > 24 * 60:
        raise invalid(target, "The last time of a day is 24:00.")
    return minutes


def date_time(value: str, target: str) -> str:
    """A date and time, as it is answered: in UTC, without fractions."""
    try:
        return schedules.written(schedules.moment(value))
    except UsageError as refused:
        raise invalid(target, str(refused)) from refused


def repeat_interval(value: str, target: str) -> str:
    """How many hours there are between the firings of an hourly schedule."""
    try:
        schedules.hours(value)
    except UsageError as refused:
        raise invalid(target, str(refused)) from refused
    return value


def schedule(properties: Json) -> Schedule | None:
    """The schedule of a job definition, which is read with what stands beside it; None for one that has none."""
    told = properties.get("schedule")
    if told is None:
        return None
    zone = properties.get("wherry", {}).get("timeZone", "UTC")
    try:
        return Schedule.read(told, zone)
    except UsageError as refused:
        raise invalid("properties.schedule", str(refused)) from refused


def job_options(value: Json, target: str) -> Json | None:
    """What Wherry adds to a job: the options of `model.options`, who may work on it, and how its schedule comes."""
    told = {name: one for name, one in value.items() if name not in TOLD_OF_SCHEDULES}
    beside = {name: told.pop(name) for name in BESIDE_OPTIONS if name in told}
    beside = {name: _BESIDE[name](one, f"{target}.{name}") for name, one in beside.items() if one is not None}
    if "mode" in told:
        raise invalid(f"{target}.mode", "The mode of a job is its property copyMode.")
    try:
        kept: dict[str, Any] = JobOptions.from_json(told).to_json()
    except UsageError as refused:
        raise invalid(target, str(refused)) from refused
    return kept | beside or None


def _agent_group(value: Any, target: str) -> str:
    if not isinstance(value, str) or not ids.NAME.fullmatch(value):
        raise invalid(target, "The name of an agent group is expected.")
    return value


def time_zone(value: Any, target: str) -> str:
    """The name of a time zone that is known here."""
    try:
        local_times.zone(value if isinstance(value, str) else "")
    except UsageError as refused:
        raise invalid(target, str(refused)) from refused
    return str(value)


def _overlap(value: Any, target: str) -> str:
    found = next((one for one in Overlap if isinstance(value, str) and one == value.lower()), None)
    if found is None:
        raise invalid(target, f"One of {', '.join(Overlap)} is expected.")
    return str(found)


_BESIDE = {"agentGroup": _agent_group, "timeZone": time_zone, "onOverlap": _overlap}
