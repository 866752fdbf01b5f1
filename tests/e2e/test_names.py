"""Names that files may have: each arrives byte by byte or is told as what the target cannot hold, and harms no log.

Paths at the limits of both sides, and pairs of names that a target would take for one.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.storage.blob import ContainerClient, generate_container_sas

from tests import oracle
from tests.azurite import Azurite
from tests.between import between
from tests.e2e.shell import Shell
from tests.logged import LoggedRows
from wherry.engine.copy import Report, copy
from wherry.model import names
from wherry.model.errors import CODES
from wherry.model.options import JobOptions
from wherry.model.outcomes import Outcome, Row
from wherry.model.run import RunStatus
from wherry.stores.memory import MemoryStore
from wherry.stores.port import StoreSpec

NASTY = [
    b"new\nline", b"tab\there", b"return\rhere", b"\x1b[31mred\x1b[0m", b"\x1b]0;title\x07", b"\x9b31m",
    b"\x7f", b"\x01", b"\"double\"", b"'single'", b"`back`", b"$(rm -rf)", b"%00", b"%2F", b"%2e%2e%2f",
    b"%", b"&amp;", b"<b>bold</b>", b"=1+1", b"@SUM(A1)", b"a,b;c", b" leading", b"trailing ", b" ",
    b".leading", b"trailing.", b"...", b"..x", b"~", b"-rf", b"--", b"*", b"?", b"[x]", b"#hash",
    b"a?b=c&d", b"a+b", b"back\\slash", b"a\\", b"|pipe", b":", b"C:", b"file:stream", b"CON", b"LPT1.txt",
    b"nul", "\u202ereversed".encode(), "zero\u200bwidth".encode(), "\u200d".encode(), "\ufeffmark".encode(),
    "\U0001f9d1\u200d\U0001f680".encode(), "\xe9".encode(), "e\u0301".encode(), "\ufffe".encode(),
    "\u2028line".encode(), "\U0010ffff".encode(), b"\xff\xfe", b"\x80", b"half\xc3", b"\xed\xa0\x80",
    b"n" * 255, "\xe4".encode() * 127, b"A", b"a", "\u0130".encode(), "\u212a".encode(), b"undefined",
    b"null", b"None", b"\xc0\xae\xc0\xae",
]  # fmt: skip
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Every name as a file, and as a folder with a file in it."""
    root = tmp_path / "source"
    for name in NASTY:
        for path in (name, b"folder " + name[:240] + b"/" + name):
            place = os.path.join(os.fsencode(root), path)
            os.makedirs(os.path.dirname(place), exist_ok=True)
            with open(place, "wb") as file:
                file.write(path)
    return root


def _copied(source: StoreSpec, target: StoreSpec) -> tuple[Report, dict[bytes, Row]]:
    rows = LoggedRows()
    report = copy(source, target, JobOptions(), workers=0, log=rows.take)
    assert len(rows) == report.counters.items["Scanned"] == report.counters.settled
    assert len({(row.path, row.kind) for row in rows}) == len(rows)
    return report, {row.path: row for row in rows}


def _folder(path: Path) -> StoreSpec:
    path.mkdir(exist_ok=True)
    return StoreSpec("posix", str(path))


def _container(azurite: Azurite, client: ContainerClient) -> StoreSpec:
    end = datetime.now(UTC) + timedelta(hours=1)
    name = client.container_name
    sas = generate_container_sas(
        azurite.account, name, account_key=azurite.key, permission="rwdl", expiry=end
    )
    return StoreSpec("blob", f"{azurite.url}/{name}", secret=sas)


def test_any_name_arrives_in_a_folder(source: Path, tmp_path: Path) -> None:
    report, _ = _copied(_folder(source), _folder(tmp_path / "target"))

    assert report.end.status is RunStatus.SUCCEEDED
    assert oracle.folder(tmp_path / "target") == oracle.folder(source)


def test_any_name_survives_a_container_or_is_told_as_unsupported(
    source: Path, tmp_path: Path, azurite: Azurite
) -> None:
    client = azurite.container("names")
    there, told = _copied(_folder(source), _container(azurite, client))
    back, _ = _copied(_container(azurite, client), _folder(tmp_path / "back"))

    wanted = oracle.folder(source)
    refused = {path for path, row in told.items() if row.outcome is Outcome.UNSUPPORTED}
    assert {row.outcome for row in told.values()} == {Outcome.TRANSFERRED, Outcome.UNSUPPORTED}
    assert {told[path].code for path in refused} <= {"AZSM2022", "AZSM2024"}
    assert there.counters.items["Unsupported"] == len(refused)
    assert there.end.warning
    held = {path: item for path, item in wanted.items() if path not in refused}
    assert oracle.folder(tmp_path / "back") == held
    assert back.counters.items == {"Scanned": len(held), "Transferred": len(held)}
    # What cannot be there: no text at all, or not in XML, or changed by the service.
    for path in wanted:
        assert (path in refused) == _impossible(path), path


