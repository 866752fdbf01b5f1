"""What the acceptance suite of brokers tries drivers on: a real back end, two places in it, and its vendor's client.

A bench does deeds as whoever holds a credential would and tells whether the back end let it: True, or False for a
refusal in the back end's own words.  Anything else that goes wrong is an error of the test.
"""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobBlock, ContainerClient
from botocore.exceptions import ClientError

from tests.azurite import Azurite
from tests.buckets import IDENTITY, SECRET, BucketServer
from tests.samba import CUSTOMER, Samba
from wherry.control.broker import s3_calls
from wherry.control.broker.blob_policy import BlobPolicy
from wherry.control.broker.port import Access, Driver, Material, Wanted
from wherry.control.broker.s3_user import S3User
from wherry.control.broker.smb_secret import SmbSecret
from wherry.control.broker.smb_user import SmbUser
from wherry.control.services.accounts import Account

MINE, THEIRS = "mine", "theirs"
_PROBE = 0.5
_PATIENCE = 60.0
Send = Callable[[], bool]


class Bench(Protocol):
    """A driver with its back end; `other` is a second container, bucket or share of it."""

    @property
    def driver(self) -> Driver:
        """What is tried."""

    def wanted(self, access: Access = "write") -> Wanted:
        """The folder `MINE` of the one place."""

    def put(self, material: Material, path: str, *, other: bool = False) -> bool:
        """Write a small file."""

    def list(self, material: Material, folder: str) -> bool:
        """List what lies below a folder, or everything."""

    def delete(self, material: Material, path: str) -> bool:
        """Delete a file."""

    def upload(self, material: Material, path: str) -> Any:
        """A context in which each call of what it gives sends one more part of a large file."""


@dataclass
class Keys:
    """Secrets that drivers work with, as the control plane would fetch them."""

    known: dict[str, str]
    blob: Account | None = None

    def account(self, account_key: str) -> Account:
        assert self.blob is not None
        assert account_key == self.blob.id
        return self.blob

    def named(self, uri: str, author: str) -> str:
        assert author == "author"
        return self.known[uri]


def name() -> str:
    return f"wherry-0123abcd-{uuid.uuid4().hex[:14]}"


def let(deed: Callable[[], Any]) -> bool:
    """Whether the back end lets it; only its own refusals count as such."""
    try:
        deed()
    except HttpResponseError as refused:
        if refused.status_code != 403:
            raise
        return False
    except ClientError as refused:
        if refused.response["ResponseMetadata"]["HTTPStatusCode"] != 403:
            raise
        return False
    return True


class BlobBench:
    """Azurite."""

    def __init__(self, azurite: Azurite) -> None:
        self.account = Account("account", azurite.url, azurite.account, azurite.key)
        self.places = [azurite.container().container_name for _ in range(2)]
        self.driver = BlobPolicy(Keys({}, self.account), _PROBE)

    def wanted(self, access: Access = "write") -> Wanted:
        told = {"accountKey": "account", "endpoint": self.account.endpoint, "account": self.account.name}
        place = self.account.container_url(self.places[0])
        return Wanted(name(), "run", place, access, MINE.encode(), told | {"container": self.places[0]})

    def put(self, material: Material, path: str, *, other: bool = False) -> bool:
        with self._client(material, other) as client:
            return let(lambda: client.upload_blob(path, b"x", overwrite=True))

    def list(self, material: Material, folder: str) -> bool:
        with self._client(material) as client:
            return let(lambda: list(client.list_blobs(name_starts_with=folder or None)))

    def delete(self, material: Material, path: str) -> bool:
        with self._client(material) as client:
            return let(lambda: client.delete_blob(path))

    @contextmanager
    def upload(self, material: Material, path: str) -> Iterator[Send]:
        blocks: list[BlobBlock] = []

        def send() -> bool:
            blocks.append(BlobBlock(f"{len(blocks):04d}"))
            return let(lambda: blob.stage_block(blocks[-1].id, b"part"))

        with self._client(material) as client, client.get_blob_client(path) as blob:
            yield send

    def _client(self, material: Material, other: bool = False) -> ContainerClient:
        return ContainerClient(
            self.account.endpoint, self.places[other], credential=material.secret, retry_total=0
        )


