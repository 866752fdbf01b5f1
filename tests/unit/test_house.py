"""The rules of the house that no linter knows: packages, sizes, names and words of the files under version control."""

from __future__ import annotations

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ["model", "trust", "stores", "engine", "client", "control", "agent", "portal", "cli"]
LONGEST_FILE = 400
# Each is a module, a folder, or modules with this beginning (`posix_copy`).
ADAPTERS = {"memory", "posix", "nfs", "smb", "blob", "s3"}
# Names that say nothing about what is inside.
EMPTY_NAMES = {"util", "utils", "helper", "helpers", "manager", "base", "common", "misc"}

# Written so that none matches itself.
FORBIDDEN = {
    "an unfinished thought": re.compile(r"\b(T[O]DO|FIX[M]E)\b"),
    "a path of one machine": re.compile(r"(?<![\w.}$)/-])/(work|root)/|\.\./shared\b"),
    "a registry's host": re.compile(
        r"pypi\.org|pythonhosted\.org|npmjs\.org|crates\.io|proxy\.golang\.org|deb\.debian\.org"
    ),
}


@cache
def tracked() -> list[Path]:
    """The files under version control that are there; without git, all of the source folders."""
    answer = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if answer.returncode == 0 and answer.stdout:
        names = [ROOT / name for name in answer.stdout.decode().rstrip("\0").split("\0")]
    else:
        names = [
            path
            for folder in ("src", "tests", "tools", "bench", "docs")
            for path in (ROOT / folder).rglob("*")
        ]
    return [path for path in names if path.is_file()]


def sources() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py"]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_says_what_it_is(package: str) -> None:
    text = (ROOT / "src" / "wherry" / package / "__init__.py").read_text()

    assert ast.get_docstring(ast.parse(text))


def test_there_are_no_other_packages() -> None:
    found = {path.parent.name for path in (ROOT / "src" / "wherry").glob("*/__init__.py")}

    assert found == set(PACKAGES)


def test_files_are_short() -> None:
    lengths = {name(path): len(path.read_text().splitlines()) for path in sources()}

    assert {path: lines for path, lines in lengths.items() if lines >= LONGEST_FILE} == {}


def test_modules_are_named_after_the_domain() -> None:
    empty = [name(path) for path in sources() if EMPTY_NAMES & set(path.stem.split("_"))]

    assert empty == []


@pytest.mark.parametrize("what", FORBIDDEN)
def test_nothing_is_left_behind(what: str) -> None:
    found = [
        f"{name(path)}:{number}: {line.strip()[:100]}"
        for path in tracked()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if FORBIDDEN[what].search(line)
    ]

    assert found == []


def adapter(dotted: str) -> str | None:
    """The adapter that a module of `wherry.stores` belongs to, if it is one's."""
    family = dotted.split(".")[2].partition("_")[0] if dotted.startswith("wherry.stores.") else ""
    return family if family in ADAPTERS else None


def imported(path: Path) -> set[str]:
    """Every module, and every name in a module, that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_adapters_do_not_know_each_other() -> None:
    src = ROOT / "src"
    wrong = []
    for path in (src / "wherry" / "stores").rglob("*.py"):
        own = adapter(".".join(path.relative_to(src).with_suffix("").parts))
        others = {adapter(module) for module in imported(path)} - {None, own}
        if own and others:
            wrong.append((name(path), others))

    assert wrong == []


def test_constraints_hold_names_and_versions_only() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()

    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)] == []


def test_each_dependency_is_explained() -> None:
    project = (ROOT / "pyproject.toml").read_text().partition("\ndependencies = [")[2].partition("]\n")[0]
    names = re.findall(r'"([a-z0-9-]+)', project)
    explained = (ROOT / "docs" / "dependencies.md").read_text()

    assert names
    assert [dependency for dependency in names if f"| {dependency} |" not in explained] == []
