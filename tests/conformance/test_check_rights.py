"""A target that refuses every change says so when it is asked, and being asked leaves nothing behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import ContainerClient, ContainerSasPermissions, generate_container_sas

from tests.azurite import Azurite
from tests.buckets import BucketServer
from tests.conformance.conftest import QUICK, spec_of
from tests.faulty_wire import Trouble, faulty_wire
from wherry.engine.copy import copy
from wherry.model.errors import Denied, NotFound
from wherry.model.options import JobOptions
from wherry.stores.blob.store import BlobStore
from wherry.stores.port import ChecksRights, StoreSpec
from wherry.stores.posix import PosixStore
from wherry.stores.s3.store import S3Store

REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 41\r\n\r\n<Error><Code>AccessDenied</Code></Error>\r\n"


def sas(azurite: Azurite, container: ContainerClient, letters: str) -> str:
    return generate_container_sas(
        azurite.account, container.container_name, account_key=azurite.key,
        permission=ContainerSasPermissions.from_string(letters), expiry="2099-01-01T00:00:00Z",
    )  # fmt: skip


@pytest.fixture
def container(azurite: Azurite) -> ContainerClient:
    return azurite.container("rights")


def test_a_container_that_may_be_written_keeps_no_trace_of_the_question(azurite, container):
    with closing(BlobStore(spec_of(azurite, container.container_name), patience=QUICK)) as store:
        assert isinstance(store, ChecksRights)
        store.check_rights()

    assert list(container.list_blob_names()) == []


def test_a_credential_that_may_only_read_is_refused(azurite, container):
    spec = replace(spec_of(azurite, container.container_name), secret=sas(azurite, container, "rl"))
    with closing(BlobStore(spec, patience=QUICK)) as store:
        store.probe()
        with pytest.raises(Denied, match="403"):
            store.check_rights()


def test_a_container_that_is_gone_is_told(azurite, container):
    container.delete_container()
    with closing(BlobStore(spec_of(azurite, container.container_name), patience=QUICK)) as store:
        for ask in (store.probe, store.check_rights):
            with pytest.raises(NotFound, match="ContainerNotFound"):
                ask()


@pytest.mark.parametrize("letters", ["rl", "rlw"])
def test_a_copy_into_a_container_ends_at_once_where_nothing_may_be_written(
    azurite, container, tmp_path, letters
):
    for number in range(40):
        (tmp_path / f"{number}").write_bytes(b"x")
    spec = replace(spec_of(azurite, container.container_name), secret=sas(azurite, container, letters))

    report = copy(StoreSpec("posix", str(tmp_path)), spec, JobOptions(), workers=0)

    assert (report.end.code, report.counters.items.get("Failed", 0)) == (
        ("", 0) if letters == "rlw" else ("AZSM1024", 0)
    )


@pytest.mark.parametrize("kind", ["overlooks", "refuses", "plain"])
def test_a_bucket_that_may_be_written_keeps_no_trace_of_the_question(
    bucket_server: BucketServer, kind: str
) -> None:
    bucket = bucket_server.bucket(kind)
    with closing(S3Store(bucket_server.spec(bucket, b"sub"), patience=QUICK)) as store:
        store.check_rights()

    assert "Contents" not in bucket_server.client.list_objects_v2(Bucket=bucket)


def test_a_key_that_may_not_write_is_refused(bucket_server: BucketServer) -> None:
    bucket = bucket_server.bucket()
    host, port = bucket_server.host.split(":")
    with faulty_wire((host, int(port))) as wire:
        spec = bucket_server.spec(bucket)
        spec = replace(spec, location=spec.location.replace(bucket_server.host, f"127.0.0.1:{wire.port}"))
        wire.troubles.append(Trouble("^PUT ", "reply", 9, REFUSED))
        with closing(S3Store(spec, patience=QUICK)) as store, pytest.raises(Denied, match="AccessDenied"):
            store.check_rights()


def test_a_bucket_that_is_gone_is_told(bucket_server: BucketServer) -> None:
    bucket = bucket_server.bucket()
    bucket_server.client.delete_bucket(Bucket=bucket)
    with closing(S3Store(bucket_server.spec(bucket), patience=QUICK)) as store:
        for ask in (store.probe, store.check_rights):
            with pytest.raises(NotFound, match="NoSuchBucket"):
                ask()


@contextmanager
def folder(path: Path) -> Iterator[PosixStore]:
    with closing(PosixStore(StoreSpec("posix", str(path)))) as store:
        yield store


def test_a_folder_that_may_not_be_written_refuses_all_unless_others_lie_in_it(tmp_path, monkeypatch):
    real = os.access

    def refused(path: Any, *more: Any, **named: Any) -> bool:
        return "dir_fd" not in named and real(path, *more, **named)

    with folder(tmp_path) as store:
        store.check_rights()
        monkeypatch.setattr(os, "access", refused)
        (tmp_path / "file").write_bytes(b"x")
        with pytest.raises(Denied, match="nothing may be made"):
            store.check_rights()
        # What may be written of those, nobody knows.
        (tmp_path / "below").mkdir()
        store.check_rights()
