"""Ids out of names: what is given, what comes from the defaults, and names that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.cli import defaults
from wherry.cli.place import Place, segment
from wherry.client.profile import Profile
from wherry.model.errors import UsageError

PROFILE = Profile("https://h", "https://h", "t", "S", Path("ca.pem"))
MOVER = "/subscriptions/S/resourceGroups/g/providers/Microsoft.StorageMover/storageMovers/m"


def test_names_become_ids() -> None:
    at = Place(PROFILE, "g", "m", "p")

    assert at.mover == MOVER
    assert at.of_mover("agents") == f"{MOVER}/agents"
    assert at.of_mover("agents", "a.1") == f"{MOVER}/agents/a.1"
    assert at.job("j") == f"{MOVER}/projects/p/jobDefinitions/j"
    assert at.every_mover == "/subscriptions/S/providers/Microsoft.StorageMover/storageMovers"


def test_defaults_fill_in() -> None:
    defaults.change({"defaults.group": "g", "defaults.mover": "m", "defaults.project": "p"})

    assert Place(PROFILE, None).jobs == f"{MOVER}/projects/p/jobDefinitions"


def test_an_account_is_named_or_given_by_its_id() -> None:
    at = Place(PROFILE, "g")
    account = "/subscriptions/S/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/acc"

    assert at.account("acc") == account
    assert at.containers(account) == f"{account}/blobServices/default/containers"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x"])
def test_a_name_does_not_lead_elsewhere(name: str) -> None:
    with pytest.raises(UsageError):
        segment(name)


def test_a_name_stays_in_its_segment() -> None:
    assert segment("a?b#c%2F") == "a%3Fb%23c%252F"
    assert segment("grün (1)") == "gr%C3%BCn%20(1)"
