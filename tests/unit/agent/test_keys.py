"""The agent's keys on disk: a change that is cut short anywhere goes on, and no key is shown after it was replaced."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wherry.agent import keys
from wherry.agent.keys import KeptProofs
from wherry.agent.state import AgentState
from wherry.client import kept_file
from wherry.trust import key_change


class CutShort(BaseException):
    """The process was killed here."""


class Plane:
    """A control plane that takes offers: which keys it knows, and which is the newest that was used."""

    class Identity:
        client_id = "client"

    identity = Identity()

    def __init__(self, kept: KeptProofs) -> None:
        self.kept = kept
        self.known = [kept.key().thumbprint]
        self.used = 0

    def offer_key(self, offer: str) -> None:
        follows = self.kept.key().thumbprint
        new = key_change.verify(offer, "client", follows).thumbprint
        if new not in self.known:
            self.known.append(new)

    def sign_in_anew(self) -> None:
        shown = self.known.index(self.kept.key().thumbprint)
        assert shown >= self.used, "a key was shown that had been replaced: the agent is locked"
        self.used = shown


@pytest.fixture
def plane(state: AgentState) -> Plane:
    return Plane(state.kept)


def change(plane: Plane) -> None:
    keys.change(plane, plane.kept)  # type: ignore[arg-type]


def files(state: AgentState) -> set[str]:
    return {path.name for path in state.directory.glob("key*")}


def test_a_change_leaves_one_key_a_new_one(state: AgentState, plane: Plane) -> None:
    first = state.key().thumbprint

    change(plane)

    assert state.key().thumbprint == plane.known[-1] != first
    assert files(state) == {"key.pem"}


@pytest.mark.parametrize("survived", range(12))
def test_attack_40_a_change_may_be_cut_short_at_each_step(
    state: AgentState, plane: Plane, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    """Killed after `survived` steps on disk or at the control plane, then started again."""
    steps = 0

    def counted(step: Callable[..., object]) -> Callable[..., object]:
        def work(*args: object) -> object:
            nonlocal steps
            if steps == survived:
                raise CutShort
            steps += 1
            return step(*args)

        return work

    with monkeypatch.context() as patch:
        for name in ("replace", "create", "remove"):
            patch.setattr(kept_file, name, counted(getattr(kept_file, name)))
        for name in ("offer_key", "sign_in_anew"):
            patch.setattr(plane, name, counted(getattr(plane, name)))
        try:
            change(plane)
        except CutShort:
            pass
        else:
            assert steps <= survived

    plane.sign_in_anew()
    for _ in range(3):
        change(plane)
        if len(plane.known) > 1 and files(state) == {"key.pem"}:
            break

    assert state.key().thumbprint == plane.known[-1]
    assert len(plane.known) > 1
    assert files(state) == {"key.pem"}


def test_a_control_plane_that_forgot_the_new_key_gets_the_old_one(state: AgentState) -> None:
    kept = state.kept
    before = kept.key().thumbprint
    kept.next_key()
    kept.take_next()

    assert kept.changed
    assert kept.go_back()
    assert kept.key().thumbprint == before
    assert not kept.go_back()


def test_forgetting_leaves_no_key(state: AgentState) -> None:
    kept = state.kept
    kept.key()
    kept.next_key()
    kept.take_next()
    kept.next_key()
    kept.keep_join_state("x")
    assert kept.join_state() == "x"

    state.forget()

    assert files(state) == set()
    assert kept.join_state() == ""
