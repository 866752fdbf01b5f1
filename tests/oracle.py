"""What is really there, told without any of the product's code: an independent look at folders and containers."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import closing
from datetime import UTC, datetime
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote, urlsplit

from azure.storage.blob import BlobProperties, ContainerClient, generate_blob_sas

_LATER = datetime(2099, 1, 1, tzinfo=UTC)

Seen = dict[bytes, tuple[object, ...]]


def folder(root: Path | str, *, links: bool = True) -> Seen:
    """Every item below `root`: kind, mode, owner, time in ns, and a hash of the bytes."""
    top = os.fsencode(str(root))
    found: Seen = {}
    for base, folders, files in os.walk(top):
        for name in folders + files:
            path = os.path.join(base, name)
            found[os.path.relpath(path, top)] = _item(path, links)
    return found


def _item(path: bytes, links: bool) -> tuple[object, ...]:
    info = os.lstat(path)
    if stat.S_ISLNK(info.st_mode):
        return ("link", os.readlink(path))
    facts = (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, info.st_mtime_ns)
    if stat.S_ISDIR(info.st_mode):
        return ("folder", *facts)
    if not stat.S_ISREG(info.st_mode):
        return ("special",)
    with open(path, "rb") as file:
        return ("file", info.st_size, hashlib.file_digest(file, "sha256").hexdigest(), *facts)


def container(client: ContainerClient, prefix: str = "") -> Seen:
    """Every blob below `prefix` as the file or folder that its bytes and its metadata tell of, as in `folder`.

    The listing is the vendor's, the bytes come over a plain connection that is kept: the SDK takes ten times as long.
    """
    found: Seen = {}
    place = urlsplit(str(client.url))
    with closing(HTTPConnection(place.netloc, timeout=30)) as line:
        for blob in client.list_blobs(name_starts_with=prefix or None, include=["metadata"]):
            sas = generate_blob_sas(
                str(client.account_name), client.container_name, blob.name,
                account_key=client.credential.account_key, permission="r", expiry=_LATER,
            )  # fmt: skip
            line.request("GET", f"{place.path}/{quote(blob.name)}?{sas}")
            answer = line.getresponse()
            data = answer.read()
            assert answer.status == HTTPStatus.OK, (blob.name, answer.status)
            found[blob.name.removeprefix(prefix).encode()] = _blob(blob, data)
    return found


def _blob(blob: BlobProperties, data: bytes) -> tuple[object, ...]:
    told = {name.lower(): value for name, value in (blob.metadata or {}).items()}
    if told.get("is_symlink") == "true":
        return ("link", data)
    mode = int(told["permissions"])
    owner, group, modified = (int(told[name]) for name in ("posix_owner", "posix_group", "modtime"))
    facts = (stat.S_IMODE(mode), owner, group, modified)
    whole = "" if len(data) == blob.size else "damaged "
    if told.get("hdi_isfolder") == "true":
        return (f"{whole}folder" if stat.S_ISDIR(mode) and not data else "damaged folder", *facts)
    kind = "file" if stat.S_ISREG(mode) else "damaged file"
    return (f"{whole}{kind}", len(data), hashlib.sha256(data).hexdigest(), *facts)


def held_by_containers(root: Path | str) -> Seen:
    """What a container can hold of the folder `root`: files, folders and links, nothing special."""
    return {path: item for path, item in folder(root).items() if item[0] in ("file", "folder", "link")}


def grow(root: Path, files: int, per_folder: int = 100, size: int = 2048) -> int:
    """Make a tree of `files` small files with different bytes; returns how many items it has."""
    items = 0
    for number in range(files):
        place = root / f"folder {number // per_folder:04}"
        if number % per_folder == 0:
            place.mkdir(parents=True)
            items += 1
        seed = hashlib.sha256(str(number).encode()).digest()
        (place / f"file-{number:06}.bin").write_bytes((seed * (size // 32 + 1))[: size + number % 97])
        items += 1
    return items
