"""What is particular to S3: older services, uploads that are left behind, metadata that is more than ours."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.buckets import BucketServer
from tests.conformance.conftest import PART, QUICK, Case
from wherry.model.entry import Entry, Kind
from wherry.model.errors import Conflict, MetadataTooLarge, StoreError
from wherry.stores.port import BeginsParts, StoreSpec, part_ids
from wherry.stores.registry import open_store
from wherry.stores.s3 import writing
from wherry.stores.s3.store import S3Store

DATA = b"0123456789abcdef" * 4


@pytest.fixture
def made(bucket_server: BucketServer) -> Iterator[Callable[[str], tuple[Case, str]]]:
    cases: list[Case] = []

    def make(kind: str = "plain") -> tuple[Case, str]:
        bucket = bucket_server.bucket(kind)
        spec = bucket_server.spec(bucket)
        cases.append(Case(lambda fence: S3Store(spec, fence, QUICK, part=PART)))
        return cases[-1], bucket

    yield make
    for case in cases:
        for store in case.opened:
            store.close()


Made = Callable[[str], tuple[Case, str]]


def store_of(case: Case) -> S3Store:
    assert isinstance(case.store, S3Store)
    return case.store


def uploads(server: BucketServer, bucket: str) -> list[str]:
    found: Any = server.client.list_multipart_uploads(Bucket=bucket)
    return sorted(upload["Key"] for upload in found.get("Uploads", []))


# ---------------------------------------------------------------- conditions


@pytest.mark.parametrize("kind", ["overlooks", "refuses", "plain"])
@pytest.mark.parametrize("size", [5, 3 * PART])
def test_nothing_is_overwritten_unseen_even_where_conditions_are_not_kept(
    made: Made, kind: str, size: int
) -> None:
    case, _ = made(kind)
    case.put(b"another", b"x")
    seen = case.put(b"file", b"first")
    with pytest.raises(Conflict):
        case.put(b"file", b"n" * size)
    now = case.put(b"file", b"other", seen)

    with pytest.raises(Conflict):
        case.put(b"file", b"m" * size, seen)
    with pytest.raises(Conflict):
        case.store.remove(b"file", seen)
    with pytest.raises(Conflict):
        case.put(b"gone", b"m" * size, seen)
    assert case.data(b"file") == b"other"

    case.store.remove(b"file", now)
    assert list(case.tree()) == [b"another"]


@pytest.mark.parametrize("kind", ["overlooks", "refuses", "plain"])
def test_finding_out_leaves_nothing_behind(made: Made, bucket_server: BucketServer, kind: str) -> None:
    case, bucket = made(kind)

    case.put(b"file", b"data")

    listed: Any = bucket_server.client.list_objects_v2(Bucket=bucket)
    assert [one["Key"] for one in listed["Contents"]] == ["file"]


# ---------------------------------------------------------------- uploads


def test_a_finished_file_leaves_no_upload_and_no_note(made: Made, bucket_server: BucketServer) -> None:
    case, bucket = made("plain")

    case.put(b"large", DATA)

    assert uploads(bucket_server, bucket) == []
    assert list(case.tree()) == [b"large"]


def test_an_upload_that_is_left_is_no_item(made: Made, bucket_server: BucketServer) -> None:
    case, bucket = made("plain")
    store_of(case).stage(b"large", "stem-000000", DATA[:PART])

    assert len(uploads(bucket_server, bucket)) == 2
    assert case.tree() == {}


@pytest.mark.parametrize("change", [{"size": 65}, {"modified": 3}, {"mode": 0o600}])
def test_an_upload_of_another_version_or_other_metadata_is_given_up(
    made: Made, bucket_server: BucketServer, change: dict[str, int]
) -> None:
    case, bucket = made("plain")
    content = case.content(DATA)
    other = content.entry._replace(**change)  # type: ignore[arg-type]
    earlier = store_of(case)
    ids = part_ids(b"large", other, PART)
    earlier.begin(b"large", ids, other)
    earlier.stage(b"large", ids[0], b"x" * PART)

    later = case.open()
    later.put(b"large", content, content.entry, None)

    assert case.data(b"large") == DATA
    assert case.seen(b"large").mode == content.entry.mode
    assert uploads(bucket_server, bucket) == []


def test_a_service_that_finds_uploads_by_whole_keys_only_goes_on_too(made: Made) -> None:
    case, _ = made("whole")
    content = case.content(DATA)
    ids = part_ids(b"large", content.entry, PART)
    store_of(case).begin(b"large", ids, content.entry)
    store_of(case).stage(b"large", ids[2], DATA[2 * PART : 3 * PART])

    again = case.open()
    assert isinstance(again, S3Store)
    again.begin(b"large", ids, content.entry)

    assert again.staged(b"large") == {ids[2]: PART}


def test_an_upload_of_somebody_else_is_left_alone(made: Made, bucket_server: BucketServer) -> None:
    case, bucket = made("plain")
    client = bucket_server.client
    theirs = client.create_multipart_upload(Bucket=bucket, Key="large")["UploadId"]
    client.upload_part(Bucket=bucket, Key="large", UploadId=theirs, PartNumber=1, Body=b"x" * PART)

    assert store_of(case).staged(b"large") == {}
    case.put(b"large", DATA)

    assert case.data(b"large") == DATA
    assert uploads(bucket_server, bucket) == ["large"]


def test_parts_of_a_file_of_which_nobody_told_before_get_its_metadata_in_the_end(made: Made) -> None:
    case, _ = made("plain")
    store, content = store_of(case), case.content(DATA, mode=0o751, modified=9)
    ids = part_ids(b"large", content.entry, PART)
    for number, part in enumerate(ids):
        store.stage(b"large", part, DATA[number * PART : (number + 1) * PART])

    store.publish(b"large", ids, content.entry, None)

    entry = case.seen(b"large")
    assert (entry.mode, entry.modified, entry.size) == (0o751, 9, len(DATA))


def test_parts_of_several_agents_make_one_file(made: Made) -> None:
    case, _ = made("plain")
    content = case.content(DATA)
    ids = part_ids(b"large", content.entry, PART)
    stores = [store_of(case), case.open()]
    for store in stores:
        assert isinstance(store, BeginsParts)
        store.begin(b"large", ids, content.entry)
    for number, part in enumerate(ids):
        stores[number % 2].stage(b"large", part, DATA[number * PART : (number + 1) * PART])  # type: ignore[attr-defined]

    stores[0].publish(b"large", ids, content.entry, None)  # type: ignore[attr-defined]

    assert case.data(b"large") == DATA


# ---------------------------------------------------------------- metadata


def test_what_others_gave_an_object_stays_when_its_metadata_is_changed(
    made: Made, bucket_server: BucketServer
) -> None:
    case, bucket = made("plain")
    bucket_server.client.put_object(
        Bucket=bucket, Key="file", Body=b"data", ContentType="text/css", CacheControl="no-cache",
        StorageClass="STANDARD_IA", Metadata={"colour": "green", "modtime": "1"},
    )  # fmt: skip
    seen = case.seen(b"file")
    assert (seen.modified, seen.extra) == (1, (("colour", "green"),))

    store_of(case).describe(b"file", seen._replace(modified=2, mode=0o600), seen)

    answer: Any = bucket_server.client.head_object(Bucket=bucket, Key="file")
    metadata = {
        "colour": "green",
        "modtime": "2",
        "permissions": str(0o100600),
        "posix_ctime": str(seen.changed),
    }
    assert answer["Metadata"] == metadata
    assert answer["ContentType"] == "text/css"
    assert answer["StorageClass"] == "STANDARD_IA"
    assert case.data(b"file") == b"data"


def test_what_is_too_large_for_one_copy_is_copied_in_parts(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, _ = made("plain")
    monkeypatch.setattr(writing, "LARGEST_COPY", 20)
    monkeypatch.setattr(writing, "COPIED_AT_ONCE", 10)
    seen = case.put(b"large", DATA)

    store_of(case).describe(b"large", seen._replace(mode=0o600), seen)

    assert case.seen(b"large").mode == 0o600
    assert case.data(b"large") == DATA


def test_metadata_that_a_bucket_cannot_hold_is_named_before_anything_is_sent(made: Made) -> None:
    case, _ = made("plain")
    store = store_of(case)
    folder = Entry(b"", Kind.FOLDER, mode=0o755)
    wide = ((b"user.wide", random.Random(1).randbytes(2000)),)

    with pytest.raises(MetadataTooLarge):
        store.describe(b"folder", folder, None, wide)
    with pytest.raises(MetadataTooLarge):
        store.begin(b"large", ["stem-000000"], folder._replace(kind=Kind.FILE), wide)

    assert case.tree() == {}


def test_one_content_with_other_metadata_is_another_version(made: Made) -> None:
    """Its etag is the same: metadata has to tell."""
    case, _ = made("plain")
    seen = case.put(b"file", b"data")
    content = case.content(b"data", modified=5)
    case.store.put(b"file", content, content.entry, seen)
    assert case.seen(b"file").etag == seen.etag

    with pytest.raises(Conflict):
        case.store.remove(b"file", seen)
    with pytest.raises(Conflict):
        store_of(case).describe(b"file", seen, seen)

    assert case.seen(b"file").modified == 5


def test_attack_59_keys_that_no_folder_can_hold_are_no_files(made: Made, bucket_server: BucketServer) -> None:
    case, bucket = made("plain")
    for key in ("a//b", "a/../b", "a/./b", "a/b/..", "a/b/.", "a/fine"):
        bucket_server.client.put_object(Bucket=bucket, Key=key, Body=b"x")

    listed = {entry.name: entry.kind for entry in case.store.list(b"a")}
    inside = {entry.name: entry.kind for entry in case.store.list(b"a/b")}

    special = Kind.SPECIAL
    assert listed == {b"": special, b".": special, b"..": special, b"b": Kind.FOLDER, b"fine": Kind.FILE}
    assert inside == {b".": special, b"..": special}


@pytest.mark.parametrize("data", [b"<Error><Code>InternalError</Code></Error>", b"<Error>"])
def test_bytes_that_look_like_an_error_are_bytes(made: Made, data: bytes) -> None:
    case, _ = made("plain")

    case.put(b"file", data)

    assert case.data(b"file") == data


def test_folders_are_keys_with_a_slash_as_other_programs_make_them(
    made: Made, bucket_server: BucketServer
) -> None:
    case, bucket = made("plain")
    bucket_server.client.put_object(Bucket=bucket, Key="theirs/", Body=b"")
    store_of(case).describe(b"ours", Entry(b"", Kind.FOLDER, modified=8, mode=0o700), None)

    assert case.tree() == {b"ours": Kind.FOLDER, b"theirs": Kind.FOLDER}
    assert case.seen(b"theirs").sealed
    answer: Any = bucket_server.client.head_object(Bucket=bucket, Key="ours/")
    assert answer["Metadata"] == {"permissions": str(0o40700), "modtime": "8", "hdi_isfolder": "true"}


# ---------------------------------------------------------------- opening


def test_a_store_is_opened_by_its_spec(bucket_server: BucketServer) -> None:
    store = open_store(bucket_server.spec(bucket_server.bucket("spec"), b"below"))

    assert store.probe().identity.endswith("/below/")
    store.close()


def test_a_bucket_that_is_not_there_is_told(bucket_server: BucketServer) -> None:
    store = open_store(bucket_server.spec("no-such-bucket"))

    with pytest.raises(StoreError, match="NoSuchBucket"):
        store.probe()
    store.close()


def test_a_key_that_nobody_knows_is_denied(bucket_server: BucketServer) -> None:
    spec = bucket_server.spec(bucket_server.bucket("denied"))
    store = S3Store(StoreSpec("s3", spec.location, identity=spec.identity, secret="another"), patience=QUICK)

    with pytest.raises(StoreError, match="SignatureDoesNotMatch"):
        store.probe()
    store.close()
