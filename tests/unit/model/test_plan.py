"""Every decision about an item, as tables."""

from __future__ import annotations

import stat
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.model.entry import Entry, Glance, Kind
from wherry.model.names import NameRules
from wherry.model.options import Compare, CopyMode, JobOptions, Links, Preserve, Verify
from wherry.model.plan import Attempt, Do, FolderState, Holds, Judge

FILE = Entry(b"f", Kind.FILE, 5, 1_000_000_007, 50, 0o640, 1, 2)
FOLDER = Entry(b"d", Kind.FOLDER, 0, 1_000_000_007, 50, 0o750, 1, 2)
LINK = Entry(b"l", Kind.LINK, 0, 7, 50, 0o777, 1, 2)
PIPE = Entry(b"p", Kind.SPECIAL)
ALL = Holds(NameRules())
BLOB = Holds(NameRules(), symlinks=False, hard_links=False)
NO_OWNER = Holds(NameRules(), owner=False)
KEEPING = Holds(NameRules(), attributes=True)
COARSE = Holds(NameRules(), precision=2_000_000_000)
USUAL = (Preserve.MODE, Preserve.OWNER, Preserve.TIMES)
BARELY = {"preserve": (Preserve.MODE,), "compare": Compare.SIZE}
AGAIN = Attempt(revisited=True, since=40)


