"""Filters: as git reads a .gitignore, with git itself as the judge; inclusion, sizes and ages."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from wherry.model.entry import Entry, Kind
from wherry.model.filters import Filters
from wherry.model.options import JobOptions

NAMES = (
    b"a",
    b"ab",
    b"b",
    b"ba.c",
    b"A",
    b"[a]",
    b"a*",
    b"-",
    b"\\",
    b"!a",
    b"#",
    b"\xff",
    "ä".encode(),
    b"a\nb",
)


def _paths() -> Iterator[tuple[bytes, Kind]]:
    """Folders three deep, each with a file of every name that no folder has."""
    folders = [b""]
    for folder in folders:
        kept = NAMES[:4] if folder.count(b"/") < 1 else ()
        for name in NAMES:
            path = folder + b"/" + name if folder else name
            if name in kept:
                folders.append(path)
                yield path, Kind.FOLDER
            else:
                yield path, Kind.FILE


PATHS = list(_paths())


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    subprocess.run(["git", "init", "-q", str(root)], check=True, env=_environment())
    for path, kind in PATHS:
        place = os.path.join(os.fsencode(root), path)
        if kind is Kind.FOLDER:
            os.mkdir(place)
        else:
            os.close(os.open(place, os.O_CREAT | os.O_WRONLY))
    return root


def _environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}


def ignored(tree: Path, patterns: tuple[str, ...], *, ignore_case: bool) -> set[bytes]:
    """What git leaves out."""
    (tree / ".git" / "info").mkdir(exist_ok=True)
    lines = [one.encode("utf-8", "surrogateescape") + b"\n" for one in patterns]
    (tree / ".git" / "info" / "exclude").write_bytes(b"".join(lines))
    case = f"core.ignorecase={str(ignore_case).lower()}"
    told = subprocess.run(
        ["git", "-C", str(tree), "-c", case, "check-ignore", "--no-index", "-z", "--stdin"],
        input=b"".join(path + b"\0" for path, _ in PATHS), stdout=subprocess.PIPE, check=False, env=_environment(),
    )  # fmt: skip
    assert told.returncode in (0, 1)
    return set(told.stdout.split(b"\0")[:-1])


def left_out(filters: Filters) -> set[bytes]:
    """What a walk leaves out, which does not enter folders that are left out."""
    out: set[bytes] = set()
    for path, kind in PATHS:
        folder = path.rpartition(b"/")[0]
        if folder in out or filters.excludes(path, kind):
            out.add(path)
    return out


PIECES = st.sampled_from(
    ["a", "b", "A", "*", "**", "***", "?", "[ab]", "[!a]", "[^b]", "[a-c]", "[]a]", "[[:upper:]]", "[a\\]]", "[--b]",
     "[[:alpha:]-c]", "[\\\\]", "\\*", "\\a", "\\[", "\\!", "\\#", ".c", "-", "ä", "\udcff", "[[a]", "]"]
)  # fmt: skip
SEGMENTS = st.lists(PIECES, min_size=1, max_size=3).map("".join)
PATTERNS = st.builds(
    lambda turn, anchor, segments, end: turn + anchor + "/".join(segments) + end,
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "", "/", "**/"]),
    st.lists(SEGMENTS, min_size=1, max_size=3),
    st.sampled_from(["", "", "/", "/**", "/*"]),
)


@settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(PATTERNS, min_size=1, max_size=4).map(tuple))
@example(("/**",))
@example(("**",))
@example(("a/**/b",))
@example(("**/a/**/b/**/ba.c",))
@example(("*", "!a/", "!a/b"))
@example(("a*b*c",))
def test_git_leaves_out_the_same(tree: Path, patterns: tuple[str, ...]) -> None:
    assert left_out(Filters(JobOptions(exclude=patterns))) == ignored(tree, patterns, ignore_case=False)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(st.sampled_from(["a", "A*", "*B", "A/b", "!ab", "B?.C", "aB/", "a/**/B"]), min_size=1).map(tuple)
)
def test_git_leaves_out_the_same_without_case(tree: Path, patterns: tuple[str, ...]) -> None:
    filters = Filters(JobOptions(exclude=patterns, ignore_case=True))

    assert left_out(filters) == ignored(tree, patterns, ignore_case=True)


def test_case_is_ignored_beyond_ascii() -> None:
    filters = Filters(JobOptions(exclude=("ÄRGER*", "[x-z]*"), ignore_case=True))

    assert filters.excludes("ärger.txt".encode(), Kind.FILE)
    assert filters.excludes(b"Zebra", Kind.FILE)
    assert not filters.excludes(b"Ape", Kind.FILE)


@pytest.mark.parametrize(
    ("path", "include", "exclude", "out"),
    [
        (b"a/b.txt", (), (), False),
        (b"a/b.txt", ("*.txt",), (), False),
        (b"a/b.log", ("*.txt",), (), True),
        (b"a/b.txt", ("*.txt",), ("/a/*",), True),
        (b"docs/deep/x", ("docs/",), (), False),
        (b"other/docs", ("docs/",), (), True),
        (b"other/docs", ("docs",), (), False),
        (b"docs/x.tmp", ("docs/", "!*.tmp"), (), True),
        (b"docs/old/x", ("docs/", "!docs/old/"), (), True),
        (b"docs/old/keep/x", ("docs/", "!docs/old/", "keep/"), (), False),
        (b"x", ("/docs/**",), (), True),
    ],
)
def test_files_are_chosen(path: bytes, include: tuple[str, ...], exclude: tuple[str, ...], out: bool) -> None:
    assert Filters(JobOptions(include=include, exclude=exclude)).excludes(path, Kind.FILE) is out


def test_folders_are_never_left_out_by_what_is_included() -> None:
    filters = Filters(JobOptions(include=("/docs/*.md",)))

    assert not filters.excludes(b"src", Kind.FOLDER)
    assert filters.excludes(b"src/link", Kind.LINK)
    assert not filters.excludes(b"", Kind.FOLDER)


@pytest.mark.parametrize(
    ("include", "folder", "pruned"),
    [
        ((), b"a", False),
        (("*.md",), b"a", False),
        (("/docs/*.md",), b"docs", False),
        (("/docs/*.md",), b"src", True),
        (("/docs/*.md",), b"docs/deep", True),
        (("/docs/x.md/",), b"docs/x.md/deep/er", False),
        (("/d*/a/b",), b"docs/a", False),
        (("/d*/a/b",), b"docs/b", True),
        (("/docs/**/x",), b"docs/a/b/c", False),
        (("/docs/**/x",), b"src", True),
        (("**/x",), b"src", False),
        (("/docs/*.md", "*.py"), b"src", False),
        (("/docs/*.md", "!*.py"), b"src", True),
        (("/docs/*.md",), b"", False),
    ],
)
def test_nothing_is_listed_where_nothing_can_be_chosen(
    include: tuple[str, ...], folder: bytes, pruned: bool
) -> None:
    assert Filters(JobOptions(include=include)).prunes(folder) is pruned


@settings(max_examples=200, deadline=None)
@given(st.lists(PATTERNS.filter(lambda one: not one.startswith("!")), min_size=1, max_size=3).map(tuple))
def test_nothing_that_is_chosen_lies_below_what_is_pruned(include: tuple[str, ...]) -> None:
    filters = Filters(JobOptions(include=include))

    for path, kind in PATHS:
        if kind is Kind.FILE and not filters.excludes(path, kind):
            parts = path.split(b"/")
            assert not any(filters.prunes(b"/".join(parts[:end])) for end in range(1, len(parts)))


@pytest.mark.parametrize(
    ("size", "modified", "out"),
    [
        (10, 100, False), (20, 199, False), (9, 100, True), (21, 100, True), (10, 99, True), (10, 200, True),
        (10, None, False),
    ],
)  # fmt: skip
def test_sizes_and_ages(size: int, modified: int | None, out: bool) -> None:
    filters = Filters(JobOptions(min_size=10, max_size=20, newer_than=100, older_than=200))

    assert filters.leaves_out(Entry(b"x", Kind.FILE, size, modified)) is out
    assert not filters.leaves_out(Entry(b"x", Kind.FOLDER, size, modified))
    assert not filters.leaves_out(Entry(b"x", Kind.LINK, size, modified))


def test_nothing_asked_for_is_seen_at_once() -> None:
    assert Filters.of(JobOptions()).is_empty
    assert Filters.of(JobOptions()) is Filters.of(JobOptions())
    for one in (
        JobOptions(exclude=("a",)),
        JobOptions(include=("a",)),
        JobOptions(max_size=0),
        JobOptions(older_than=0),
    ):
        assert not Filters.of(one).is_empty


def test_an_age_must_have_become_a_moment() -> None:
    with pytest.raises(ValueError, match="has started"):
        Filters(JobOptions(newer_than="7d"))


def test_patterns_with_many_stars_take_no_time() -> None:
    filters = Filters(JobOptions(exclude=("*a" * 40 + "b", "**/" + "*a*/**/" * 10 + "b")))

    assert not filters.excludes(b"/".join([b"a" * 200] * 20), Kind.FILE)
