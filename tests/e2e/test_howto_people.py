"""What the how-to of people and programs shows works: its commands are run as they stand, in one shell."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import Browser
from tests.e2e.shell import Shell

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "how-to"
FACTORS = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "second-factors.md"
HOW_TO = FOLDER / "people-and-programs.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
TAKEN = re.compile(r"(\w+)=\$\((.*)\)$")


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    shell = Shell(tmp_path_factory.mktemp("people"))
    with shell.serving():
        shell.approved("login", name="login")
        yield shell


def words(line: str, known: dict[str, str]) -> list[str]:
    return shlex.split(re.sub(r"\$(\w+)", lambda found: known[found[1]], line))


def test_each_command_works_as_it_is_told(shell: Shell) -> None:
    """Commands run in this process, as the start of a program for each would take most of the time."""
    known: dict[str, str] = {}
    printed = follow(shell, HOW_TO, known)
    made = json.loads(printed["wherry service-principal create --name nightly"])
    assert len(made["secretText"]) == 43
    assert set(known) == {"id", "old"}
    assert all(re.fullmatch(r"[0-9a-f-]{36}", value) for value in known.values())
    assert "alice" in printed["wherry user-group member list --name operators --all --output table"]
    shown = printed["wherry service-principal credential list --name nightly --output table"]
    assert "next" in shown
    assert made["secretText"] not in shown
    assert shell.run("user", "list", "--query", "[].userPrincipalName").data == ["admin"]
    assert shell.run("service-principal", "list").data == []


def follow(shell: Shell, page: Path, known: dict[str, str]) -> dict[str, str]:
    """Run all commands of a page; what each printed."""
    printed: dict[str, str] = {}
    for line in "".join(BLOCK.findall(page.read_text())).splitlines():
        taken = TAKEN.fullmatch(line)
        command, _, into = (taken[2] if taken else line).partition(" > ")
        if not command.startswith("wherry "):
            continue
        out = shell.run(*words(command, known)[1:]).out
        printed[command] = out
        if taken:
            known[taken[1]] = out.strip()
        elif into and into != "/dev/null":
            (shell.folder / into).write_text(out)
    return printed


def test_the_audit_trail_is_read_and_verified_as_it_is_told(shell: Shell) -> None:
    shell.run("user", "show", "--name", "nobody", code=3)
    printed = follow(shell, FOLDER / "audit.md", {"STATE": str(shell.state)})
    assert "wherry/directory/user-created" in printed["wherry audit list --top 20 --output table"]
    verdicts = [out for line, out in printed.items() if line.startswith("wherry audit verify")]
    assert len(verdicts) == 4
    assert all(re.search(r"Whole +true", out) for out in verdicts), verdicts
    part = (shell.folder / "carol.jsonl").read_text()
    assert '"record"' not in part
    assert part.count('"digest"') > 3


def test_a_provider_to_sign_in_by_is_made_known_as_it_is_told(shell: Shell) -> None:
    (shell.folder / "corp.secret").write_text("canary-of-corp-4711\n")
    printed = follow(shell, FOLDER / "sign-in-by-another-provider.md", {})
    shown = printed["wherry sign-in provider show --name corp --output table"]
    assert "/signin/upstream/corp" in shown
    assert "7f3c1b0e" in printed["wherry sign-in identity list --user dora --output table"]
    everything = "".join(printed.values()) + shell.run("audit", "list", "--top", "50").out
    assert "canary-of-corp-4711" not in everything
    assert "provider-deleted" in everything
    assert shell.run("sign-in", "provider", "list").data == []
    told = ("sign-in", "provider", "add", "--name", "x", "--client-id", "c", "--issuer")
    for issuer in ("http://id.corp.example", "id.corp.example", "https://id.corp.example/?a=b"):
        assert "issuer" in shell.run(*told, issuer, code=1).err.lower()
    assert shell.run("sign-in", "provider", "show", "--name", "x", code=3).out == ""


def test_attack_69_an_export_that_was_changed_says_where(shell: Shell) -> None:
    shell.run("audit", "export", "whole.jsonl")
    lines = (shell.folder / "whole.jsonl").read_text().splitlines(keepends=True)
    at = next(number for number, line in enumerate(lines) if "wherry/device/approved" in line)
    seq = json.loads(lines[at])["seq"]
    lines[at] = lines[at].replace("approved", "declined")
    (shell.folder / "changed.jsonl").write_text("".join(lines))
    found = shell.run("audit", "verify", "changed.jsonl", code=1).data
    assert (found["whole"], found["troubles"][0][: len(f"Record {seq} was")]) == (False, f"Record {seq} was")
    assert "no exported audit trail" in shell.run("audit", "verify", str(HOW_TO), code=1).err
    shell.run("audit", "verify", code=2)


def test_second_factors_are_looked_after_as_it_is_told(shell: Shell, tmp_path: Path) -> None:
    """Alice sets one up on the pages, an administrator sees and resets it by the commands of the how-to."""
    first = tmp_path / "first"
    first.write_text("blue horse 47 battery\n")
    shell.run("user", "create", "--name", "alice", "--password-file", str(first))
    with Browser(shell.environment["WHERRY_URL"], shell.environment["WHERRY_CA_FILE"]) as browser:
        browser.first_sign_in(browser.get("/signin"), "alice", "blue horse 47 battery", "a lone green tree")
        assert "Authenticator app" in browser.get("/factors").text
        listed, reset = "".join(BLOCK.findall(FACTORS.read_text())).splitlines()
        printed = shell.run(*shlex.split(listed)[1:]).out
        assert re.search(r"Authenticator app.*\n.*Recovery codes.*10", printed)
        shell.run(*shlex.split(reset)[1:])
        assert shell.run("user", "factor", "list", "--name", "alice").data == []
        assert browser.get("/factors").headers["location"] == "/signin"
    shell.run("user", "delete", "--name", "alice", "--yes")
    assert shell.run("user", "factor", "list", "--name", "alice", code=3).out == ""


def test_passwords_come_from_files_and_standard_input(shell: Shell, tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.write_text("blue horse 47 battery\n")
    made = shell.run("user", "create", "--name", "bob", "--password-file", str(first))
    assert "battery" not in made.out + made.err
    refused = shell.run("user", "change-password", code=2)
    assert "There is no terminal" in refused.err
    weak = tmp_path / "weak"
    weak.write_text("short\n")
    answer: Any = shell.run("user", "reset-password", "-n", "bob", "--password-file", str(weak), code=1)
    assert "PasswordTooWeak" in answer.err
    given = shell.run("role", "assign", "--role", "Reader", "--assignee", "bob").data
    assert given["properties"]["principalId"] == made.data["id"]
    unknown = shell.run("role", "assign", "--role", "Reader", "--assignee", "nobody", code=2)
    assert "There are 0 users" in unknown.err
    assert shell.run("user", "show", "--name", "nobody", code=3).out == ""
    assert "LastOwner" in shell.run("user", "delete", "--name", "admin", "--yes", code=1).err


def test_a_certificate_is_sent_without_its_key(shell: Shell, tmp_path: Path) -> None:
    pem = (Path(shell.environment["WHERRY_CA_FILE"])).read_text()
    file = tmp_path / "both.pem"
    file.write_text("-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----\n" + pem)
    made = shell.run("service-principal", "create", "--name", "certified", "--certificate", str(file)).data
    assert "secretText" not in made
    (known,) = shell.run("service-principal", "credential", "list", "-n", made["appId"]).data
    assert (known["kind"], known["key"]) == ("certificate", None)
    shell.run("service-principal", "credential", "delete", "-n", "certified", "--id", known["keyId"], "-y")
    assert shell.run("service-principal", "credential", "list", "-n", "certified").data == []
    broken = shell.run(
        "service-principal", "create", "-n", "x", "--certificate", str(tmp_path / "none"), code=1
    )
    assert "none" in broken.err