@pytest.mark.parametrize(
    ("source", "target", "options", "holds", "attempt", "do", "code"),
    [
        # Files.
        (FILE, None, {}, ALL, {}, Do.TRANSFER, "AZSM0000"),
        (FILE, FILE, {}, ALL, {}, Do.NOTHING, "AZSM2041"),
        (FILE, FILE._replace(size=6), {}, ALL, {}, Do.TRANSFER, "AZSM0000"),
        (FILE, FILE._replace(modified=1_000_000_008), {}, ALL, {}, Do.TRANSFER, "AZSM0000"),
        (FILE, FILE._replace(modified=1_000_000_008), {}, COARSE, {}, Do.NOTHING, "AZSM2041"),
        (FILE, FILE._replace(modified=2_000_000_001), {}, COARSE, {}, Do.TRANSFER, "AZSM0000"),
        (FILE, FILE._replace(modified=None), {}, ALL, {}, Do.TRANSFER, "AZSM0000"),
        (FILE._replace(modified=None), FILE, {}, ALL, {}, Do.TRANSFER, "AZSM0000"),
        (FILE, FILE._replace(modified=1), {"compare": Compare.SIZE}, ALL, {}, Do.DESCRIBE, "AZSM2044"),
        (FILE, FILE, {"compare": Compare.SIZE}, ALL, {}, Do.NOTHING, "AZSM2041"),
        (FILE, FILE._replace(size=6, modified=1), {"compare": Compare.SIZE}, ALL, {}, Do.TRANSFER, "AZSM0000"),
        # Metadata alone.
        (FILE, FILE._replace(mode=0o644), {}, ALL, {}, Do.DESCRIBE, "AZSM2044"),
        (FILE, FILE._replace(mode=None), {}, ALL, {}, Do.DESCRIBE, "AZSM2044"),
        (FILE, FILE._replace(uid=9), {}, ALL, {}, Do.DESCRIBE, "AZSM2044"),
        (FILE, FILE._replace(gid=9), {}, ALL, {}, Do.DESCRIBE, "AZSM2044"),
        (FILE, FILE._replace(uid=9), {}, NO_OWNER, {}, Do.NOTHING, "AZSM2041"),
        (FILE._replace(mode=0o4640), FILE, {}, NO_OWNER, {}, Do.NOTHING, "AZSM2041"),
        (FILE._replace(mode=0o4640), FILE, {}, ALL, {}, Do.DESCRIBE, "AZSM2044"),
        (FILE._replace(mode=None, uid=None), FILE, {}, ALL, {}, Do.NOTHING, "AZSM2041"),
        # What an earlier attempt of this run has done.
        (FILE, FILE, {}, ALL, AGAIN, Do.NOTHING, "AZSM2043"),
        (FILE, FILE._replace(changed=39), {}, ALL, AGAIN, Do.NOTHING, "AZSM2041"),
        (FILE, FILE._replace(changed=40), {}, ALL, AGAIN, Do.NOTHING, "AZSM2043"),
        (FILE, FILE._replace(changed=None), {}, ALL, AGAIN, Do.NOTHING, "AZSM2041"),
        (FILE, FILE, {}, ALL, Attempt(since=40), Do.NOTHING, "AZSM2041"),
        (FILE, FILE._replace(size=4), {}, ALL, AGAIN, Do.TRANSFER, "AZSM0000"),
        # Nothing of it can be trusted, or its times were never set: done again.
        (FILE, FILE, {}, ALL, Attempt(True, 40, restarted=True), Do.TRANSFER, "AZSM0000"),
        (FILE, FILE._replace(changed=39), {}, ALL, Attempt(True, 40, restarted=True), Do.NOTHING, "AZSM2041"),
        (FILE, FILE._replace(modified=1), {"compare": Compare.SIZE}, ALL, AGAIN, Do.TRANSFER, "AZSM0000"),
        (FILE, FILE, {"verify": Verify.READBACK}, ALL, AGAIN, Do.TRANSFER, "AZSM0000"),
        (FILE, FILE, {"verify": Verify.SAMPLE, "sample": 1}, ALL, AGAIN, Do.TRANSFER, "AZSM0000"),
        (FILE, FILE, {"verify": Verify.READBACK}, ALL, {}, Do.NOTHING, "AZSM2041"),
        # What is not to be kept is not looked at.
        (FILE, FILE._replace(mode=0), {"preserve": (Preserve.OWNER, Preserve.TIMES)}, ALL, {}, Do.NOTHING, "AZSM2041"),
        (FILE, FILE._replace(uid=9), {"preserve": (Preserve.MODE, Preserve.TIMES)}, ALL, {}, Do.NOTHING, "AZSM2041"),
        (FILE, FILE._replace(mode=0), BARELY, ALL, {}, Do.DESCRIBE, "AZSM2044"),
        (FILE, FILE._replace(modified=1), BARELY, ALL, {}, Do.NOTHING, "AZSM2041"),
        # Bytes are compared, whatever the times say.
        (FILE, FILE, {"compare": Compare.CHECKSUM}, ALL, {}, Do.CHECK, "AZSM0000"),
        (FILE, FILE._replace(size=6), {"compare": Compare.CHECKSUM}, ALL, {}, Do.TRANSFER, "AZSM0000"),
        # Where attributes are kept, a change of them shows in the change time alone.
        (FILE._replace(changed=60), FILE, {}, KEEPING, {}, Do.DESCRIBE, "AZSM2044"),
        (FILE._replace(changed=60), FILE, {}, ALL, {}, Do.NOTHING, "AZSM2041"),
        (FILE._replace(changed=60), FILE._replace(changed=61), {}, KEEPING, {}, Do.NOTHING, "AZSM2041"),
        (FILE._replace(changed=60), FILE._replace(source_changed=60), {}, KEEPING, {}, Do.NOTHING, "AZSM2041"),
        (FILE._replace(changed=60), FILE._replace(source_changed=9), {}, KEEPING, {}, Do.DESCRIBE, "AZSM2044"),
        (FILE._replace(changed=60), FILE, {"preserve": USUAL}, KEEPING, {}, Do.NOTHING, "AZSM2041"),
        (FILE._replace(changed=60), FILE, {}, KEEPING, Attempt(True, 40), Do.NOTHING, "AZSM2043"),
        # Links.
        (LINK, None, {}, ALL, {}, Do.MAKE_LINK, "AZSM0000"),
        (LINK, FILE, {}, ALL, {}, Do.MAKE_LINK, "AZSM0000"),
        (LINK, LINK, {}, ALL, {}, Do.MAKE_LINK, "AZSM0000"),
        (LINK, LINK._replace(source_changed=50), {}, ALL, {}, Do.NOTHING, "AZSM2041"),
        (LINK, LINK._replace(source_changed=49), {}, ALL, {}, Do.MAKE_LINK, "AZSM0000"),
        (LINK, LINK._replace(source_changed=50, modified=8), {}, ALL, {}, Do.MAKE_LINK, "AZSM0000"),
        (LINK, None, {"links": Links.FOLLOW}, ALL, {}, Do.FAIL, "AZSM2061"),
        (FILE, LINK, {}, ALL, {}, Do.TRANSFER, "AZSM0000"),
        (FILE, PIPE, {}, ALL, {}, Do.TRANSFER, "AZSM0000"),
        (LINK, None, {}, BLOB, {}, Do.UNSUPPORTED, "AZSM2021"),
        (LINK, None, {"links": Links.SKIP}, ALL, {}, Do.UNSUPPORTED, "AZSM2021"),
        (FILE._replace(links=2), FILE, {}, ALL, {}, Do.DEFER_LINK, "AZSM0000"),
        (FILE._replace(links=2), None, {}, BLOB, {}, Do.TRANSFER, "AZSM0000"),
        # Other kinds.
        (PIPE, None, {}, ALL, {}, Do.UNSUPPORTED, "AZSM2021"),
        (FILE, FOLDER, {}, ALL, {}, Do.FAIL, "AZSM2066"),
        (FOLDER, FILE, {}, ALL, {}, Do.FAIL, "AZSM2066"),
        (LINK, FOLDER, {}, ALL, {}, Do.FAIL, "AZSM2066"),
        (FILE, FOLDER, {"mode": CopyMode.MIRROR}, ALL, {}, Do.LATE, "AZSM0000"),
        (FOLDER, FILE, {"mode": CopyMode.MIRROR}, ALL, {}, Do.LATE, "AZSM0000"),
        # What the target cannot hold, and what the filters keep out, in this order.
        (FILE, None, {}, Holds(NameRules(), max_size=4), {}, Do.UNSUPPORTED, "AZSM2026"),
        (FILE, None, {}, Holds(NameRules(part_length=1)), {}, Do.UNSUPPORTED, "AZSM2023"),
        (PIPE, None, {"exclude": ("*",)}, ALL, {}, Do.EXCLUDE, "AZSM2001"),
        (FILE, FILE, {"include": ("*.txt",)}, ALL, {}, Do.EXCLUDE, "AZSM2001"),
        (FILE, None, {"max_size": 4}, ALL, {}, Do.EXCLUDE, "AZSM2001"),
        (FILE, None, {"max_size": 5}, ALL, {}, Do.TRANSFER, "AZSM0000"),
        (FILE, None, {"min_size": 6}, ALL, {}, Do.EXCLUDE, "AZSM2001"),
        (FILE, None, {"newer_than": 1_000_000_008}, ALL, {}, Do.EXCLUDE, "AZSM2001"),
        (FILE, None, {"older_than": 1_000_000_007}, ALL, {}, Do.EXCLUDE, "AZSM2001"),
    ],
)  # fmt: skip
def test_decisions(
    source: Entry,
    target: Entry | None,
    options: dict[str, Any],
    holds: Holds,
    attempt: Any,
    do: Do,
    code: str,
) -> None:
    decision = Judge(JobOptions(**options), holds, attempt or Attempt()).decide(b"dir/name", source, target)

    assert (decision.do, decision.code) == (do, code)


