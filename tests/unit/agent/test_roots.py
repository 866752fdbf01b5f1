"""Which folders a job may touch: only those below the owner's roots, whatever an endpoint says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wherry.agent.roots import Roots, check_apart
from wherry.model.errors import RunError, UsageError
from wherry.model.wire import Place


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "in" / "deep").mkdir(parents=True)
    (folder / "agent").mkdir()
    return folder


@pytest.fixture
def roots(data: Path) -> Roots:
    return Roots.named([data], [data / "in"], data / "agent")


def source(location: Path | str, subpath: bytes = b"") -> Place:
    return Place("LocalMount", str(location), subpath)


def test_a_folder_below_a_root_is_allowed(roots: Roots, data: Path) -> None:
    found = roots.spec(source(data / "in", b"deep"), "source")

    assert (found.kind, found.location, found.subpath) == ("posix", str(data / "in"), b"deep")
    assert found.beneath == str(data)
    assert found.refused == (str(data / "agent"),)
    assert not found.create
    assert roots.spec(source(data / "in" / "new"), "target").create


def test_without_roots_nothing_is_allowed(data: Path) -> None:
    none = Roots.named([], [], data / "agent")

    for side, code in (("source", "AZSM1007"), ("target", "AZSM1032")):
        with pytest.raises(RunError) as caught:
            none.spec(source(data / "in"), side)  # type: ignore[arg-type]
        assert caught.value.code == code


@pytest.mark.parametrize("name", ["/", "/tmp", "..", "data-other", "data/agent", "data/agent/x", "data"])
def test_elsewhere_is_refused(roots: Roots, data: Path, name: str) -> None:
    """Beside the roots, around them, the agent's own state, and what contains that."""
    place = data.parent / name if name != ".." else data.parent

    with pytest.raises(RunError) as caught:
        roots.spec(source(place), "source")

    assert caught.value.code == "AZSM1007"


@pytest.mark.parametrize("name", ["/etc", "/proc", "/sys", "/dev", "/etc/ssl", "/"])
def test_places_of_the_system_are_refused_under_any_root(tmp_path: Path, name: str) -> None:
    roots = Roots.named([Path("/")], [Path("/")], tmp_path)

    for side in ("source", "target"):
        with pytest.raises(RunError, match="always refused"):
            roots.spec(source(name), side)


def test_attack_57_a_link_does_not_lead_out(roots: Roots, data: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (data / "way-out").symlink_to(tmp_path / "secret")
    (data / "to-etc").symlink_to("/etc")
    (data / "in" / "up").symlink_to("..")

    for place in (
        source(data / "way-out"),
        source(data / "to-etc"),
        source(data, b"way-out"),
        source(data / "in", b"up"),
    ):
        with pytest.raises(RunError) as caught:
            roots.spec(place, "source")
        assert caught.value.code == "AZSM1007"


def test_a_root_that_is_reached_by_a_link_counts_as_where_it_leads(data: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(data / "in")
    roots = Roots.named([tmp_path / "link"], [], data / "agent")

    assert roots.spec(source(tmp_path / "link" / "deep"), "source").beneath == str(data / "in")


@pytest.mark.parametrize(
    ("location", "subpath"),
    [
        ("in", b""),
        ("", b""),
        ("/a/../b", b""),
        ("/a", b"../b"),
        ("/a", b"/b"),
        ("/a\0", b""),
        ("/\ud800", b""),
    ],
)
def test_attack_57_what_is_no_whole_path_is_invalid(roots: Roots, location: str, subpath: bytes) -> None:
    for side, code in (("source", "AZSM1004"), ("target", "AZSM1022")):
        with pytest.raises(RunError) as caught:
            roots.spec(Place("LocalMount", location, subpath), side)  # type: ignore[arg-type]
        assert caught.value.code == code


@pytest.mark.parametrize(("one", "other"), [("in", "in"), ("in", "in/deep"), ("in/deep", "in")])
def test_folders_in_one_another_are_no_source_and_target(data: Path, one: str, other: str) -> None:
    roots = Roots.named([data / "in"], [data / "in"], data / "agent")
    specs = roots.spec(source(data / one), "source"), roots.spec(source(data / other), "target")

    with pytest.raises(RunError) as caught:
        check_apart(*specs)

    assert caught.value.code == "AZSM1033"


def test_folders_side_by_side_are_fine(data: Path) -> None:
    (data / "in2").mkdir()
    roots = Roots.named([data], [data], data / "agent")

    check_apart(roots.spec(source(data / "in"), "source"), roots.spec(source(data / "in2"), "target"))


@pytest.mark.parametrize("path", ["relative", "/nowhere/at/all"])
def test_a_root_is_an_existing_folder(data: Path, path: str) -> None:
    with pytest.raises(UsageError, match="--allow-source"):
        Roots.named([Path(path)], [], data)


def test_names_that_are_no_text_are_allowed(roots: Roots, data: Path) -> None:
    os.mkdir(os.fsencode(data) + b"/in/\xff")

    assert roots.spec(source(data / "in", b"\xff"), "source").subpath == b"\xff"