def _impossible(path: bytes) -> bool:
    try:
        text = path.decode()
    except UnicodeDecodeError:
        return True
    cannot = re.search("[\x00-\x1f\x7f\ufffe\uffff\\\\]", text)
    return bool(cannot) or any(part.endswith((".", "\\")) for part in text.split("/"))


@pytest.mark.parametrize("log", ["log.jsonl", "log.tsv"])
def test_attack_59_no_name_breaks_a_log_or_a_terminal(source: Path, tmp_path: Path, log: str) -> None:
    shell = Shell(tmp_path)

    answer = shell.process("copy", "source", "target", "--workers", "1", "--log", log)

    text = (tmp_path / log).read_text(encoding="utf-8")
    lines = text.removesuffix("\n").split("\n")
    wanted = oracle.folder(source)
    assert len(lines) == len(wanted)
    assert not CONTROL.search(text.replace("\t", ""))
    assert not CONTROL.search(answer.out + answer.err)
    if log.endswith("jsonl"):
        told = [json.loads(line)["itemPath"] for line in lines]
    else:
        rows = [line.split("\t") for line in lines]
        assert {len(row) for row in rows} == {len(rows[0])}
        told = [row[5] for row in rows]
    assert {names.unescape(path) for path in told} == set(wanted)


def test_attack_59_no_name_breaks_an_error_message(tmp_path: Path) -> None:
    shell = Shell(tmp_path)

    answer = shell.process("copy", "no \x1b[31msuch\n\u202efolder", "target", code=11)

    assert "such" in answer.err
    assert not CONTROL.search(answer.out + answer.err)


# ---------------------------------------------------------------- limits