@pytest.mark.parametrize(
    ("target", "holds", "state"),
    [
        (None, ALL, FolderState.DUE),
        (FOLDER, ALL, FolderState.EQUAL),
        (FOLDER._replace(modified=8), ALL, FolderState.TIMES),
        (FOLDER._replace(modified=None), ALL, FolderState.TIMES),
        (FOLDER._replace(mode=0o700), ALL, FolderState.DUE),
        (FOLDER._replace(uid=9), ALL, FolderState.DUE),
        (FOLDER._replace(uid=9), NO_OWNER, FolderState.EQUAL),
        (FOLDER._replace(sealed=False), ALL, FolderState.DUE),
    ],
)
def test_what_a_folder_is_owed(target: Entry | None, holds: Holds, state: FolderState) -> None:
    decision = Judge(JobOptions(), holds, Attempt()).decide(b"d", FOLDER, target)

    assert (decision.do, decision.folder) == (Do.ENTER, state)


@pytest.mark.parametrize(
    ("path", "kind", "include", "exclude", "out"),
    [
        (b"a/b.txt", Kind.FILE, (), (), False),
        (b"a/b.txt", Kind.FILE, ("*.txt",), (), False),
        (b"a/b.log", Kind.FILE, ("*.txt",), (), True),
        (b"a", Kind.FOLDER, ("*.txt",), (), False),
        (b"a", Kind.FOLDER, (), ("a",), True),
        (b"x/a", Kind.FOLDER, (), ("a",), True),
        (b"x/a", Kind.FOLDER, (), ("/a",), False),
        (b"a", Kind.FOLDER, (), ("/a",), True),
        (b"a/b", Kind.FOLDER, (), ("a/*",), True),
        # Its folder is left out, so nobody asks.
        (b"a/b/c", Kind.FILE, (), ("a/*",), False),
        (b"a/b.txt", Kind.FILE, ("*.txt",), ("a/*",), True),
        (b"A.TXT", Kind.FILE, (), ("*.txt",), False),
        (b"not\xffutf8", Kind.FILE, (), ("not*utf8",), True),
        (b"[x]", Kind.FILE, (), ("[[]x]",), True),
        (b".git", Kind.FOLDER, (), (".*",), True),
    ],
)
def test_filters(
    path: bytes, kind: Kind, include: tuple[str, ...], exclude: tuple[str, ...], out: bool
) -> None:
    judge = Judge(JobOptions(include=include, exclude=exclude), ALL, Attempt())

    assert judge.excludes(path, kind) is out


