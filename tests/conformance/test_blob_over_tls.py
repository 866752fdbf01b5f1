"""Blob over TLS: our authority is trusted when it is named, nobody else is, and what is sent arrives."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from azure.storage.blob import BlobServiceClient

from tests.azurite import AzuriteMissing, running_azurite
from tests.conformance.conftest import QUICK, Case, spec_of
from wherry.model.errors import Denied
from wherry.stores.blob.store import BlobStore
from wherry.stores.port import StoreSpec
from wherry.trust.authority import create_ca, issue_server


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreSpec]:
    folder = tmp_path_factory.mktemp("tls")
    ca = create_ca("test", time.time())
    leaf = issue_server(ca, ["127.0.0.1"], time.time())
    for name, data in (("ca.pem", ca.certificate), ("cert.pem", leaf.certificate), ("key.pem", leaf.key)):
        (folder / name).write_bytes(data)
    try:
        with running_azurite(
            folder, "--cert", str(folder / "cert.pem"), "--key", str(folder / "key.pem")
        ) as server:
            credential = {"account_name": server.account, "account_key": server.key}
            ca_file = str(folder / "ca.pem")
            with BlobServiceClient(server.url, credential=credential, connection_verify=ca_file) as service:
                service.create_container("secure")
            yield replace(spec_of(server, "secure"), ca_file=ca_file)
    except AzuriteMissing as missing:
        pytest.skip(str(missing))


def test_files_of_all_sizes_arrive(secure: StoreSpec) -> None:
    case = Case(lambda fence: BlobStore(secure, fence, QUICK, part=1 << 20))
    for size in (0, 1, 100_000, 1 << 20, 3_000_000):
        data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        case.put(b"file-%d" % size, data)
        assert case.data(b"file-%d" % size) == data
    for store in case.opened:
        store.close()


def test_a_connection_made_anew_is_spared_the_long_handshake(secure: StoreSpec) -> None:
    store = BlobStore(secure, patience=QUICK)
    store.probe()
    first = store._wire._local.connection
    store._wire._drop(first)

    store.probe()

    assert not first.tls.session_reused
    assert store._wire._local.connection.tls.session_reused
    store.close()


def test_a_connection_that_broke_is_made_anew(secure: StoreSpec) -> None:
    store = BlobStore(secure, patience=QUICK)
    store.probe()
    store._wire._local.connection.socket.shutdown(socket.SHUT_RDWR)

    store.probe()
    store.close()


def test_a_server_of_another_authority_is_denied_and_gets_no_credential(
    secure: StoreSpec, tmp_path: Path
) -> None:
    (tmp_path / "other.pem").write_bytes(create_ca("other", time.time()).certificate)

    for ca_file in ("", str(tmp_path / "other.pem")):
        store = BlobStore(replace(secure, ca_file=ca_file), patience=QUICK)
        with pytest.raises(Denied, match="not trusted"):
            store.probe()
        store.close()


def test_a_server_of_another_name_is_denied(secure: StoreSpec) -> None:
    store = BlobStore(
        replace(secure, location=secure.location.replace("127.0.0.1", "localhost")), patience=QUICK
    )

    with pytest.raises(Denied, match="not trusted"):
        store.probe()
    store.close()