class BucketBench:
    """Moto, as `tests.moto_program` serves it."""

    def __init__(self, server: BucketServer) -> None:
        self.server = server
        self.places = [server.bucket() for _ in range(2)]
        self.driver = S3User(Keys({"id": IDENTITY, "key": SECRET}), _PROBE)
        self.clients: dict[str, Any] = {}

    def wanted(self, access: Access = "write") -> Wanted:
        origin = f"{self.server.scheme}://{self.server.host}"
        told = {
            "endpoint": origin, "iamEndpoint": origin, "bucket": self.places[0], "region": "us-east-1",
            "accessKeyUri": "id", "secretKeyUri": "key", "author": "author",
        }  # fmt: skip
        return Wanted(name(), "run", f"{origin}/{self.places[0]}", access, MINE.encode(), told)

    def put(self, material: Material, path: str, *, other: bool = False) -> bool:
        client = self._client(material)
        return let(lambda: client.put_object(Bucket=self.places[other], Key=path, Body=b"x"))

    def list(self, material: Material, folder: str) -> bool:
        client = self._client(material)
        return let(lambda: client.list_objects_v2(Bucket=self.places[0], Prefix=folder))

    def delete(self, material: Material, path: str) -> bool:
        client = self._client(material)
        return let(lambda: client.delete_object(Bucket=self.places[0], Key=path))

    @contextmanager
    def upload(self, material: Material, path: str) -> Iterator[Send]:
        client, where = self._client(material), {"Bucket": self.places[0], "Key": path}
        upload = client.create_multipart_upload(**where)["UploadId"]
        yield lambda: let(lambda: client.upload_part(**where, UploadId=upload, PartNumber=1, Body=b"part"))

    def close(self) -> None:
        """Hang up."""
        for client in self.clients.values():
            client.close()

    def _client(self, material: Material) -> Any:
        origin = f"{self.server.scheme}://{self.server.host}"
        if material.identity not in self.clients:
            self.clients[material.identity] = s3_calls.client(
                "s3", origin, material.region, material.identity, material.secret
            )
        return self.clients[material.identity]


class ShareBench:
    """Samba, with the driver that makes users there."""

    def __init__(self, samba: Samba) -> None:
        self.samba = samba
        self.driver: Driver = SmbUser({"127.0.0.1": samba.command})
        for share in ("one", "two"):
            for folder in (MINE, THEIRS):
                (samba.folder / share / folder).mkdir(exist_ok=True)

    def wanted(self, access: Access = "write") -> Wanted:
        told = {"host": "127.0.0.1", "share": "one"}
        return Wanted(name(), "run", "smb://127.0.0.1/one", access, MINE.encode(), told)

    def put(self, material: Material, path: str, *, other: bool = False) -> bool:
        return self._do(material, f"put /etc/hostname {path}", "two" if other else "one")

    def list(self, material: Material, folder: str) -> bool:
        return self._do(material, f"ls {folder}*")

    def delete(self, material: Material, path: str) -> bool:
        return self._do(material, f"rm {path}")

    @contextmanager
    def upload(self, material: Material, path: str) -> Iterator[Send]:
        """A file that is fed through a pipe, so that the client is in the midst of it all the time."""
        pipe, there = self.samba.folder / f"pipe-{name()}", self.samba.folder / "one" / path
        os.mkfifo(pipe)
        command = [*self.samba.client(material.identity, material.secret, "one"), "-c", f"put {pipe} {path}"]
        client = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        feed = self._joined(client, pipe)
        try:
            yield lambda: self._sent(client, feed, there)
        finally:
            os.close(feed)
            client.wait(_PATIENCE)

    def _joined(self, client: subprocess.Popen[bytes], pipe: Path) -> int:
        """The writing end of the pipe, once the client reads the other."""
        deadline = time.monotonic() + _PATIENCE
        while client.poll() is None and time.monotonic() < deadline:
            with suppress(OSError):
                return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            time.sleep(0.01)
        raise AssertionError("the client did not begin to read")

    def _sent(self, client: subprocess.Popen[bytes], feed: int, there: Path) -> bool:
        """Whether more of the file arrives at the server; not when the client has ended first."""
        before = there.stat().st_size if there.exists() else 0
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            with suppress(BlockingIOError, BrokenPipeError):
                os.write(feed, b"x" * 65536)
            if there.exists() and there.stat().st_size > before:
                return True
            if client.poll() is not None:
                return False
            time.sleep(0.01)
        raise AssertionError("the client neither went on nor ended")

    def _do(self, material: Material, deed: str, share: str = "one") -> bool:
        well, said = self.samba.do(material.identity, material.secret, share, deed)
        assert well or "NT_STATUS" in said, said
        return well


class LeasedShareBench(ShareBench):
    """Samba as somebody else's server: an account that is there, whose password is in a vault."""

    def __init__(self, samba: Samba) -> None:
        super().__init__(samba)
        samba.put_user(CUSTOMER, "as the customer set it")
        self.driver = SmbSecret(Keys({"user": CUSTOMER, "password": "as the customer set it"}))

    def wanted(self, access: Access = "write") -> Wanted:
        made = super().wanted(access)
        told = {**made.told, "usernameUri": "user", "passwordUri": "password", "author": "author"}
        return Wanted(made.id, made.run, made.place, access, made.prefix, told)