@pytest.mark.parametrize(
    ("source", "target", "do"),
    [
        (FILE, None, Do.TRANSFER),
        (FILE, FILE._replace(size=6), Do.TRANSFER),
        (FILE, Entry(b"f", Kind.FILE, 5), Do.LOOK),
        (FILE._replace(links=2), FILE, Do.DEFER_LINK),
        (LINK, None, Do.MAKE_LINK),
        (FOLDER, None, Do.ENTER),
    ],
)
def test_a_listing_that_tells_little_is_no_reason_to_send_bytes(
    source: Entry, target: Entry | None, do: Do
) -> None:
    judge = Judge(JobOptions(), ALL, Attempt(), bare=True)

    assert judge.decide(b"dir/name", source, target).do is do
    assert not judge.unchanged(b"", [(source, target)])[0]


ENTRIES = st.builds(
    Entry,
    name=st.sampled_from([b"n", b"n" * 255, b"n" * 256, b"dot.", b"\xff"]),
    kind=st.sampled_from(Kind),
    size=st.sampled_from([0, 5, 6]),
    modified=st.sampled_from([None, -1, 7, 8]),
    changed=st.sampled_from([None, 30, 50, 60]),
    mode=st.sampled_from([None, 0o644, 0o4644]),
    uid=st.sampled_from([None, 1, 2]),
    gid=st.sampled_from([None, 1]),
    links=st.sampled_from([1, 2]),
    sealed=st.booleans(),
    source_changed=st.sampled_from([None, 50, 60]),
)
KEPT = st.sampled_from(
    [
        tuple(Preserve),
        USUAL,
        (Preserve.TIMES,),
        (Preserve.MODE, Preserve.TIMES),
        (Preserve.TIMES, Preserve.XATTRS),
    ]
)
OPTIONS = st.builds(
    JobOptions,
    mode=st.sampled_from(CopyMode),
    exclude=st.sampled_from([(), ("n",)]),
    max_size=st.sampled_from([None, 5]),
    compare=st.sampled_from(Compare),
    verify=st.sampled_from([Verify.NONE, Verify.SOURCE, Verify.READBACK]),
    links=st.sampled_from(Links),
    preserve=KEPT,
    dry_run=st.booleans(),
)
HOLDS = st.builds(
    Holds,
    names=st.sampled_from(
        [NameRules(), NameRules(utf8=True), NameRules(trailing_dot=False), NameRules(part_length=300)]
    ),
    precision=st.sampled_from([1, 2]),
    mode=st.booleans(),
    owner=st.booleans(),
    symlinks=st.booleans(),
    hard_links=st.booleans(),
    times=st.booleans(),
    attributes=st.booleans(),
    max_size=st.sampled_from([0, 5]),
)
ATTEMPTS = st.builds(Attempt, revisited=st.booleans(), since=st.just(40), restarted=st.booleans())


@settings(max_examples=1000, deadline=None)
@given(ENTRIES, st.none() | ENTRIES, OPTIONS, HOLDS, ATTEMPTS, st.booleans())
def test_quick_answers_are_those_of_the_long_way(
    source: Entry, target: Entry | None, options: JobOptions, holds: Holds, attempt: Attempt, bare: bool
) -> None:
    judge = Judge(options, holds, attempt, bare=bare)
    path = b"dir/" + source.name

    decision = judge.decide(path, source, target)

    if target is None and judge.is_plain(b"dir/", source):
        assert decision.do is Do.TRANSFER
    if judge.unchanged(b"dir/", [(source, target)])[0] and decision.do is not Do.UNSUPPORTED:
        assert (decision.do, decision.code) == (Do.NOTHING, "AZSM2041")


