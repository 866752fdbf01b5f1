"""Metadata of objects: what is kept in it, and what careless or hostile others can put there."""

from __future__ import annotations

import base64
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.model.entry import Attributes, Entry, Kind
from wherry.model.errors import MetadataTooLarge
from wherry.stores.http.metadata import attributes_of, entry_of, fitting, metadata_of, seconds

ETAG = "0x8D"
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


@given(
    mode=st.integers(0, 0o7777),
    modified=st.integers(-(2**63), 2**63 - 1),
    owner=st.integers(0, 2**32 - 1),
    kind=st.sampled_from([Kind.FILE, Kind.FOLDER, Kind.LINK]),
)
def test_metadata_is_read_as_it_was_written(mode: int, modified: int, owner: int, kind: Kind) -> None:
    like = Entry(b"", kind, 9, modified, 5, mode, owner, owner)

    entry = entry_of(b"n", 9, DATE, f'"{ETAG}"', metadata_of(like))

    assert entry == Entry(
        b"n", kind, 9 if kind is Kind.FILE else 0, modified, 784111777 * 10**9, mode, owner, owner, etag=ETAG,
        source_changed=5,
    )  # fmt: skip


def test_metadata_is_in_the_keys_of_the_original() -> None:
    like = Entry(
        b"", Kind.FILE, 9, 1_600_000_000_123_456_789, 1_700_000_000_000_000_001, 0o640, 1000, 100, 2, 66, 77
    )

    assert metadata_of(like) == {
        "permissions": str(0o100640), "modtime": "1600000000123456789", "posix_owner": "1000", "posix_group": "100",
        "posix_ctime": "1700000000000000001", "posix_nlink": "2", "posix_ino": "77", "posix_dev": "66",
    }  # fmt: skip
    assert metadata_of(Entry(b"", Kind.FOLDER, mode=0o755)) == {
        "permissions": "16877",
        "hdi_isfolder": "true",
    }
    assert metadata_of(Entry(b"", Kind.LINK, mode=0o777)) == {
        "permissions": str(0o120777),
        "is_symlink": "true",
    }


# ---------------------------------------------------------------- several names of one file


def linked(**more: int) -> Entry:
    like = Entry(b"", Kind.FILE, 9, 5, mode=0o644, links=2, device=66, inode=77)._replace(**more)  # type: ignore[arg-type]
    return entry_of(b"n", like.size, DATE, ETAG, metadata_of(like))


def test_names_of_one_file_are_known_by_device_and_inode() -> None:
    one, other = linked(), linked(mode=0o600)

    assert one.links == 2
    assert one.inode == 77
    assert (one.device, one.inode) == (other.device, other.inode)


def test_a_number_that_came_again_is_another_file() -> None:
    groups = {
        (one.device, one.inode) for one in (linked(), linked(size=8), linked(modified=6), linked(device=1))
    }

    assert len(groups) == 4


def test_without_numbers_nothing_is_a_name_of_anything_else() -> None:
    for metadata in ({"posix_nlink": "2"}, {"posix_nlink": "2", "posix_ino": "x", "posix_dev": "1"}, {
        "posix_nlink": "1", "posix_ino": "5", "posix_dev": "1",
    }):  # fmt: skip
        entry = entry_of(b"n", 9, DATE, ETAG, metadata)
        assert (entry.links, entry.inode, entry.device) == (1, 0, 0)


def test_a_blob_for_a_pipe_or_device_of_another_engine_is_no_file() -> None:
    assert entry_of(b"n", 0, DATE, ETAG, {"is_fifo": "true"}).kind is Kind.SPECIAL


# ---------------------------------------------------------------- extended attributes

PAIRS = st.dictionaries(st.binary(min_size=1, max_size=255), st.binary(max_size=600), max_size=5)


@given(PAIRS)
def test_extended_attributes_are_read_as_they_were_written(pairs: dict[bytes, bytes]) -> None:
    attributes = tuple(sorted(pairs.items()))

    entry = entry_of(b"n", 9, DATE, ETAG, metadata_of(Entry(b"", Kind.FILE), (), attributes))

    assert attributes_of(entry.extra) == attributes


def test_an_access_list_takes_little_room() -> None:
    acl = b"\x02\x00\x00\x00" + b"".join(
        bytes([tag, 0, 7, 0]) + (2**32 - 1).to_bytes(4, "little") for tag in (1, 4, 16, 32)
    )
    metadata = metadata_of(Entry(b"", Kind.FILE), (), ((b"system.posix_acl_access", acl),))

    assert len(metadata["wherry_xattrs"]) < 100


@given(
    st.one_of(st.text(max_size=50), st.binary(max_size=50).map(lambda raw: base64.b64encode(raw).decode()))
)
def test_attributes_of_strangers_never_fail(word: str) -> None:
    assert isinstance(attributes_of((("wherry_xattrs", word),)), tuple)


def test_a_word_that_unfolds_without_end_is_malformed() -> None:
    squeezer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    bomb = squeezer.compress(bytes(3 << 20)) + squeezer.flush()

    assert attributes_of((("wherry_xattrs", base64.b64encode(b"\x01" + bomb).decode()),)) == ()


def test_attributes_of_the_object_stay_unless_others_take_their_place() -> None:
    old = ((b"user.a", b"old"),)
    kept = entry_of(b"n", 1, DATE, "", metadata_of(Entry(b"", Kind.FILE), (), old)).extra
    of_another = (("wherry_xattrs", "AAAA"),)
    like = Entry(b"", Kind.FILE, extra=of_another)

    def now(attributes: Attributes | None) -> Attributes:
        return attributes_of(tuple(metadata_of(like, kept, attributes).items()))

    assert now(None) == old
    assert now(()) == ()
    assert now(((b"user.b", b"new"),)) == ((b"user.b", b"new"),)


def test_metadata_that_does_not_fit_is_refused_and_counted_as_such() -> None:
    metadata = {"key": "v" * 97}

    assert fitting(metadata, 100) is metadata
    with pytest.raises(MetadataTooLarge) as trouble:
        fitting(metadata, 99)
    assert trouble.value.code == "AZSM2027"
    with pytest.raises(MetadataTooLarge):
        metadata_of(Entry(b"", Kind.FILE), (), ((b"user.huge", bytes(65_536)),))


# ---------------------------------------------------------------- strangers


@given(st.dictionaries(
    st.sampled_from(["permissions", "modtime", "posix_owner", "posix_group", "hdi_isfolder", "other"]), st.text(),
))  # fmt: skip
def test_attack_67_metadata_of_strangers_never_fails(metadata: dict[str, str]) -> None:
    entry = entry_of(b"n", 1, "no date", "", metadata)

    assert entry.mode is None or 0 <= entry.mode <= 0o7777
    assert entry.uid is None or 0 <= entry.uid < 2**32


def test_attack_67_malformed_metadata_is_unknown() -> None:
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
