"""Listings, metadata and waiting: what a hostile or careless service or tenant can put there."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.model.entry import Entry, Kind
from wherry.model.errors import Corrupt, StoreError, Unavailable, Unsafe, UsageError
from wherry.stores.blob import listing
from wherry.stores.blob.metadata import entry_of, metadata_of, seconds
from wherry.stores.blob.patience import Patience
from wherry.stores.blob.requests import Requests
from wherry.stores.blob.wire import Address, Answer, Lost, Unreached, Wire
from wherry.stores.port import StoreSpec, Traits, no_fence, part_ids, part_size
from wherry.stores.registry import open_store

ETAG = "0x8D"
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


def blob(name: str, inside: str = "") -> str:
    return (
        f"<Blob><Name>{name}</Name><Properties><Last-Modified>{DATE}</Last-Modified><Etag>{ETAG}</Etag>"
        f"<Content-Length>5</Content-Length></Properties>{inside}</Blob>"
    )


def page(inside: str, marker: str = "") -> bytes:
    return (
        f'\ufeff<?xml version="1.0" encoding="utf-8"?><EnumerationResults ServiceEndpoint="x"><Blobs>{inside}</Blobs>'
        f"<NextMarker>{marker}</NextMarker></EnumerationResults>"
    ).encode()


def test_a_page_is_read() -> None:
    found = listing.page(
        page(
            "<BlobPrefix><Name>d/</Name></BlobPrefix>"
            + blob(" a &amp;\n&lt;b&gt; ", "<Metadata><Mode>1</Mode><empty /></Metadata>")
            + blob("x", ""),
            "next&amp;one",
        )
    )

    assert found.prefixes == [b"d/"]
    assert [one.name for one in found.blobs] == [b" a &\n<b> ", b"x"]
    assert found.blobs[0].metadata == {"mode": "1", "empty": ""}
    assert found.blobs[1] == listing.Blob(b"x", 5, DATE, ETAG, {})
    assert found.marker == "next&one"


def test_names_that_xml_cannot_hold_come_encoded() -> None:
    encoded = blob("X").replace("<Name>X", '<Name Encoded="true">a%01%2Fb%25')

    assert listing.page(page(encoded)).blobs[0].name == b"a\x01/b%"


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"not xml",
        b"<a><b></a>",
        b'<!DOCTYPE a [<!ENTITY x "y">]><EnumerationResults>&x;</EnumerationResults>',
        b"<!DOCTYPE a SYSTEM 'file:///etc/passwd'><EnumerationResults/>",
        '<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>'.encode("utf-16"),
        page("<Blob><Properties/></Blob>"),
        page("<Blob><Name>x</Name></Blob>"),
        page(blob("x").replace(">5<", ">-5<")),
        page(blob("x").replace(">5<", ">five<")),
    ],
)
def test_xml_that_is_refused(document: bytes) -> None:
    with pytest.raises(StoreError):
        listing.page(document)


def test_block_lists_are_read() -> None:
    name = base64.b64encode(b"part-1").decode()
    document = (
        f"<BlockList><CommittedBlocks/><UncommittedBlocks><Block><Name>{name}</Name><Size>7</Size></Block>"
        "<Block><Name>odd</Name></Block></UncommittedBlocks></BlockList>"
    )

    assert list(listing.uncommitted(document.encode())) == [(name, 7)]


@given(
    mode=st.integers(0, 0o7777),
    modified=st.integers(-(2**63), 2**63 - 1),
    owner=st.integers(0, 2**32 - 1),
    kind=st.sampled_from([Kind.FILE, Kind.FOLDER]),
)
def test_metadata_is_read_as_it_was_written(mode: int, modified: int, owner: int, kind: Kind) -> None:
    like = Entry(b"", kind, 9, modified, 5, mode, owner, owner, 3)

    entry = entry_of(b"n", 9, DATE, f'"{ETAG}"', metadata_of(like))

    assert entry == Entry(
        b"n", kind, 9 if kind is Kind.FILE else 0, modified, 784111777 * 10**9, mode, owner, owner, etag=ETAG
    )


def test_metadata_is_in_the_keys_of_the_original() -> None:
    like = Entry(b"", Kind.FILE, 9, 1_600_000_000_123_456_789, 1_700_000_000_000_000_001, 0o640, 1000, 100, 2)

    assert metadata_of(like) == {
        "permissions": str(0o100640), "modtime": "1600000000123456789", "posix_owner": "1000", "posix_group": "100",
        "posix_ctime": "1700000000000000001", "posix_nlink": "2",
    }  # fmt: skip
    assert metadata_of(Entry(b"", Kind.FOLDER, mode=0o755)) == {
        "permissions": "16877",
        "hdi_isfolder": "true",
    }


@given(st.dictionaries(
    st.sampled_from(["permissions", "modtime", "posix_owner", "posix_group", "hdi_isfolder", "other"]), st.text(),
))  # fmt: skip
def test_metadata_of_strangers_never_fails(metadata: dict[str, str]) -> None:
    entry = entry_of(b"n", 1, "no date", "", metadata)

    assert entry.mode is None or 0 <= entry.mode <= 0o7777
    assert entry.uid is None or 0 <= entry.uid < 2**32


def test_malformed_metadata_is_unknown() -> None:
    bad = {"permissions": "99999999", "modtime": "1.5", "posix_owner": "-1", "posix_group": "\u0661"}
    entry = entry_of(b"n", 1, DATE, "", bad)

    assert (entry.mode, entry.modified, entry.uid, entry.gid) == (None, None, None, None)


def test_foreign_metadata_stays_but_only_what_a_header_carries() -> None:
    entry = entry_of(b"n", 1, DATE, "", {"tag": "v", "modtime": "1"})
    hostile = (("a-b", "v"), ("crlf", "x\r\ny: z"), ("modtime", "7"), ("fine", "ok"))

    assert entry.extra == (("tag", "v"),)
    assert metadata_of(Entry(b"", Kind.FILE, modified=1, extra=entry.extra), hostile) == {
        "tag": "v", "modtime": "1", "fine": "ok"
    }  # fmt: skip


def test_dates() -> None:
    assert seconds(DATE) == 784111777
    assert seconds("Sun, 06 Foo 1994 08:49:37 GMT") == seconds("") == 0


def test_a_value_with_a_line_break_never_reaches_a_header() -> None:
    requests = Requests(Wire(Address.parse("http://127.0.0.1:9/c")), "sig=x", no_fence, Patience(attempts=1))

    with pytest.raises(Unsafe):
        requests.delete(b"x", 'a"\r\nEvil: 1', lambda: None)


# ---------------------------------------------------------------- parts


@given(st.integers(0, 200 * 2**40))
def test_there_are_never_too_many_parts(size: int) -> None:
    traits = Traits(holds=None, part_size=8 << 20, max_parts=50_000)  # type: ignore[arg-type]

    chosen = part_size(size, traits)

    assert chosen >= traits.part_size
    assert -(-size // chosen) <= traits.max_parts
    assert chosen == traits.part_size or chosen % (1 << 20) == 0


@pytest.mark.parametrize(("size", "count"), [(0, 1), (1, 1), (10, 1), (11, 2), (100, 10), (101, 11)])
def test_each_part_has_an_id_of_the_same_length(size: int, count: int) -> None:
    ids = part_ids(b"p", Entry(b"p", Kind.FILE, size), 10)

    assert len(ids) == len(set(ids)) == count
    assert len({len(one) for one in ids}) == 1
    assert ids == part_ids(b"p", Entry(b"p", Kind.FILE, size, device=9), 10)


# ---------------------------------------------------------------- patience


def patience(waits: list[float], attempts: int = 4) -> Patience:
    return Patience(attempts, 1000, first_wait=1, longest_wait=4, sleep=waits.append, draw=lambda: 1.0)


def answers(*given: Answer | Exception) -> tuple[list[int], object]:
    calls: list[int] = []

    def send() -> Answer:
        calls.append(1)
        now = given[min(len(calls), len(given)) - 1]
        if isinstance(now, Exception):
            raise now
        return now

    return calls, send


def answer(status: int, **headers: str) -> Answer:
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, b"")


def test_waits_grow_up_to_a_bound() -> None:
    waits: list[float] = []
    calls, send = answers(answer(503))

    with pytest.raises(Unavailable):
        patience(waits, attempts=6).persist(send)  # type: ignore[arg-type]

    assert waits == [1, 2, 4, 4, 4]
    assert len(calls) == 6


def test_a_named_time_is_obeyed_within_reason() -> None:
    waits: list[float] = []
    _, send = answers(
        answer(503, retry_after="9"),
        answer(429, retry_after="99999"),
        answer(500, retry_after="soon"),
        answer(201),
    )

    assert patience(waits).persist(send).status == 201  # type: ignore[arg-type]
    assert waits == [9, 60, 4]


def test_time_is_bounded_too() -> None:
    calls, send = answers(answer(503, retry_after="50"))

    with pytest.raises(Unavailable):
        Patience(attempts=100, seconds=10, sleep=lambda _: None).persist(send)  # type: ignore[arg-type]

    assert len(calls) == 1


@pytest.mark.parametrize("first", [Lost("x"), answer(500), answer(503)])
def test_an_unknown_outcome_is_looked_at_before_the_next_try(first: Answer | Exception) -> None:
    calls, send = answers(first, answer(201))

    assert patience([]).persist(send, lambda: "done") == "done"  # type: ignore[arg-type]
    assert len(calls) == 1


@pytest.mark.parametrize("first", [Unreached("x"), answer(429)])
def test_a_known_failure_is_not_looked_at(first: Answer | Exception) -> None:
    calls, send = answers(first, answer(201))

    outcome = patience([]).persist(send, lambda: "done")  # type: ignore[arg-type]

    assert isinstance(outcome, Answer)
    assert len(calls) == 2


def test_what_comes_to_light_only_with_the_second_try() -> None:
    """The first request was still on its way when it was looked for."""
    looks = iter([None, "done"])
    _, send = answers(Lost("x"), answer(409))

    assert patience([]).persist(send, lambda: next(looks)) == "done"  # type: ignore[arg-type]


def test_bytes_that_never_arrive_whole_are_given_up_early() -> None:
    calls, send = answers(answer(400, x_ms_error_code="Md5Mismatch"))

    with pytest.raises(Corrupt):
        patience([], attempts=50).persist(send)  # type: ignore[arg-type]

    assert len(calls) == 3


def test_unknown_kinds_of_stores_are_named() -> None:
    with pytest.raises(UsageError, match="floppy"):
        open_store(StoreSpec("floppy", "a:"))
    store = open_store(StoreSpec("memory", "a"))
    assert store.probe().identity == open_store(StoreSpec("memory", "a")).probe().identity
