"""Which offered programs an agent takes, which it refuses and for how long, and what it tells of that."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from wherry import __version__
from wherry.agent import packages, programs
from wherry.agent.programs import INSTALLED, Choice, Programs
from wherry.agent.upgrade import AGAIN_SECONDS, Upgrades
from wherry.client.connection import Unreachable
from wherry.model.versions import Version
from wherry.trust.keys import PrivateKey

KEY = PrivateKey.for_agent()
NEXT = str(Version.parse(__version__)._replace(patch=Version.parse(__version__).patch + 1))


@dataclass
class Offer:
    """A control plane that offers what is in `folder`."""

    folder: Path
    now: float = 1_000_000.0
    asked: list[str] = field(default_factory=list)
    trouble: Exception | None = None

    def add(self, version: str, key: PrivateKey = KEY) -> None:
        tree = self.folder / f"tree-{version}"
        (tree / "wherry").mkdir(parents=True, exist_ok=True)
        (tree / "wherry" / "__init__.py").write_text(f'__version__ = "{version}"\n')
        packages.build(tree, key, self.folder)

    def read(self, version: str, offset: int, size: int) -> bytes:
        self.asked.append(version)
        if self.trouble is not None:
            raise self.trouble
        return (self.folder / f"wherry-agent-{version}.wherry").read_bytes()[offset : offset + size]


@pytest.fixture
def offer(tmp_path: Path) -> Offer:
    (tmp_path / "offers").mkdir()
    return Offer(tmp_path / "offers")


@pytest.fixture
def upgrades(tmp_path: Path, offer: Offer) -> Upgrades:
    return Upgrades(Programs(tmp_path / "agent"), (KEY.public,), lambda: offer.now)


def test_a_later_program_is_unpacked_and_put_on_trial(upgrades: Upgrades, offer: Offer) -> None:
    offer.add(NEXT)
    assert upgrades.take(NEXT, offer.read)

    tree = upgrades.programs.path(NEXT)
    assert tree is not None
    assert (tree / "wherry" / "__init__.py").read_text() == f'__version__ = "{NEXT}"\n'
    choice = upgrades.programs.choice
    assert (choice.version, choice.before, choice.trial, choice.starts) == (NEXT, INSTALLED, True, 0)
    assert {path.name for path in upgrades.programs.folder.iterdir()} == {NEXT, "chosen.json"}


@pytest.mark.parametrize("version", [__version__, "0.0.1", "no version", "../../etc"])
def test_attack_47_an_older_program_or_none_is_not_asked_for(
    upgrades: Upgrades, offer: Offer, version: str
) -> None:
    assert not upgrades.take(version, offer.read)
    assert not offer.asked
    assert upgrades.programs.choice == Choice()


def test_attack_47_a_forged_program_is_refused_and_told_of(upgrades: Upgrades, offer: Offer) -> None:
    offer.add(NEXT, PrivateKey.for_agent())
    assert not upgrades.take(NEXT, offer.read)
    assert upgrades.told() == {"version": NEXT, "code": "AZSM0002", "detail": "signed by an unknown key"}
    assert upgrades.programs.choice.version == INSTALLED
    assert upgrades.programs.path(NEXT) is None


def test_attack_47_another_version_under_the_name_that_is_offered(upgrades: Upgrades, offer: Offer) -> None:
    offer.add("0.0.1")
    (offer.folder / "wherry-agent-0.0.1.wherry").rename(offer.folder / f"wherry-agent-{NEXT}.wherry")
    assert not upgrades.take(NEXT, offer.read)
    assert upgrades.programs.choice.detail == "it is version 0.0.1"


def test_attack_47_older_than_what_ran_here_once(
    upgrades: Upgrades, offer: Offer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner has put an old program back; that brings back no hole that a package had closed."""
    for version in ("99.0.0", NEXT):
        offer.add(version)
    assert upgrades.take("99.0.0", offer.read)
    assert upgrades.programs.passed()
    monkeypatch.setattr(programs, "__version__", "0.0.1")
    assert not upgrades.take(NEXT, offer.read)
    assert upgrades.programs.choice.detail == "a later version has run here before"


def test_a_program_for_another_python_is_refused(
    upgrades: Upgrades, offer: Offer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(packages, "PYTHON", "2.7")
        offer.add(NEXT)
    assert not upgrades.take(NEXT, offer.read)
    assert "it is for Python 2.7" in upgrades.programs.choice.detail


def test_what_did_not_do_is_tried_again_after_a_while(upgrades: Upgrades, offer: Offer) -> None:
    offer.add(NEXT)
    offer.trouble = Unreachable("no route")
    assert not upgrades.take(NEXT, offer.read)
    assert upgrades.programs.choice.code == "AZSM0001"
    offer.asked.clear()
    offer.trouble = None

    assert not upgrades.take(NEXT, offer.read)
    assert not offer.asked
    offer.now += AGAIN_SECONDS
    assert upgrades.take(NEXT, offer.read)


def test_a_program_that_passes_stays_alone(upgrades: Upgrades, offer: Offer) -> None:
    for version in (NEXT, "99.0.0"):
        offer.add(version)
        assert upgrades.take(version, offer.read)
        upgrades.passed()
    assert upgrades.programs.choice == Choice(version="99.0.0", before="99.0.0", highest="99.0.0")
    assert {path.name for path in upgrades.programs.folder.iterdir()} == {"99.0.0", "chosen.json"}
    upgrades.passed()
    assert upgrades.told() is None


def test_a_disk_that_is_full_changes_nothing(
    upgrades: Upgrades, offer: Offer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    offer.add(NEXT)
    monkeypatch.setattr(packages, "unpack", full)
    assert not upgrades.take(NEXT, offer.read)
    choice = upgrades.programs.choice
    assert (choice.version, choice.code, choice.detail) == (INSTALLED, "AZSM0003", "No space left on device")
    assert {path.name for path in upgrades.programs.folder.iterdir()} == {"chosen.json"}


def test_without_what_was_chosen_the_installed_program_runs(upgrades: Upgrades) -> None:
    for text in ("", "{", "[]", '{"what": 1}', '{"version": "../x"}', '{"highest": 1}'):
        (upgrades.programs.folder / "chosen.json").write_text(text)
        assert upgrades.programs.choice == Choice()
    assert upgrades.programs.path("99.0.0") is None
    assert upgrades.programs.path(INSTALLED) is None