def _deep(root: Path, parts: list[bytes]) -> None:
    """A file below these folders, however long its path: step by step."""
    root.mkdir(exist_ok=True)
    here = os.open(root, os.O_RDONLY)
    for part in parts[:-1]:
        os.mkdir(part, dir_fd=here)
        below = os.open(part, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    file = os.open(parts[-1], os.O_CREAT | os.O_WRONLY, dir_fd=here)
    os.write(file, b"deep")
    os.close(file)
    os.close(here)


def _walk_down(root: Path, parts: list[bytes]) -> bytes:
    here = os.open(root, os.O_RDONLY)
    for part in parts:
        below = os.open(part, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    try:
        return os.read(here, 100)
    finally:
        os.close(here)


@pytest.mark.parametrize(
    "parts", [[b"d"] * 100 + [b"f"], [b"n" * 255] * 15 + [b"f" * 200]], ids=["levels", "length"]
)
def test_a_path_as_long_as_the_system_takes_one_arrives(tmp_path: Path, parts: list[bytes]) -> None:
    _deep(tmp_path / "source", parts)
    assert len(b"/".join(parts)) <= 4095

    report, _ = _copied(_folder(tmp_path / "source"), _folder(tmp_path / "target"))

    assert report.counters.items == {"Scanned": len(parts), "Transferred": len(parts)}
    assert _walk_down(tmp_path / "target", parts) == b"deep"


def test_a_path_that_is_longer_is_copied_or_told(tmp_path: Path) -> None:
    """No system call takes it whole; what is not copied has a row of its own, and the rest goes on."""
    parts = [b"n" * 250] * 20 + [b"f"]
    _deep(tmp_path / "source", parts)
    (tmp_path / "source" / "z").write_bytes(b"z")

    report, told = _copied(_folder(tmp_path / "source"), _folder(tmp_path / "target"))

    assert (tmp_path / "target" / "z").read_bytes() == b"z"
    last = max(told, key=len)
    if report.end.status is RunStatus.SUCCEEDED and not report.end.warning:
        assert _walk_down(tmp_path / "target", parts) == b"deep"
    else:
        assert told[last].outcome in (Outcome.FAILED, Outcome.UNSUPPORTED)
        assert told[last].code in CODES


LIMITS = {
    "as long as can be": ([b"n" * 200] * 5 + [b"f" * 19], None),
    "one character longer": ([b"n" * 200] * 5 + [b"f" * 20], "AZSM2024"),
    "as many levels as can be": ([b"d"] * 253 + [b"f"], None),
    "one level more": ([b"d"] * 254 + [b"f"], "AZSM2025"),
    "a dot at the end": ([b"folder", b"f."], "AZSM2022"),
    "a folder with a dot at its end": ([b"folder.", b"f"], "AZSM2022"),
    "control characters": ([b"folder", b"a\x01b"], "AZSM2022"),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_what_a_container_cannot_name_is_told_before_and_after(
    tmp_path: Path, azurite: Azurite, limit: str
) -> None:
    parts, code = LIMITS[limit]
    _deep(tmp_path / "source", parts)
    client = azurite.container("limits")
    path = b"/".join(parts)
    rows = LoggedRows()
    places = _folder(tmp_path / "source"), _container(azurite, client)
    copy(*places, JobOptions(dry_run=True), workers=0, log=rows.take)
    planned = {row.path: row.code for row in rows}
    assert not list(client.list_blob_names())

    if "level" in limit:
        # A folder for each level takes its time, and the walk has told already.
        assert planned[path] == (code or "AZSM0000")
        return
    _, told = _copied(*places)

    assert planned.keys() == told.keys()
    if code is None:
        assert told[path].outcome is Outcome.TRANSFERRED
        assert client.get_blob_client(path.decode()).download_blob().readall() == b"deep"
    else:
        assert (told[path].outcome, told[path].code, planned[path]) == (Outcome.UNSUPPORTED, code, code)
        assert path.decode() not in set(client.list_blob_names())


# ---------------------------------------------------------------- two names for one place


def test_a_file_and_a_folder_of_one_name_end_as_one_and_it_is_told(tmp_path: Path, azurite: Azurite) -> None:
    """A container may hold `a` and `a/b`; a folder may not."""
    client = azurite.container("twins")
    for name in ("a", "a/b", "a/c/d", "z"):
        client.upload_blob(name, name.encode())
    rows = LoggedRows()

    report = copy(
        _container(azurite, client), _folder(tmp_path / "target"), JobOptions(), workers=0, log=rows.take
    )

    there = oracle.folder(tmp_path / "target")
    assert report.end.status is RunStatus.FAILED
    assert len(rows) == report.counters.items["Scanned"] == report.counters.settled
    assert (tmp_path / "target" / "z").read_bytes() == b"z"
    twins = [row for row in rows if row.path == b"a"]
    assert any(row.outcome is Outcome.FAILED and row.detail for row in twins)
    for path in (b"a/b", b"a/c/d"):
        copied = [row for row in rows if row.path == path and row.outcome is Outcome.TRANSFERRED]
        assert bool(copied) == (path in there)
    if there[b"a"][0] == "file":
        assert (tmp_path / "target" / "a").read_bytes() == b"a"


def test_attack_67_names_that_a_target_takes_for_one_are_not_written_over_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A target where case does not count: the first keeps the place, the other one fails and says so."""
    source = MemoryStore("case-source")
    for path, data in ((b"Folder/a", b"1"), (b"README", b"first"), (b"readme", b"second!"), (b"z", b"z")):
        source.seed(path, data)
    store = _caseless()
    between(monkeypatch, lambda spec, opened: store if spec.location == "case-target" else opened)

    report, told = _copied(StoreSpec("memory", "case-source"), StoreSpec("memory", "case-target"))

    assert report.end.status is RunStatus.FAILED
    outcomes = {told[path].outcome for path in (b"README", b"readme")}
    assert outcomes == {Outcome.TRANSFERRED, Outcome.FAILED}
    (kept,) = [path for path in (b"README", b"readme") if told[path].outcome is Outcome.TRANSFERRED]
    assert store.paths()[kept] == source.paths()[kept]
    assert len([path for path in store.paths() if path.lower() == b"readme"]) == 1
    assert told[b"z"].outcome is Outcome.TRANSFERRED


def _caseless() -> MemoryStore:
    """A store in memory that finds `readme` by the name `README`."""
    store = MemoryStore("case-target")
    fold: Callable[[bytes], bytes] = lambda path: next(  # noqa: E731
        (known for known in list(MemoryStore("case-target").paths()) if known.lower() == path.lower()), path
    )
    stat, put = store.stat, store.put
    store.stat = lambda path: stat(fold(path))  # type: ignore[method-assign]
    store.put = lambda path, content, like, expect: put(fold(path), content, like, expect)  # type: ignore[method-assign]
    return store
