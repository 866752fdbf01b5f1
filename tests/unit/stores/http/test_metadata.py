"""Metadata of objects: what is kept in it, and what careless or hostile others can put there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wherry.model.entry import Entry, Kind
from wherry.stores.http.metadata import entry_of, metadata_of, seconds

ETAG = "0x8D"
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


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
