"""What an agent tells of its machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.agent import facts
from wherry.agent.shell.host_key import fingerprint
from wherry.agent.state import AgentState


def test_a_heartbeat_tells_of_this_machine() -> None:
    told = facts.heartbeat("https://127.0.0.1:8443")

    assert told["address"] == "127.0.0.1"
    assert told["memoryInMB"] > 0
    assert told["cores"] > 0
    assert told["uptimeInSeconds"] > 0
    assert told["hostName"]
    assert told["timeZone"]


def test_what_cannot_be_known_is_empty() -> None:
    assert facts.address("https://nowhere.invalid") == ""


def test_the_number_of_the_machine_is_its_firmware_s_or_kept(state: AgentState, tmp_path: Path) -> None:
    firmware = tmp_path / "product_uuid"
    firmware.write_text("4C4C4544-0042-3510-8051-B4C04F333132\n")
    assert facts.machine_uuid(state, firmware) == "4c4c4544-0042-3510-8051-b4c04f333132"

    for useless in ("00000000-0000-0000-0000-000000000000", "none"):
        firmware.write_text(useless)
        assert facts.machine_uuid(state, firmware) == state.machine_id()
    assert facts.machine_uuid(state, tmp_path / "absent") == state.machine_id()


@pytest.mark.parametrize(
    ("named", "zone"), [("Europe/Berlin", "Europe/Berlin"), (":America/New_York", "America/New_York")]
)
def test_the_time_zone_may_be_set(monkeypatch: pytest.MonkeyPatch, named: str, zone: str) -> None:
    monkeypatch.setenv("TZ", named)

    assert facts.time_zone() == zone


def test_a_name_that_is_not_printable_is_made_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "h\u00e4us\n" + "x" * 200)

    assert facts.host_name().startswith("h?us?xx")
    assert len(facts.host_name()) == 128


def test_the_key_of_the_ssh_service_is_told_as_ssh_shows_it(state: AgentState) -> None:
    assert facts.ssh_host_key(state) == ""
    assert "sshHostKey" not in facts.registration("https://127.0.0.1", state)
    shown = fingerprint(state)
    assert facts.ssh_host_key(state) == shown
    assert facts.registration("https://127.0.0.1", state)["sshHostKey"] == shown
    (state.directory / "ssh_host_key").write_text("damaged")
    assert facts.ssh_host_key(state) == ""
