"""S3 over TLS: our authority is trusted when it is named, nobody else is; checksums guard what is not signed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from tests.buckets import BucketServer, running_buckets
from tests.conformance.conftest import PART, QUICK, Case
from wherry.control.broker import s3_calls
from wherry.model.errors import Corrupt, Denied, Unavailable
from wherry.stores.http.checksum import md5
from wherry.stores.s3 import multipart, objects
from wherry.stores.s3.objects import crc
from wherry.stores.s3.store import S3Store
from wherry.trust.authority import create_ca, issue_server


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BucketServer]:
    folder = tmp_path_factory.mktemp("tls")
    ca = create_ca("test", time.time())
    leaf = issue_server(ca, ["127.0.0.1"], time.time())
    for name, data in (("ca.pem", ca.certificate), ("cert.pem", leaf.certificate), ("key.pem", leaf.key)):
        (folder / name).write_bytes(data)
    with running_buckets(str(folder / "ca.pem"), str(folder / "cert.pem"), str(folder / "key.pem")) as server:
        yield server


@pytest.fixture
def case(secure: BucketServer, request: pytest.FixtureRequest) -> Iterator[Case]:
    """A bucket of a service that knows CRC-64, or of one that does not."""
    spec = secure.spec(secure.bucket(getattr(request, "param", "tls")))
    made = Case(lambda fence: S3Store(spec, fence, QUICK, part=PART))
    yield made
    for store in made.opened:
        store.close()


def knows_crc(case: Case) -> bool | None:
    assert isinstance(case.store, S3Store)
    return case.store._objects.knows_crc


@pytest.mark.parametrize("case", ["tls", "nocrc"], indirect=True)
def test_files_of_all_sizes_arrive(case: Case) -> None:
    for size in (0, 1, PART, PART + 1, 100 * PART + 7):
        data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        case.put(b"file-%d" % size, data)
        assert case.data(b"file-%d" % size) == data


@pytest.mark.parametrize(("case", "knows"), [("tls", True), ("nocrc", False)], indirect=["case"])
def test_the_first_write_finds_out_what_guards_the_bytes(case: Case, knows: bool) -> None:
    assert knows_crc(case) is None
    case.put(b"file", b"data")

    assert knows_crc(case) is knows


@pytest.mark.parametrize("case", ["tls", "nocrc"], indirect=True)
@pytest.mark.parametrize("size", [5, 3 * PART])
def test_bytes_that_are_not_those_of_the_checksum_are_refused(
    case: Case, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.put(b"before", b"")
    for module in (objects, multipart):
        monkeypatch.setattr(module, "crc", lambda _: crc(b"other bytes"))
        monkeypatch.setattr(module, "md5", lambda _: md5(b"other bytes"))

    with pytest.raises(Corrupt):
        case.put(b"file", b"s" * size)

    assert list(case.tree()) == [b"before"]


def test_a_half_sent_file_is_gone_on_with_as_it_was_begun(case: Case) -> None:
    store = case.store
    assert isinstance(store, S3Store)
    content = case.content(b"0123456789abcdef" * 4)
    store.begin(b"large", [f"stem-{number:06d}" for number in range(4)], content.entry)
    store.stage(b"large", "stem-000002", content.read(32, 16))

    again = case.open()
    assert isinstance(again, S3Store)
    assert again.staged(b"large") == {"stem-000002": 16}
    for number in (0, 1, 3):
        again.stage(b"large", f"stem-{number:06d}", content.read(number * 16, 16))
    again.publish(b"large", [f"stem-{number:06d}" for number in range(4)], content.entry, None)

    assert case.data(b"large") == b"0123456789abcdef" * 4
    assert case.seen(b"large").modified == content.entry.modified


def test_a_server_of_another_authority_is_denied_and_gets_no_request(
    secure: BucketServer, tmp_path: Path
) -> None:
    (tmp_path / "other.pem").write_bytes(create_ca("other", time.time()).certificate)
    spec = secure.spec("any-bucket")

    for ca_file in ("", str(tmp_path / "other.pem")):
        store = S3Store(replace(spec, ca_file=ca_file), patience=QUICK)
        with pytest.raises(Denied, match="not trusted"):
            store.probe()
        store.close()


def test_the_authority_of_an_endpoint_is_trusted_by_agents_and_drivers_and_no_other(
    secure: BucketServer,
) -> None:
    bucket, origin = secure.bucket("own"), f"{secure.scheme}://{secure.host}"
    spec = secure.spec(bucket)
    ours = Path(spec.ca_file).read_text()
    other = create_ca("other", time.time()).certificate.decode()

    store = S3Store(replace(spec, ca_file="", ca_pem=ours), patience=QUICK)
    assert list(store.list(b"")) == []
    store.close()
    store = S3Store(replace(spec, ca_file="", ca_pem=other), patience=QUICK)
    with pytest.raises(Denied, match="not trusted"):
        store.probe()
    store.close()

    for ca, trusted in ((ours, True), (other, False), ("", False)):
        client = s3_calls.client("s3", origin, "us-east-1", spec.identity, spec.secret, ca=ca)
        with nullcontext() if trusted else pytest.raises(Unavailable, match="SSLError"), s3_calls.told():
            assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
        client.close()
