"""A support bundle: what goes in, what never does, and what becomes of it when something is missing."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import pytest

from wherry.agent import bundle, last_check, log_lines
from wherry.agent.admin_password import AdminPassword
from wherry.agent.network_check import Result
from wherry.agent.shell.host_key import host_key
from wherry.agent.state import AgentState
from wherry.client import kept_file


@pytest.fixture
def state(tmp_path: Path) -> AgentState:
    """An agent with everything that has to stay out."""
    made = AgentState(tmp_path / "agent")
    made.key()
    made.trust_server("https://127.0.0.1:9", b"a certificate")
    AdminPassword(made.directory).change("carry the boat over 7")
    host_key(made)
    kept_file.create(made.directory / "join.json", b'{"state": "of the join"}')
    return made


def read(made: bundle.Bundle) -> dict[str, bytes]:
    """What a bundle holds, by names without its own."""
    with tarfile.open(made.path) as archive:
        held = {member.name: archive.extractfile(member) for member in archive.getmembers()}
        return {name.partition("/")[2]: file.read() for name, file in held.items() if file is not None}


def log(state: AgentState, text: str) -> None:
    folder = kept_file.private_folder(state.directory / "log")
    (folder / "agent.log").write_text(text)


def test_what_helps_is_in_it(state: AgentState) -> None:
    log(state, '{"event": "online"}\n')
    made = bundle.collect(state)
    held = read(made)
    assert held["var/log/agent.log"] == b'{"event": "online"}\n'
    assert b'"url": "https://127.0.0.1:9"' in held["own/health.json"]
    assert held["root/ca.pem"] == b"a certificate"
    assert b"MemTotal" in held["misc/meminfo.txt"]
    assert b"key.pem" in held["misc/files.txt"], "that it is there, not what is in it"
    assert f"\n{os.getpid()} ".encode() in held["misc/top.txt"]
    assert (made.size, made.path.stat().st_mode & 0o777) == (made.path.stat().st_size, 0o600)


def test_attack_65_no_key_and_no_verifier_is_in_it(state: AgentState) -> None:
    everything = b"".join(read(bundle.collect(state)).values())
    for name in ("key.pem", "admin.json", "ssh_host_key", "join.json"):
        for line in (state.directory / name).read_bytes().splitlines():
            assert len(line) < 20 or line not in everything, name
    assert b"of the join" not in everything


def test_attack_65_what_looks_like_a_secret_is_blanked(state: AgentState) -> None:
    token = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"
    log(state, f'a https://host/x?sv=1&sig=c2VjcmV0 b Bearer {token} c {{"password": "open sesame"}}\n')
    text = read(bundle.collect(state))["var/log/agent.log"].decode()
    assert text.startswith("a https://host/x?sv=1&sig=***")
    for secret in ("c2VjcmV0", token, "sesame"):
        assert secret not in text


def test_of_a_long_log_the_end_is_in_it(state: AgentState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "_MOST_OF_ONE", 100)
    log(state, "x" * 1000 + "the end")
    held = read(bundle.collect(state))["var/log/agent.log"]
    assert len(held) == 100
    assert held.endswith(b"xthe end")


def test_what_cannot_be_read_is_named(state: AgentState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bundle._SYSTEM, "misc/nothing.txt", "/proc/nothing-there")
    made = bundle.collect(state)
    assert "misc/nothing.txt: No such file or directory" in made.missing
    assert b"misc/nothing.txt" in read(made)["left-out.txt"]


def test_one_that_cannot_be_written_leaves_nothing(
    state: AgentState, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle, "_add", full)
    with pytest.raises(OSError, match="No space"):
        bundle.collect(state)
    assert not list(bundle.folder(state).iterdir())


def test_the_last_ones_stay(state: AgentState) -> None:
    made = [bundle.collect(state, lambda at=at: at).path for at in range(bundle.KEPT + 2)]  # type: ignore[misc]
    assert sorted(bundle.folder(state).iterdir()) == made[2:]


def test_the_log_is_kept_in_files_of_bounded_size(state: AgentState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_lines, "_FILE_BYTES", 1000)
    with log_lines.kept_in(state.directory):
        log_lines.configure()
    with log_lines.kept_in(state.directory):
        for number in range(100):
            log_lines.tell(30, "event", f"line {number}")
    files = log_lines.kept(state.directory)
    assert [file.name for file in files] == ["agent.log", "agent.log.1", "agent.log.2", "agent.log.3"]
    assert "line 99" in files[0].read_text()
    assert all(file.stat().st_size <= 1000 for file in files)


def test_the_agents_start_its_runs_its_counts_and_its_last_look_at_the_network_are_in_it(
    state: AgentState,
) -> None:
    log(
        state,
        '{"event": "lease.begin", "level": "info", "run": "r", "partition": 1, "message": "x"}\n'
        '{"event": "lease.done", "level": "info", "run": "r", "partition": 1, "message": "y"}\ncut {',
    )
    last_check.keep(state, [Result("vault", "https://127.0.0.1:9?sig=c2VjcmV0", ())])
    with state.alone("run"):
        held = read(bundle.collect(state))
    assert [json.loads(line)["event"] for line in held["own/journal.jsonl"].splitlines()] == [
        "lease.begin",
        "lease.done",
    ]
    config, metrics = json.loads(held["own/config.json"]), json.loads(held["own/metrics.json"])
    assert config["runs"]
    assert Path(config["options"][0]).name.startswith("python")
    assert metrics["events"] == {"info lease.begin": 1, "info lease.done": 1}
    assert metrics["process"]["cpuSeconds"] > 0
    assert json.loads(held["own/network-check.json"])["results"][0]["endpoint"] == "vault"
    assert b"c2VjcmV0" not in held["own/network-check.json"]
