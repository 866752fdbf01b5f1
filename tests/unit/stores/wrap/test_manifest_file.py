"""A list of paths: what is refused, and that it is sorted the same however long it is."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wherry.model.errors import UsageError
from wherry.stores.wrap import manifest_file
from wherry.stores.wrap.manifest_file import Child, Listed, Sorted, sort

PARTS = st.sampled_from([b"a", b"a-b", b"a\x01", b"b", b"b.c", b"\xff", b"a\nb", b" ", b"..."])
PATHS = st.lists(st.lists(PARTS, min_size=1, max_size=4).map(b"/".join), min_size=1, max_size=30)


def listed(tmp_path: Path, *paths: bytes, separator: bytes = b"\0") -> Listed:
    sort(io.BytesIO(b"".join(path + separator for path in paths)), "list", tmp_path / "sorted")
    return Listed(str(tmp_path / "sorted"))


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(PATHS, st.sets(st.integers(0, 29)), st.sampled_from([3, 200_000]))
def test_every_folder_has_the_names_that_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paths: list[bytes], whole: set[int], chunk: int
) -> None:
    monkeypatch.setattr(manifest_file, "CHUNK", chunk)
    given_as = [path + b"/" if number in whole else path for number, path in enumerate(paths)]
    found = listed(tmp_path, *given_as)

    def expected(folder: bytes) -> list[Child]:
        prefix = folder + b"/" if folder else b""
        below = {one.removeprefix(prefix) for one in given_as if one.startswith(prefix)} - {b""}
        return [
            Child(
                name,
                name in below,
                name + b"/" in below,
                any(one.startswith(name + b"/") and one != name + b"/" for one in below),
            )
            for name in sorted({one.split(b"/")[0] for one in below})
        ]

    for folder in {b"", *paths, *(path.rpartition(b"/")[0] for path in paths)}:
        assert list(found.children(folder)) == expected(folder)
        for child in expected(folder):
            assert found.child(folder + b"/" + child.name if folder else child.name) == child
        above = any((folder + b"/").startswith(one) for one in given_as if one.endswith(b"/"))
        assert found.is_whole(folder) is above
        assert list(found.children(folder, b"b")) == [one for one in expected(folder) if one.name >= b"b"]
    found.close()


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (b"a\nb", 2),
        (b"a\nb\n", 2),
        (b"b\na\nb\n\n", 2),
        (b"a\nb\0a/c\0", 2),
        (b".\0./a\0./a/b/\0", 2),
        (b"\n" * 3 + b"x", 1),
    ],
)
def test_lines_and_zero_bytes_separate(tmp_path: Path, text: bytes, count: int) -> None:
    assert sort(io.BytesIO(text), "list", tmp_path / "sorted") == Sorted(count, b"b/" in text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"ok\n/etc/passwd\n", "list, line 2: '/etc/passwd' is absolute"),
        (b"ok\na/../b\n", "list, line 2: 'a/../b' has the part '..'"),
        (b"..\n", "list, line 1: '..' has the part '..'"),
        (b"a/./b\n", "line 1: 'a/./b' has the part '.'"),
        (b"a//b\n", "line 1: 'a//b' has an empty part"),
        (b"a//\n", "line 1: 'a//' has an empty part"),
        (b"./\n", "means all of the source"),
        (b"\n\n", "names no paths"),
        (b"", "names no paths"),
        (b"x\x1b[2J\n../y", "line 2: '../y'"),
        (b"a\0" + b"b" * 3_000_000, "line 2 is longer than any path"),
    ],
)
def test_what_is_no_path_below_the_source_is_refused(tmp_path: Path, text: bytes, told: str) -> None:
    with pytest.raises(UsageError) as refused:
        sort(io.BytesIO(text), "list", tmp_path / "sorted")
    assert told in str(refused.value)
    assert "\x1b" not in str(refused.value)
    assert [one.name for one in tmp_path.iterdir() if one.is_dir()] == []
