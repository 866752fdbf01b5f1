"""Blob over a connection that loses, cuts and damages: no false success, no false failure, nothing written twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.azurite import Azurite
from tests.conformance.conftest import PART, QUICK, Case, blob_spec
from tests.faulty_wire import FaultyWire, Trouble, faulty_wire
from wherry.model.entry import Entry, Kind
from wherry.model.errors import Conflict, Corrupt, Denied, NotFound, StoreError, Unavailable
from wherry.stores.blob.store import BlobStore
from wherry.stores.http import connection
from wherry.stores.http.patience import Patience
from wherry.stores.port import Store, StoreSpec, part_ids

Bad = tuple[Case, FaultyWire]
FILE = r"^PUT \S*/file\?"


def reply(status: str, *headers: str) -> bytes:
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"HTTP/1.1 {status}\r\n{lines}Content-Length: 0\r\n\r\n".encode()


def asked(store: Store) -> None:
    """It has asked which checksums are checked, before there is trouble."""
    assert isinstance(store, BlobStore)
    store._requests._probe(b"probe")


@pytest.fixture
def spec(azurite: Azurite) -> StoreSpec:
    return blob_spec(azurite)


@pytest.fixture
def bad(azurite: Azurite, spec: StoreSpec) -> Iterator[Bad]:
    host, port = azurite.host.split(":")
    with faulty_wire((host, int(port))) as wire:
        detour = replace(spec, location=spec.location.replace(azurite.host, f"127.0.0.1:{wire.port}"))
        case = Case(lambda fence: BlobStore(detour, fence, QUICK, part=PART))
        asked(case.store)
        yield case, wire
        for store in case.opened:
            store.close()


@pytest.mark.parametrize("what", ["lose request", "lose answer", "cut answer"])
@pytest.mark.parametrize("replaces", [False, True])
def test_a_put_whose_answer_was_lost_is_done_once(bad: Bad, what: str, replaces: bool) -> None:
    case, wire = bad
    seen = case.put(b"file", b"before") if replaces else None
    before = wire.count(FILE)
    wire.troubles.append(Trouble(FILE, what))  # type: ignore[arg-type]

    case.put(b"file", b"after", seen)

    assert case.data(b"file") == b"after"
    assert wire.count(FILE) - before == (2 if what == "lose request" else 1)


def test_a_put_whose_answer_was_lost_and_that_somebody_overwrote_is_a_conflict(bad: Bad) -> None:
    case, wire = bad
    other = case.content(b"other", modified=5)
    straight = case.open()
    asked(straight)
    wire.troubles.append(Trouble(FILE, "lose request"))
    wire.troubles.append(Trouble(r"^HEAD \S*/file\?", "lose request"))
    straight.put(b"file", other, other.entry, None)
    wire.troubles.append(Trouble(FILE, "lose request"))

    with pytest.raises(Conflict):
        case.put(b"file", b"mine!")

    assert case.data(b"file") == b"other"


@pytest.mark.parametrize("what", ["lose request", "lose answer"])
def test_a_large_file_is_published_once(bad: Bad, what: str) -> None:
    case, wire = bad
    for pattern in (r"comp=block&", r"comp=blocklist", r"^HEAD "):
        wire.troubles.append(Trouble(pattern, what))  # type: ignore[arg-type]

    case.put(b"large", b"0123456789" * 10)

    assert case.data(b"large") == b"0123456789" * 10


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
    assert isinstance(case.store, BlobStore)
    wire.troubles.append(Trouble(r"comp=metadata", what))  # type: ignore[arg-type]

    case.store.describe(b"file", seen._replace(mode=0o111), seen)

    assert case.seen(b"file").mode == 0o111


def test_a_marker_whose_answer_was_lost_is_made(bad: Bad) -> None:
    case, wire = bad
    assert isinstance(case.store, BlobStore)
    wire.troubles.append(Trouble(r"^PUT \S*/folder\?", "lose answer"))

    case.store.describe(b"folder", Entry(b"", Kind.FOLDER, modified=1, mode=0o755), None)

    assert case.seen(b"folder").sealed


@pytest.mark.parametrize("what", ["lose request", "lose answer", "cut answer"])
def test_reading_goes_on_after_a_lost_answer(bad: Bad, what: str) -> None:
    case, wire = bad
    case.put(b"folder/file", b"data")
    for pattern in (r"comp=list", r"^GET \S*/file\?", r"^HEAD \S*/file\?"):
        wire.troubles.append(Trouble(pattern, what))  # type: ignore[arg-type]

    assert list(case.tree()) == [b"folder", b"folder/file"]
    assert case.data(b"folder/file") == b"data"


def test_what_is_damaged_on_the_way_is_sent_again(bad: Bad) -> None:
    case, wire = bad
    wire.troubles.append(Trouble(FILE, "damage request"))
    wire.troubles.append(Trouble(r"comp=block&", "damage request"))

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


def test_a_checksum_that_the_service_checks_is_found_out_once_and_before_the_first_put(bad: Bad) -> None:
    case, wire = bad
    fresh = case.open()
    content = case.content(b"data")

    for name in (b"one", b"two"):
        fresh.put(name, content, content.entry, None)

    assert wire.count(r"comp=block&") == 2  # that of `case`, and this one's
    assert case.tree() == {b"one": Kind.FILE, b"two": Kind.FILE}
    assert isinstance(fresh, BlobStore)
    assert fresh._requests._crc


def test_without_checked_crc64_it_is_md5_for_good(bad: Bad) -> None:
    case, wire = bad
    wire.troubles.append(Trouble(r"comp=block&", "reply", reply=reply("201 Created")))
    wire.troubles.append(Trouble(r"^PUT \S*/(file|large)\?", "damage request", skip=1))
    fresh = case.open()
    content, large = case.content(b"data"), case.content(b"data" * 10)

    fresh.put(b"file", content, content.entry, None)
    fresh.put(b"large", large, large.entry, None)

    assert isinstance(fresh, BlobStore)
    assert fresh._requests._crc is False
    assert case.data(b"file") == b"data"
    assert case.data(b"large") == b"data" * 10


def test_a_connection_that_the_server_closed_meanwhile_is_no_trouble(
    bad: Bad, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, wire = bad
    monkeypatch.setattr(connection, "IDLE_SECONDS", 1000.0)
    case.put(b"first", b"x")
    assert isinstance(case.store, BlobStore)
    case.store._requests._patience = Patience(attempts=1)
    wire.hang_up()

    case.put(b"second", b"y")
    wire.hang_up()
    assert case.data(b"second") == b"y"

    assert wire.count(r"^PUT \S*/second\?") == 1


def test_a_busy_service_is_asked_again_when_it_says(bad: Bad) -> None:
    case, wire = bad
    busy = reply("503 Server Busy", "Retry-After: 7", "x-ms-error-code: ServerBusy")
    wire.troubles.append(Trouble(FILE, "reply", times=2, reply=busy))
    waits: list[float] = []
    assert isinstance(case.store, BlobStore)
    case.store._requests._patience = replace(QUICK, sleep=waits.append, busy_seconds=100)

    case.put(b"file", b"data")

    assert case.data(b"file") == b"data"
    assert waits == [7.0, 7.0]


def test_a_service_that_stays_busy_is_unavailable(bad: Bad) -> None:
    case, wire = bad
    wire.troubles.append(
        Trouble(FILE, "reply", times=99, reply=reply("429 Too Many Requests", "Retry-After: 1"))
    )
    assert isinstance(case.store, BlobStore)
    case.store._requests._patience = replace(QUICK, sleep=lambda _: None)

    with pytest.raises(Unavailable) as trouble:
        case.put(b"file", b"data")

    assert trouble.value.retry_after == 1.0
    assert wire.count(FILE) == QUICK.attempts


@pytest.mark.parametrize(
    ("status", "code", "meaning"),
    [
        ("403 Forbidden", "AuthorizationFailure", Denied),
        ("403 Forbidden", "AuthenticationFailed", Denied),
        ("404 Not Found", "ContainerNotFound", NotFound),
        ("409 Conflict", "BlobImmutableDueToPolicy", Denied),
        ("400 Bad Request", "SomethingElse", StoreError),
    ],
)
def test_refusals_are_told_apart_and_not_repeated(
    bad: Bad, spec: StoreSpec, status: str, code: str, meaning: type[StoreError]
) -> None:
    case, wire = bad
    wire.troubles.append(Trouble(FILE, "reply", times=99, reply=reply(status, f"x-ms-error-code: {code}")))

    with pytest.raises(meaning) as trouble:
        case.put(b"file", b"data")

    assert code in str(trouble.value)
    assert wire.count(FILE) == 1


def test_no_error_tells_the_credential(bad: Bad, spec: StoreSpec) -> None:
    case, wire = bad
    signature = spec.secret.partition("sig=")[2].partition("&")[0]
    assert signature
    answers = [
        Trouble(FILE, "lose request", times=99),
        Trouble(FILE, "reply", times=99, reply=reply("403 Forbidden")),
        Trouble(FILE, "reply", times=99, reply=b"nonsense\r\n\r\n"),
    ]
    for trouble in answers:
        wire.troubles[:] = [trouble]
        with pytest.raises(StoreError) as told:
            case.put(b"file", b"data")
        chain: BaseException | None = told.value
        while chain is not None:
            assert signature not in repr(chain)
            chain = chain.__cause__ or chain.__context__
    assert signature not in repr(spec)
    assert signature not in repr(case.store)


def a_page(inside: str, marker: str = "") -> bytes:
    body = (
        f"<EnumerationResults><Blobs>{inside}</Blobs><NextMarker>{marker}</NextMarker></EnumerationResults>"
    )
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


@pytest.mark.parametrize(
    "page",
    [
        a_page("<Blob><Name>elsewhere</Name><Properties/></Blob>"),
        a_page("<Blob><Name>folder/below/file</Name><Properties/></Blob>"),
        a_page("<Blob><Name>folder/../file</Name><Properties/></Blob>"),
        a_page("<BlobPrefix><Name>other/</Name></BlobPrefix>"),
        a_page("", "again and again"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nnot xml <",
    ],
)
def test_attack_59_a_listing_that_cannot_be_is_no_listing(bad: Bad, page: bytes) -> None:
    case, wire = bad
    wire.troubles.append(Trouble(r"comp=list", "reply", times=99, reply=page))

    with pytest.raises(StoreError):
        list(case.store.list(b"folder"))


def test_a_half_sent_file_is_gone_on_with(bad: Bad) -> None:
    case, wire = bad
    assert isinstance(case.store, BlobStore)
    content = case.content(b"0123456789abcdef" * 4)
    ids = part_ids(b"large", content.entry, PART)
    for index, part in enumerate(ids[:3]):
        case.store.stage(b"large", part, content.read(index * PART, PART))
    wire.troubles.append(Trouble(r"comp=block&", "lose request", times=99))
    with pytest.raises(Unavailable):
        case.store.stage(b"large", ids[3], content.read(3 * PART, PART))
    wire.troubles.clear()

    assert set(case.store.staged(b"large")) == set(ids[:3])
    case.store.stage(b"large", ids[3], content.read(3 * PART, PART))
    case.store.publish(b"large", ids, content.entry, None)

    assert case.data(b"large") == b"0123456789abcdef" * 4


def test_a_refused_credential_is_denied(azurite: Azurite, spec: StoreSpec) -> None:
    for secret in ("sv=2024-11-04&sr=c&sig=AAAA", ""):
        store = BlobStore(replace(spec, secret=secret), patience=QUICK)
        with pytest.raises(Denied):
            store.probe()
        store.close()


def test_a_container_that_is_not_there_is_not_found(azurite: Azurite) -> None:
    spec = blob_spec(azurite)
    azurite.service.delete_container(spec.location.rpartition("/")[2])
    store = BlobStore(spec, patience=QUICK)

    with pytest.raises(NotFound):
        store.probe()
    with pytest.raises(NotFound):
        list(store.list(b""))
    store.close()


def test_a_server_that_is_not_there_is_unavailable(spec: StoreSpec) -> None:
    store = BlobStore(replace(spec, location="http://127.0.0.1:9/account/container"), patience=QUICK)

    with pytest.raises(Unavailable):
        store.probe()
    store.close()
