"""Names: bytes inside, text at the edges, nothing lost between."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.model import names
from wherry.model.errors import UsageError
from wherry.model.names import NameRules

PATHS = st.lists(st.binary(min_size=1).filter(lambda part: b"/" not in part), max_size=5).map(b"/".join)


@given(st.one_of(st.binary(), st.text().map(lambda text: text.encode("utf-8", "surrogatepass"))))
def test_a_name_survives_its_text(path: bytes) -> None:
    assert names.unescape(names.escape(path)) == path


@given(st.binary(), st.binary())
def test_two_names_never_have_one_text(one: bytes, other: bytes) -> None:
    assert (names.escape(one) == names.escape(other)) == (one == other)


@given(st.one_of(st.binary(), st.text().map(lambda text: text.encode("utf-8", "replace"))))
def test_the_text_of_a_name_is_harmless(path: bytes) -> None:
    text = names.escape(path)

    assert len(text.splitlines()) <= 1
    assert "\t" not in text
    assert "\x1b" not in text
    assert not any("\ud800" <= character <= "\udfff" for character in text)
    text.encode()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (b"plain", "plain"),
        (b"a\\b", "a\\\\b"),
        (b"\\x41", "\\\\x41"),
        (b"tab\there", "tab\\x09here"),
        (b"\xff\xfe", "\\xff\\xfe"),
        ("\u202egnp".encode(), "\\xe2\\x80\\xaegnp"),
        ("caf\u00e9 \U0001f600".encode(), "caf\u00e9 \U0001f600"),
        ("e\u0301".encode(), "e\u0301"),
        ("\u00e9".encode() + b"\xff", "\u00e9\\xff"),
        (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
    ],
)
def test_texts_of_names(path: bytes, text: str) -> None:
    assert names.escape(path) == text
    assert names.unescape(text) == path


@given(PATHS)
def test_parts_of_a_path(path: bytes) -> None:
    assert b"/".join(names.parts(path)) == path
    assert names.depth(path) == len(names.parts(path))
    if path:
        assert names.join(names.parent(path), names.basename(path)) == path


@given(
    st.one_of(st.binary(max_size=8), st.text(max_size=8).map(lambda text: text.encode("utf-8", "replace")))
)
def test_the_quick_way_to_escape_is_the_long_one(path: bytes) -> None:
    assert names.escape_plain(path) == names.escape(path)


@given(
    st.lists(st.binary(max_size=8).map(lambda name: name.replace(b"/", b"_")) | st.just(b"plain"), max_size=4)
)
def test_many_names_are_escaped_as_each_is_alone(found: list[bytes]) -> None:
    assert names.escape_names(found) == [names.escape(name).encode() for name in found]


@given(st.lists(PATHS, unique=True))
def test_the_order_of_parts_is_that_of_the_walk(paths: list[bytes]) -> None:
    ordered = sorted(paths, key=names.parts)

    for at, path in enumerate(ordered):
        inside = [other for other in ordered if other.startswith(path + b"/")] if path else []
        assert ordered[at + 1 : at + 1 + len(inside)] == inside


@pytest.mark.parametrize(
    ("text", "path"),
    [("", b""), ("/", b""), ("///", b""), ("a", b"a"), ("/a/b/", b"a/b"), ("a b", b"a b"), ("...", b"..."),
     (".x", b".x"), ("\u00e9", "\u00e9".encode()), ("raw\udcff", b"raw\xff")],
)  # fmt: skip
def test_subpaths(text: str, path: bytes) -> None:
    assert names.clean_subpath(text) == path


@pytest.mark.parametrize(
    "text", ["..", "a/..", "../a", "a/../b", ".", "a/./b", "a//b", "a\\b", "a\0b", "lone\ud800"]
)
def test_attack_57_subpaths_that_lead_elsewhere(text: str) -> None:
    with pytest.raises(UsageError):
        names.clean_subpath(text)


BLOB = NameRules("utf16", 0, 1024, 254, utf8=True, xml=True, trailing_dot=False, reserved=b"\\")


def slowly(rules: NameRules, path: bytes) -> str | None:
    """The rules as they are said, one after the other."""
    size = len(path)
    if rules.utf8:
        try:
            text = path.decode()
        except UnicodeDecodeError:
            return "AZSM2022"
        if rules.xml and any(ord(one) < 32 or one in "\x7f\ufffe\uffff" for one in text):
            return "AZSM2022"
        if rules.unit == "utf16":
            size = len(text.encode("utf-16-le")) // 2
    pieces = path.split(b"/")
    if any(byte in rules.reserved for byte in path):
        return "AZSM2022"
    if rules.path_length and size > rules.path_length:
        return "AZSM2024"
    if rules.levels and len(pieces) > rules.levels:
        return "AZSM2025"
    if not rules.trailing_dot and any(piece.endswith((b".", b"\\")) for piece in pieces):
        return "AZSM2022"
    if rules.part_length and any(len(piece) > rules.part_length for piece in pieces):
        return "AZSM2023"
    return None


@given(
    st.builds(
        NameRules, st.sampled_from(["bytes", "utf16"]), st.integers(0, 6), st.integers(0, 9), st.integers(0, 3),
        st.booleans(), st.booleans(), st.booleans(), st.sampled_from([b"", b"\\", b"<>:"]),
    ),
    st.one_of(
        st.binary(max_size=12),
        st.text("ab./\\:\n\x7f\u00e9\uffff\U0001f600", max_size=12).map(str.encode),
    ),
)  # fmt: skip
def test_the_quick_way_to_judge_a_name_is_the_long_one(rules: NameRules, path: bytes) -> None:
    assert rules.problem(path) == slowly(rules, path)


@pytest.mark.parametrize(
    ("rules", "path", "code"),
    [
        (NameRules(), b"a" * 255 + b"/\xff\x01", None),
        (NameRules(), b"a" * 256, "AZSM2023"),
        (NameRules(path_length=10), b"a/b" * 4, "AZSM2024"),
        (BLOB, b"a" * 1024, None),
        (BLOB, b"a" * 1025, "AZSM2024"),
        (BLOB, "\u00e9".encode() * 1024, None),
        (BLOB, "\U0001f600".encode() * 513, "AZSM2024"),
        (BLOB, b"/".join([b"a"] * 254), None),
        (BLOB, b"/".join([b"a"] * 255), "AZSM2025"),
        (BLOB, b"not\xffutf8", "AZSM2022"),
        (BLOB, b"new\nline", "AZSM2022"),
        (BLOB, "\uffff".encode(), "AZSM2022"),
        (BLOB, b"dot.", "AZSM2022"),
        (BLOB, b"dot./x", "AZSM2022"),
        (BLOB, b"..", "AZSM2022"),
        (BLOB, b"back\\slash", "AZSM2022"),
        (BLOB, b".hidden/ x /%2F", None),
        (NameRules(reserved=b'<>:"|?*'), b"a?", "AZSM2022"),
    ],
)
def test_what_a_target_can_hold(rules: NameRules, path: bytes, code: str | None) -> None:
    assert rules.problem(path) == code
