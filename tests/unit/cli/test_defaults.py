"""Defaults: what is set is used, what is wrong is named, the deployment of the last sign-in is remembered."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Answer
from wherry.cli import defaults
from wherry.client.profile import Profile
from wherry.model.errors import UsageError

Program = Callable[..., Answer]


def test_what_is_set_is_used_where_nothing_is_given() -> None:
    defaults.change({"defaults.group": "lab", "defaults.output": "tsv"})

    assert defaults.find("group", None) == "lab"
    assert defaults.find("group", "given") == "given"
    assert defaults.read("output") == "tsv"


def test_an_empty_value_forgets() -> None:
    defaults.change({"defaults.group": "lab", "defaults.mover": "m"})
    defaults.change({"defaults.group": ""})

    assert defaults.read("group") is None
    assert defaults.read("mover") == "m"


def test_what_is_missing_is_told_with_all_ways_to_give_it() -> None:
    with pytest.raises(UsageError) as missing:
        defaults.find("mover", None)
    assert all(
        way in str(missing.value) for way in ("--storage-mover-name", "defaults.mover=NAME", "WHERRY_MOVER")
    )


@pytest.mark.parametrize("setting", ["defaults.nothing=x", "other.group=x", "group=x", "defaults.group"])
def test_an_unknown_setting_is_refused(setting: str, wherry: Program) -> None:
    answer = wherry("config", "set", setting)

    assert answer.code == 2
    assert "defaults.group" in answer.err


def test_settings_are_shown(wherry: Program) -> None:
    assert wherry("config", "set", "defaults.group=lab", "defaults.project=p=1").code == 0

    assert wherry("config", "show").data == {"defaults": {"group": "lab", "project": "p=1"}}


def test_a_damaged_file_is_named(config: Path, wherry: Program) -> None:
    config.mkdir()
    for content in ("{", "[]"):
        (config / "config.json").write_text(content)
        answer = wherry("config", "show")
        assert answer.code == 2
        assert str(config / "config.json") in answer.err


def test_the_deployment_of_the_last_sign_in_is_remembered(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.touch()
    known = Profile("https://one:1", "https://one:1", "t", "s", ca_file)
    defaults.keep_profile(known)

    assert defaults.profile() == known
    assert (config / "config.json").stat().st_mode & 0o077 == 0
    assert set(json.loads((config / "config.json").read_text())) == {"deployment"}

    # The environment is one whole: half of it is an error, not a mixture.
    monkeypatch.setenv("WHERRY_URL", "https://two:2")
    with pytest.raises(UsageError, match="WHERRY_AUTHORITY"):
        defaults.profile()


def test_nobody_has_signed_in_yet() -> None:
    with pytest.raises(UsageError, match="wherry env"):
        defaults.profile()
