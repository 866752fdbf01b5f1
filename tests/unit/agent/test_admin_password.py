"""What the password of the shell's one user opens, and when."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.agent.admin_password import DEFAULT, DEFAULT_SECONDS, AdminPassword, ChangedMeanwhile, Verdict
from wherry.model.errors import UsageError

GOOD = "carry the boat over 7"


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def password(tmp_path: Path, clock: Clock) -> AdminPassword:
    made = AdminPassword(tmp_path, clock)
    made.begin()
    return made


def test_attack_45_the_default_opens_only_its_change_and_after_a_day_nothing(
    password: AdminPassword, clock: Clock
) -> None:
    assert password.verdict("admin", DEFAULT, network=True) is Verdict.CHANGE
    clock.now += DEFAULT_SECONDS
    assert password.verdict("admin", DEFAULT, network=True) is Verdict.NOTHING
    # Whoever stands before the machine may still change it.
    assert password.verdict("admin", DEFAULT, network=False) is Verdict.CHANGE


def test_attack_45_the_day_is_counted_once_and_not_by_a_clock_that_was_set_back(
    password: AdminPassword, clock: Clock
) -> None:
    clock.now += DEFAULT_SECONDS - 1
    password.begin()
    assert password.verdict("admin", DEFAULT, network=True) is Verdict.CHANGE
    clock.now += 1
    assert password.verdict("admin", DEFAULT, network=True) is Verdict.NOTHING
    clock.now -= 2 * DEFAULT_SECONDS
    assert password.verdict("admin", DEFAULT, network=True) is Verdict.NOTHING


@pytest.mark.parametrize("user", ["root", "Admin", "admin ", ""])
@pytest.mark.parametrize("known", [DEFAULT, GOOD])
def test_attack_45_nobody_else_comes_in(password: AdminPassword, user: str, known: str) -> None:
    if known == GOOD:
        password.change(GOOD)
    assert password.verdict(user, known, network=True) is Verdict.NOTHING


def test_a_password_of_ones_own_opens_the_shell_and_the_default_nothing(
    password: AdminPassword, clock: Clock
) -> None:
    password.change(GOOD)
    clock.now += 10 * DEFAULT_SECONDS
    for network in (True, False):
        assert password.verdict("admin", GOOD, network=network) is Verdict.SHELL
        assert password.verdict("admin", DEFAULT, network=network) is Verdict.NOTHING
        assert password.verdict("admin", "", network=network) is Verdict.NOTHING
        assert password.verdict("admin", "x" * 5000, network=network) is Verdict.NOTHING


@pytest.mark.parametrize(
    "weak", ["admin", "", "short", "aaaaaaaaaaaaaaaa", "password1234", "my admin's password"]
)
def test_weak_ones_are_refused_and_change_nothing(password: AdminPassword, weak: str) -> None:
    with pytest.raises(UsageError):
        password.change(weak)
    assert password.is_default


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"verifier": ""}', b'{"verifier": "x", "since": "y"}']
)
def test_attack_45_a_damaged_file_opens_nothing(
    password: AdminPassword, tmp_path: Path, damage: bytes
) -> None:
    (tmp_path / "admin.json").write_bytes(damage)
    for network in (True, False):
        assert password.verdict("admin", DEFAULT, network=network) is Verdict.NOTHING


def test_attack_45_who_came_in_by_the_default_changes_no_other_password(password: AdminPassword) -> None:
    password.change(GOOD, first=True)
    with pytest.raises(ChangedMeanwhile, match="Log in by the new one"):
        password.change("the one of somebody else 9", first=True)
    assert password.verdict("admin", GOOD, network=True) is Verdict.SHELL
    password.change("carry the boat over 8")
    assert password.verdict("admin", GOOD, network=True) is Verdict.NOTHING
