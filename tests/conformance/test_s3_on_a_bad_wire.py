"""S3 over a connection that loses, cuts and damages: no false success, no false failure, nothing written twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.buckets import SECRET, BucketServer
from tests.conformance.conftest import QUICK
from tests.conformance.s3_wire import PARTS, Bad, bad_wire, reply
from tests.faulty_wire import Trouble
from wherry.model.entry import Entry, Kind
from wherry.model.errors import (
    Conflict,
    Corrupt,
    Denied,
    Full,
    NotFound,
    StoreError,
    Unavailable,
    Unsupported,
)
from wherry.stores.port import StoreSpec
from wherry.stores.s3.store import S3Store

FILE = r"^PUT \S*/file "
ELSEWHERE = "x-amz-bucket-region: eu-west-3"
COMPLETE = r"^POST \S*/large\?uploadId"


@pytest.fixture
def spec(bucket_server: BucketServer) -> StoreSpec:
    return bucket_server.spec(bucket_server.bucket("wire"))


@pytest.fixture
def bad(bucket_server: BucketServer, spec: StoreSpec) -> Iterator[Bad]:
    with bad_wire(bucket_server, spec) as made:
        yield made


@pytest.mark.parametrize("what", ["lose request", "lose answer", "cut answer"])
@pytest.mark.parametrize("replaces", [b"", b"before", b"after"])
def test_a_put_whose_answer_was_lost_is_done_once(bad: Bad, what: str, replaces: bytes) -> None:
    case, wire = bad
    seen = case.put(b"file", replaces) if replaces else None
    before = wire.count(FILE)
    wire.troubles.append(Trouble(FILE, what))  # type: ignore[arg-type]
    content = case.content(b"after", modified=7)

    case.store.put(b"file", content, content.entry, seen)

    assert case.data(b"file") == b"after"
    assert case.seen(b"file").modified == 7
    assert wire.count(FILE) - before == (2 if what == "lose request" else 1)


def test_a_put_whose_answer_was_lost_and_that_somebody_overwrote_is_a_conflict(bad: Bad) -> None:
    case, wire = bad
    other = case.content(b"other", modified=5)
    straight = case.open()
    straight.put(b"file", other, other.entry, None)
    wire.troubles.append(Trouble(FILE, "lose request"))

    with pytest.raises(Conflict):
        case.put(b"file", b"mine!")

    assert case.data(b"file") == b"other"


@pytest.mark.parametrize("what", ["lose request", "lose answer"])
@pytest.mark.parametrize("replaces", [False, True])
def test_a_large_file_is_published_once(bad: Bad, what: str, replaces: bool) -> None:
    case, wire = bad
    seen = case.put(b"large", b"0123456789" * 10) if replaces else None
    for pattern in (PARTS, COMPLETE, r"^HEAD ", r"^POST \S*/large\?uploads", r"^GET \S*uploads="):
        wire.troubles.append(Trouble(pattern, what))  # type: ignore[arg-type]

    case.put(b"large", b"0123456789" * 10, seen)

    assert case.data(b"large") == b"0123456789" * 10
    assert wire.count(PARTS) == (7 + 1) + 7 * replaces


@pytest.mark.parametrize("what", ["lose request", "lose answer"])
def test_a_removal_whose_answer_was_lost_is_done(bad: Bad, what: str) -> None:
    case, wire = bad
    seen = case.put(b"file", b"x")
    wire.troubles.append(Trouble(r"^DELETE ", what))  # type: ignore[arg-type]

    case.store.remove(b"file", seen)

    assert case.tree() == {}


@pytest.mark.parametrize("what", ["lose request", "lose answer"])
def test_metadata_whose_answer_was_lost_is_set(bad: Bad, what: str) -> None:
    case, wire = bad
    seen = case.put(b"file", b"x")
    assert isinstance(case.store, S3Store)
    wire.troubles.append(Trouble(FILE, what))  # type: ignore[arg-type]

    case.store.describe(b"file", seen._replace(mode=0o111), seen)

    assert case.seen(b"file").mode == 0o111


def test_a_marker_whose_answer_was_lost_is_made(bad: Bad) -> None:
    case, wire = bad
    assert isinstance(case.store, S3Store)
    wire.troubles.append(Trouble(r"^PUT \S*/folder/ ", "lose answer"))

    case.store.describe(b"folder", Entry(b"", Kind.FOLDER, modified=1, mode=0o755), None)

    assert case.seen(b"folder").sealed
    assert wire.count(r"^PUT \S*/folder/ ") == 1


@pytest.mark.parametrize("what", ["lose request", "lose answer", "cut answer"])
def test_reading_goes_on_after_a_lost_answer(bad: Bad, what: str) -> None:
    case, wire = bad
    case.put(b"folder/file", b"data")
    for pattern in (r"list-type", r"^GET \S*/file ", r"^HEAD \S*/file "):
        wire.troubles.append(Trouble(pattern, what))  # type: ignore[arg-type]

    assert list(case.tree()) == [b"folder", b"folder/file"]
    assert case.data(b"folder/file") == b"data"


def test_what_is_damaged_on_the_way_is_sent_again(bad: Bad) -> None:
    case, wire = bad
    wire.troubles.append(Trouble(FILE, "damage request"))
    wire.troubles.append(Trouble(PARTS, "damage request"))

    case.put(b"file", b"whole")
    case.put(b"large", b"whole" * 10)

    assert case.data(b"file") == b"whole"
    assert case.data(b"large") == b"whole" * 10


def test_what_never_arrives_whole_is_not_stored(bad: Bad) -> None:
    case, wire = bad
    wire.troubles.append(Trouble(FILE, "damage request", times=99))

    with pytest.raises(Corrupt):
        case.put(b"file", b"whole")

    assert case.tree() == {}


def test_a_busy_service_is_asked_again_when_it_says(bad: Bad) -> None:
    case, wire = bad
    wire.troubles.append(
        Trouble(FILE, "reply", times=2, reply=reply("503 Slow Down", "SlowDown", "Retry-After: 7"))
    )
    waits: list[float] = []
    assert isinstance(case.store, S3Store)
    case.store._service._patience = replace(QUICK, sleep=waits.append, busy_seconds=100)
    content = case.content(b"data")

    case.store.put(b"file", content, content.entry, None)

    # One that is too busy has done nothing: nobody looks.
    assert wire.count(r"^HEAD ") == 0
    assert case.data(b"file") == b"data"
    assert waits == [7.0, 7.0]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("409 Conflict", "ConditionalRequestConflict"), ("409 Conflict", "OperationAborted"),
        ("400 Bad Request", "RequestTimeout"),
    ],
)  # fmt: skip
def test_what_passes_is_tried_again(bad: Bad, status: str, code: str) -> None:
    case, wire = bad
    wire.troubles.append(Trouble(FILE, "reply", reply=reply(status, code)))

    case.put(b"file", b"data")

    assert case.data(b"file") == b"data"


def test_a_service_that_stays_busy_is_unavailable(bad: Bad) -> None:
    case, wire = bad
    wire.troubles.append(
        Trouble(FILE, "reply", times=99, reply=reply("503 Slow Down", "SlowDown", "Retry-After: 1"))
    )
    assert isinstance(case.store, S3Store)
    case.store._service._patience = replace(QUICK, sleep=lambda _: None)

    with pytest.raises(Unavailable) as trouble:
        case.put(b"file", b"data")

    assert trouble.value.retry_after == 1.0
    assert wire.count(FILE) == QUICK.attempts


@pytest.mark.parametrize(
    ("status", "code", "meaning"),
    [
        ("403 Forbidden", "AccessDenied", Denied),
        ("403 Forbidden", "SignatureDoesNotMatch", Denied),
        ("404 Not Found", "NoSuchBucket", NotFound),
        ("400 Bad Request", "MetadataTooLarge", Unsupported),
        ("400 Bad Request", "KeyTooLongError", Unsupported),
        ("507 Insufficient Storage", "XMinioStorageFull", Full),
        ("400 Bad Request", "SomethingElse", StoreError),
    ],
)
def test_refusals_are_told_apart_and_not_repeated(
    bad: Bad, status: str, code: str, meaning: type[StoreError]
) -> None:
    case, wire = bad
    wire.troubles.append(Trouble(FILE, "reply", times=99, reply=reply(status, code)))

    with pytest.raises(meaning) as trouble:
        case.put(b"file", b"data")

    assert code in str(trouble.value)
    assert wire.count(FILE) == 1


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (reply("301 Moved Permanently", "PermanentRedirect", ELSEWHERE), "region eu-west-3"),
        (reply("400 Bad Request", "AuthorizationHeaderMalformed", ELSEWHERE), "region eu-west-3"),
        (reply("403 Forbidden", "RequestTimeTooSkewed"), "clock"),
    ],
)  # fmt: skip
def test_a_wrong_region_and_a_wrong_clock_are_named(bad: Bad, answer: bytes, told: str) -> None:
    case, wire = bad
    wire.troubles.append(Trouble(r"list-type", "reply", times=99, reply=answer))

    with pytest.raises(StoreError, match=told):
        case.store.probe()


@pytest.mark.parametrize(
    ("code", "meaning"),
    [("InternalError", None), ("SlowDown", None), ("PreconditionFailed", Conflict), ("X", StoreError)],
)  # fmt: skip
def test_an_error_in_an_answer_of_success_is_an_error(
    bad: Bad, code: str, meaning: type[StoreError] | None
) -> None:
    case, wire = bad
    seen = case.put(b"file", b"x")
    assert isinstance(case.store, S3Store)
    # Amazon sends blanks while it works, and says only then how it ended.
    body = f' \n  <?xml version="1.0"?>\n<Error><Code>{code}</Code></Error>'
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    wire.troubles += [Trouble(COMPLETE, "reply", reply=answer), Trouble(FILE, "reply", reply=answer)]

    if meaning:
        with pytest.raises(meaning):
            case.put(b"large", b"0123456789" * 10)
        with pytest.raises(meaning):
            case.store.describe(b"file", seen._replace(mode=0o111), seen)
        assert case.tree() == {b"file": Kind.FILE}
        return
    case.put(b"large", b"0123456789" * 10)
    case.store.describe(b"file", seen._replace(mode=0o111), seen)

    assert case.data(b"large") == b"0123456789" * 10
    assert case.seen(b"file").mode == 0o111


def test_no_error_tells_the_secret(bad: Bad, spec: StoreSpec) -> None:
    case, wire = bad
    answers = [
        Trouble(FILE, "lose request", times=99),
        Trouble(FILE, "reply", times=99, reply=reply("403 Forbidden", "AccessDenied")),
        Trouble(FILE, "reply", times=99, reply=b"nonsense\r\n\r\n"),
    ]
    for trouble in answers:
        wire.troubles[:] = [trouble]
        with pytest.raises(StoreError) as told:
            case.put(b"file", b"data")
        chain: BaseException | None = told.value
        while chain is not None:
            assert SECRET not in repr(chain)
            chain = chain.__cause__ or chain.__context__
    assert SECRET not in repr(spec)
    assert SECRET not in repr(case.store)


def a_page(inside: str, more: str = "<IsTruncated>false</IsTruncated>") -> bytes:
    body = f"<ListBucketResult>{inside}{more}</ListBucketResult>"
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


@pytest.mark.parametrize(
    "page",
    [
        a_page("<Contents><Key>elsewhere</Key><Size>1</Size></Contents>"),
        a_page("<Contents><Key>folder/below/file</Key><Size>1</Size></Contents>"),
        a_page("<Contents><Key>folder/file</Key><Size>much</Size></Contents>"),
        a_page("<Contents><Size>1</Size></Contents>"),
        a_page("<CommonPrefixes><Prefix>other/</Prefix></CommonPrefixes>"),
        a_page("", "<IsTruncated>true</IsTruncated>"),
        a_page("", "<IsTruncated>true</IsTruncated><NextContinuationToken>again</NextContinuationToken>"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nnot xml <",
        b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n<html></html>",
    ],
)
def test_attack_59_a_listing_that_cannot_be_is_no_listing(bad: Bad, page: bytes) -> None:
    case, wire = bad
    wire.troubles.append(Trouble(r"list-type", "reply", times=99, reply=page))

    with pytest.raises(StoreError):
        list(case.store.list(b"folder"))
