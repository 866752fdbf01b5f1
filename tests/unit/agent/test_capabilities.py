"""The preflight: what an agent lacks is named, with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.agent.shell.script import Script
from wherry.agent import capabilities
from wherry.agent.capabilities import FOR_ALL, FOR_TARGETS, Lack, effective, missing
from wherry.agent.shell import status
from wherry.agent.shell.here import Here
from wherry.agent.state import AgentState

EVERY = frozenset((*FOR_ALL, *FOR_TARGETS))


def names(lacks: tuple[Lack, ...]) -> list[str]:
    return [one.capability for one in lacks]


def test_the_kernel_tells_what_is_in_force(tmp_path: Path) -> None:
    process = tmp_path / "status"
    process.write_text("Name:\tx\nCapPrm:\tffff\nCapEff:\t0000000000000404\nCapBnd:\tffff\n")
    assert effective(process) == {"CAP_DAC_READ_SEARCH", "CAP_NET_BIND_SERVICE"}
    assert effective(tmp_path / "nothing") == EVERY
    assert effective() <= EVERY


def test_what_is_needed_depends_on_what_is_allowed() -> None:
    none: frozenset[str] = frozenset()
    assert missing(EVERY, sources=True, targets=True, ports=(22,)) == ()
    assert missing(none, sources=False, targets=False, ports=(0, 40342)) == ()
    assert names(missing(none, sources=True, targets=False)) == ["CAP_DAC_READ_SEARCH"]
    assert missing(frozenset({"CAP_DAC_OVERRIDE"}), sources=True, targets=False) == ()
    assert names(missing(frozenset(FOR_ALL), sources=True, targets=True)) == list(FOR_TARGETS)


def test_a_port_below_the_free_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    limit = tmp_path / "start"
    limit.write_text("1024\n")
    monkeypatch.setattr(capabilities, "_FREE_PORTS", limit)
    (lack,) = missing(frozenset(), sources=False, targets=False, ports=(0, 22))
    assert lack.capability == "CAP_NET_BIND_SERVICE"
    assert "Port 22 " in lack.trouble
    assert "from 1024 on" in lack.remedy
    limit.write_text("0\n")
    assert missing(frozenset(), sources=False, targets=False, ports=(22,)) == ()


def test_the_shell_shows_what_the_agent_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = AgentState(tmp_path / "agent")
    monkeypatch.setattr(capabilities, "effective", lambda: frozenset(FOR_ALL))
    with caplog.at_level("WARNING", "wherry.agent"):
        capabilities.preflight(state.directory, True, True, (22,))
    assert len(caplog.records) == len(FOR_TARGETS)
    script = Script([])
    status.service(Here(script, state))
    assert "CAP_CHOWN is missing. At allowed targets files keep no owners" in script.text
    assert status.picture(state)["missing"] == list(FOR_TARGETS)
    (state.directory / "preflight.json").write_text("[{}]")
    assert capabilities.kept(state.directory) == ()
