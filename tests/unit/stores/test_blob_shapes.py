"""Listings and the numbers of parts: what a hostile or careless service or tenant can put there."""

from __future__ import annotations

import base64
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.model.entry import Entry, Kind
from wherry.model.errors import StoreError, Unsafe, UsageError
from wherry.stores.blob import listing
from wherry.stores.blob.requests import Requests
from wherry.stores.http.patience import Patience
from wherry.stores.http.wire import Address, Wire
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
def test_attack_66_xml_that_is_refused(document: bytes) -> None:
    with pytest.raises(StoreError):
        listing.page(document)


# What XML can hold; line ends come as the service writes them.
TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Cn"], include_characters="\t\n\r&<>\"'"), max_size=12
)
KEYS = st.sampled_from([
    "modtime", "permissions", "Name", "Blob", "Blobs", "Metadata", "Properties", "Etag", "BlobPrefix", "NextMarker",
    "Content-Length", "a_1",
])  # fmt: skip


def text(value: str) -> str:
    return escape(value, {"\r": "&#xD;"})


@given(
    st.lists(
        st.one_of(
            st.tuples(TEXT.filter(bool), st.dictionaries(KEYS, TEXT)),
            TEXT.filter(bool),
        )
    ),
    TEXT,
    st.booleans(),
)
def test_a_page_is_scanned_to_what_the_parser_reads(
    items: list[tuple[str, dict[str, str]] | str], marker: str, spaced: bool
) -> None:
    inside = []
    for item in items:
        if isinstance(item, str):
            inside.append(f"<BlobPrefix><Name>{text(item)}/</Name></BlobPrefix>")
        else:
            pairs = "".join(f"<{key}>{text(value)}</{key}>" for key, value in item[1].items())
            metadata = f"<Metadata>{pairs}</Metadata>" if pairs else "<Metadata />"
            inside.append(blob(text(item[0]), metadata + "<OrMetadata />"))
    document = page(("\n" if spaced else "").join(inside), text(marker))

    assert listing.page(document) == listing._parsed(document)


def test_pages_as_the_service_writes_them_need_no_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "parse", lambda _: pytest.fail("it was parsed"))
    metadata = "<Metadata><modtime>5</modtime><empty /></Metadata><OrMetadata />"

    found = listing.page(
        page(blob("\u00e9", metadata) + "<BlobPrefix><Name>d/</Name></BlobPrefix>" + blob("x"))
    )

    assert [one.metadata for one in found.blobs] == [{"modtime": "5", "empty": ""}, {}]
    assert found.prefixes == [b"d/"]


@pytest.mark.parametrize(
    "document",
    [
        page(blob("x") + "<Odd/>"),
        page(blob("x", "<Metadata><a>b</a>")),
        page(blob("x")).replace(b"</EnumerationResults>", b""),
        page(blob("\u00e9")).replace("\u00e9".encode(), b"\xff"),
        page(blob("x").replace("</Blob>", "")),
        page(blob("x"))[:-40],
    ],
)
def test_what_looks_otherwise_is_left_to_the_parser(document: bytes) -> None:
    try:
        wanted = listing._parsed(document)
    except StoreError:
        with pytest.raises(StoreError):
            listing.page(document)
    else:
        assert listing.page(document) == wanted


def test_block_lists_are_read() -> None:
    name = base64.b64encode(b"part-1").decode()
    document = (
        f"<BlockList><CommittedBlocks/><UncommittedBlocks><Block><Name>{name}</Name><Size>7</Size></Block>"
        "<Block><Name>odd</Name></Block></UncommittedBlocks></BlockList>"
    )

    assert list(listing.uncommitted(document.encode())) == [(name, 7)]


def test_attack_66_a_value_with_a_line_break_never_reaches_a_header() -> None:
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


def test_unknown_kinds_of_stores_are_named() -> None:
    with pytest.raises(UsageError, match="floppy"):
        open_store(StoreSpec("floppy", "a:"))
    store = open_store(StoreSpec("memory", "a"))
    assert store.probe().identity == open_store(StoreSpec("memory", "a")).probe().identity
