"""Servers that lie: what they call their files reaches no folder but the target's, no terminal and no log as it is."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
from pathlib import Path
from unittest import mock

import pytest

from tests.logged import LoggedRows
from tests.lying_store import BODY, lying_store
from wherry.cli import main
from wherry.engine.copy import copy
from wherry.model import names
from wherry.model.options import JobOptions
from wherry.model.outcomes import Outcome
from wherry.stores.port import StoreSpec

FINE = [b"fine", b"folder/fine"]
REFUSED = b"refused"
# Names that a folder can hold, and that would do something to whoever shows them.
STRANGE = [
    b"new\nline", b'x", "transferResult": "Failed', b"\x1b[31mred\x1b[0m", b"\x1b]0;title\x07", b"\xc2\x9b2J",
    b"\r\x1b[2K", "\u202etxt.exe".encode(), "\u2066turned\u2069".encode(), b"back\\slash", b"folder/\x1b[2J\n", b"=1+1",
    b"-rf", b"C:\\x", b"%2e%2e%2fescape",
]  # fmt: skip
# Names that no folder can hold, or that lead out of it.
IMPOSSIBLE = [
    b"../escape", b"folder/../../escape", b"folder/..", b"..", b".", b"./escape", b"folder/./escape", b"/escape",
    b"//escape", b"folder//escape", b"a\0b", b"folder/\0", b"n" * 256, b"n" * 5000, b"../../../../../../tmp/escape",
    b"/etc/escape",
]  # fmt: skip
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")


def source(kind: str, port: int) -> StoreSpec:
    if kind == "blob":
        return StoreSpec("blob", f"http://127.0.0.1:{port}/container", secret="sig=x")
    return StoreSpec("s3", f"http://127.0.0.1:{port}/bucket", secret="secret", identity="identity")


def everything(root: Path) -> dict[bytes, bytes]:
    found = {}
    for base, _, files in os.walk(os.fsencode(root)):
        for name in files:
            path = os.path.join(base, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, os.fsencode(root))] = file.read()
    return found


@pytest.mark.parametrize("kind", ["blob", "s3"])
def test_attack_59_names_of_a_server_lead_nowhere_else(tmp_path: Path, kind: str) -> None:
    """Each is copied under its own name, below the target, or refused and told."""
    target = tmp_path / "around" / "target"
    target.mkdir(parents=True)
    rows = LoggedRows()
    with lying_store([*FINE, *STRANGE, *IMPOSSIBLE, REFUSED], frozenset([REFUSED])) as server:
        report = copy(
            source(kind, server.port), StoreSpec("posix", str(target)), JobOptions(), workers=0, log=rows.take
        )

    assert everything(tmp_path) == {b"around/target/" + name: BODY for name in FINE + STRANGE}
    told = {row.path: row for row in rows}
    assert not [name for name in FINE + STRANGE if told[name].outcome is not Outcome.TRANSFERRED]
    assert report.counters.items["Scanned"] == len(rows) == report.counters.settled
    refused = [row for row in rows if row.outcome in (Outcome.FAILED, Outcome.UNSUPPORTED)]
    for name in IMPOSSIBLE:
        assert [row for row in refused if name == row.path or name.startswith(row.path + b"/")], name
    assert told[REFUSED].outcome is Outcome.FAILED


class Terminal(io.StringIO):
    """A terminal that remembers what it was made to show."""

    def isatty(self) -> bool:
        return True


def test_attack_59_words_of_a_server_do_nothing_to_logs_and_terminals(tmp_path: Path) -> None:
    terminal = Terminal()
    (tmp_path / "target").mkdir()
    with (
        lying_store([*FINE, *STRANGE, REFUSED], frozenset([REFUSED])) as server,
        mock.patch.dict(
            os.environ, {"WHERRY_BLOB_SAS": "sig=x", "WHERRY_CONFIG_DIR": str(tmp_path / "config")}
        ),
        contextlib.chdir(tmp_path),
        contextlib.redirect_stdout(Terminal()) as out,
        contextlib.redirect_stderr(terminal),
    ):
        place = f"blob:http://127.0.0.1:{server.port}/container"
        code = main.call(["copy", place, "target", "--workers", "1", "--log", "log.jsonl"])

    assert code == 10
    lines = (tmp_path / "log.jsonl").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    assert len(lines) == len(FINE + STRANGE) + 2
    assert not CONTROL.search("".join(lines))
    told = {names.unescape(row["itemPath"]): row for row in map(json.loads, lines)}
    assert told.keys() == {*FINE, *STRANGE, REFUSED, b"folder"}
    assert r"\x1b[2J\x1b]0;owned\x07" in told[REFUSED]["details"]
    shown = terminal.getvalue() + out.getvalue()
    # The screen draws by escapes of its own.
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", shown)
    assert not CONTROL.search(drawn)
    assert not any(word in shown for word in ("\x1b[31mred", "\x1b[2J", "title", "owned\x07"))
