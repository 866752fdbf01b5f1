"""Settings: defaults, what a deployment says, what the environment says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wherry.control.settings import Settings
from wherry.model.errors import UsageError


def test_the_environment_goes_before_the_deployment_and_that_before_the_defaults(tmp_path: Path) -> None:
    told = {"tenant": "t", "settings": {"lease_seconds": 5, "agent_lost_seconds": 7}}
    (tmp_path / "deployment.json").write_text(json.dumps(told))
    found = Settings.load(tmp_path, {"WHERRY_SETTING_LEASE_SECONDS": "2.5", "PATH": "/bin"})
    assert (found.lease_seconds, found.agent_lost_seconds) == (2.5, 7.0)
    assert found.heartbeat_seconds == Settings().heartbeat_seconds
    assert Settings.load(None, {}) == Settings()
    assert not Settings.load(None, {"WHERRY_SETTING_SECOND_FACTOR": "off"}).second_factor
    assert found.override({"register_needs_owner": True}).register_needs_owner
    assert isinstance(found.override({"losses_limit": "3"}).losses_limit, int)


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("LEASE", "1", "Unknown setting 'lease'"),
        ("LEASE_SECONDS", "x", "must be a number"),
        ("LEASE_SECONDS", "0", "zero"),
        ("SECOND_FACTOR", "maybe", "on or off"),
    ],
)
def test_what_makes_no_sense_is_named(name: str, value: str, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        Settings.load(None, {f"WHERRY_SETTING_{name}": value})