def test_entries_of_one_version_have_one_word() -> None:
    file = FILE._replace(inode=5, links=2)

    assert FILE.is_same(FILE)
    assert not FILE.is_same(FILE._replace(changed=51))
    assert not FILE.is_same(FILE._replace(kind=Kind.LINK))
    # Another name of the same file went meanwhile, which moves its change time.
    assert file._replace(links=1, changed=99).is_same(file)
    assert not file._replace(links=1, changed=99, modified=3).is_same(file)
    assert not FILE._replace(changed=99).is_same(FILE)
    # A folder stays itself whatever comes and goes in it.
    assert FOLDER._replace(modified=9, changed=9).is_same(FOLDER)
    assert not FOLDER._replace(inode=9).is_same(FOLDER)
    assert FILE._replace(etag="e", size=9).is_same(FILE._replace(etag="e"))
    assert not FILE._replace(etag="e").is_same(FILE._replace(etag="f"))
    # Only the word is kept in the ledger.
    assert FILE.is_same(Entry(b"", Kind.FILE, etag=FILE.tag))


FORMATS = {
    Kind.FILE: stat.S_IFREG,
    Kind.FOLDER: stat.S_IFDIR,
    Kind.LINK: stat.S_IFLNK,
    Kind.SPECIAL: stat.S_IFIFO,
}
ON_DISK = st.builds(
    Entry,
    name=st.just(b"n"),
    kind=st.sampled_from([Kind.FILE] * 4 + list(Kind)),
    size=st.sampled_from([5, 5, 5, 6]),
    modified=st.sampled_from([7, 7, 7, 8]),
    changed=st.sampled_from([50, 50, 60]),
    mode=st.sampled_from([0o644, 0o644, 0o4644]),
    uid=st.sampled_from([1, 1, 2]),
    gid=st.sampled_from([1, 1, 2]),
    links=st.sampled_from([1, 1, 2]),
    sealed=st.just(True),
    source_changed=st.none(),
)


def glance_of(entries: list[Entry]) -> Glance:
    """What a folder store tells of these at a glance."""
    told = [
        (FORMATS[one.kind] | (one.mode or 0), one.links, one.uid or 0, one.gid or 0, one.size)
        for one in entries
    ]
    return Glance(told, [one.modified or 0 for one in entries], [one.changed or 0 for one in entries])


@settings(max_examples=500, deadline=None)
@given(
    st.lists(
        st.tuples(ON_DISK, ON_DISK)
        | ON_DISK.map(lambda one: (one, one))
        | ON_DISK.map(lambda one: (one, one._replace(changed=50))),
        max_size=5,
    ),
    st.booleans(),
    st.booleans(),
)
def test_at_a_glance_the_same_files_are_equal_as_at_a_look(
    pairs: list[tuple[Entry, Entry]], hard_links: bool, attributes: bool
) -> None:
    judge = Judge(JobOptions(), Holds(NameRules(), hard_links=hard_links, attributes=attributes), Attempt())
    assert judge.glances

    different = judge.different(
        glance_of([one for one, _ in pairs]), glance_of([other for _, other in pairs])
    )

    for number, (source, target) in enumerate(pairs):
        equal = bool(judge.unchanged(b"", [(source, target)])[0])
        # A target with more names than the source is looked at: whether it shares its bytes is another question.
        assert (number not in different) == (equal and source.links == target.links)


def test_what_is_known_at_a_glance_is_not_asked_where_it_would_not_do() -> None:
    holds = Holds(NameRules())
    assert Judge(JobOptions(), holds, Attempt()).glances
    assert not Judge(JobOptions(exclude=("n",)), holds, Attempt()).glances
    assert not Judge(JobOptions(compare=Compare.CHECKSUM), holds, Attempt()).glances
    assert not Judge(JobOptions(dry_run=True), holds, Attempt()).glances
    assert not Judge(JobOptions(), holds, Attempt(revisited=True)).glances
    assert not Judge(JobOptions(preserve=(Preserve.TIMES,)), holds, Attempt()).glances
