"""The headers of metadata: the quick way says what the thorough one says, or nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.model.entry import Entry, Kind
from wherry.stores.blob.service import lines, lines_of
from wherry.stores.http.metadata import metadata_of

PLAIN = Entry(b"a", Kind.FILE, 9, 5, 6, 0o640, 1000, 100, device=66, inode=77)


def headers(text: str) -> set[str]:
    assert not text or text.endswith("\r\n")
    return set(text.split("\r\n"))


@given(
    kind=st.sampled_from(Kind),
    modified=st.none() | st.integers(-(2**63), 2**63 - 1),
    changed=st.none() | st.integers(-(2**63), 2**63 - 1),
    mode=st.none() | st.integers(0, 0o7777),
    owner=st.none() | st.integers(0, 2**32 - 1),
    links=st.integers(1, 3),
    extra=st.sampled_from([(), (("colour", "blue"),)]),
)
def test_metadata_in_a_hurry_is_what_it_is_at_leisure(
    kind: Kind,
    modified: int | None,
    changed: int | None,
    mode: int | None,
    owner: int | None,
    links: int,
    extra,
) -> None:
    like = Entry(b"a", kind, 9, modified, changed, mode, owner, owner, links, 66, 77, extra=extra)

    quick = lines_of(like)

    assert not quick or headers(quick) == headers(lines(metadata_of(like)))


def test_a_plain_file_goes_the_quick_way() -> None:
    assert headers(lines_of(PLAIN)) == {
        "x-ms-meta-permissions: 33184", "x-ms-meta-posix_owner: 1000", "x-ms-meta-posix_group: 100",
        "x-ms-meta-modtime: 5", "x-ms-meta-posix_ctime: 6", "",
    }  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [
        PLAIN._replace(kind=Kind.FOLDER), PLAIN._replace(links=2), PLAIN._replace(mode=None),
        PLAIN._replace(extra=(("colour", "blue"),)),
    ],
)  # fmt: skip
def test_whatever_is_not_plain_goes_the_thorough_way(other: Entry) -> None:
    assert lines_of(other) == ""
