"""Uploads in parts to S3 that are interrupted, ended by others, or not to be seen: gone on with, or begun anew."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.buckets import BucketServer
from tests.conformance.conftest import PART
from tests.conformance.s3_wire import PARTS, Bad, bad_wire, reply
from tests.faulty_wire import Trouble
from wherry.model.errors import StoreError, Unavailable
from wherry.stores.port import StoreSpec, part_ids
from wherry.stores.s3.store import S3Store


@pytest.fixture
def spec(bucket_server: BucketServer) -> StoreSpec:
    return bucket_server.spec(bucket_server.bucket("wire"))


@pytest.fixture
def bad(bucket_server: BucketServer, spec: StoreSpec) -> Iterator[Bad]:
    with bad_wire(bucket_server, spec) as made:
        yield made


def test_a_half_sent_file_is_gone_on_with(bad: Bad) -> None:
    case, wire = bad
    assert isinstance(case.store, S3Store)
    content = case.content(b"0123456789abcdef" * 4)
    ids = part_ids(b"large", content.entry, PART)
    wire.troubles.append(Trouble(PARTS, "lose request", times=99, skip=2))
    with pytest.raises(Unavailable):
        case.store.put(b"large", content, content.entry, None)
    wire.troubles.clear()
    before = wire.count(PARTS)
    again = case.open()
    assert isinstance(again, S3Store)
    assert set(again.staged(b"large")) == set(ids[:2])

    again.put(b"large", content, content.entry, None)

    assert case.data(b"large") == b"0123456789abcdef" * 4
    assert wire.count(PARTS) - before == 2


def test_an_upload_that_somebody_ended_is_begun_anew(
    bad: Bad, bucket_server: BucketServer, spec: StoreSpec
) -> None:
    case, _ = bad
    assert isinstance(case.store, S3Store)
    content = case.content(b"0123456789abcdef" * 4)
    ids = part_ids(b"large", content.entry, PART)
    bucket = spec.location.rpartition("/")[2]

    def end() -> None:
        for upload in bucket_server.client.list_multipart_uploads(Bucket=bucket)["Uploads"]:
            bucket_server.client.abort_multipart_upload(
                Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"]
            )

    case.store.stage(b"large", ids[0], content.read(0, PART))
    end()
    with pytest.raises(Unavailable):
        case.store.stage(b"large", ids[1], content.read(PART, PART))
    for part in ids:
        case.store.stage(b"large", part, content.read(ids.index(part) * PART, PART))
    end()
    with pytest.raises(Unavailable):
        case.store.publish(b"large", ids, content.entry, None)
    assert case.tree() == {}

    case.store.put(b"large", content, content.entry, None)

    assert case.data(b"large") == b"0123456789abcdef" * 4


@pytest.mark.parametrize("pattern", [r"^POST \S*wherry-uploads", r"^GET \S*uploads="])
def test_who_may_not_see_or_keep_notes_begins_anew(bad: Bad, pattern: str) -> None:
    case, wire = bad
    wire.troubles.append(Trouble(pattern, "reply", times=99, reply=reply("403 Forbidden", "AccessDenied")))
    content = case.content(b"0123456789abcdef" * 4)
    assert isinstance(case.store, S3Store)
    case.store.stage(b"large", part_ids(b"large", content.entry, PART)[0], content.read(0, PART))

    again = case.open()
    assert isinstance(again, S3Store)
    assert again.staged(b"large") == {}
    again.put(b"large", content, content.entry, None)

    assert case.data(b"large") == b"0123456789abcdef" * 4


def parts_page(number: int, more: bool) -> bytes:
    body = (
        f"<ListPartsResult><IsTruncated>{str(more).lower()}</IsTruncated><NextPartNumberMarker>{number}"
        f"</NextPartNumberMarker><Part><PartNumber>{number}</PartNumber><ETag>e</ETag><Size>{number}</Size></Part>"
        "</ListPartsResult>"
    )
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def test_parts_come_in_pages(bad: Bad) -> None:
    case, wire = bad
    assert isinstance(case.store, S3Store)
    case.store.stage(b"large", "stem-000000", b"x")
    wire.troubles += [
        Trouble(r"part-number-marker=1000&", "reply", reply=parts_page(1001, more=False)),
        Trouble(r"^GET \S*/large\?max-parts", "reply", times=99, reply=parts_page(1000, more=True)),
    ]
    again = case.open()
    assert isinstance(again, S3Store)

    assert again.staged(b"large") == {"stem-000999": 1000, "stem-001000": 1001}

    # One that does not go on is not believed.
    other = case.open()
    assert isinstance(other, S3Store)
    with pytest.raises(StoreError):
        other.staged(b"large")
