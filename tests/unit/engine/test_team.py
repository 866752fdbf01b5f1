"""Threads of a lease: all deeds once, results in order, errors to whoever waits, nothing left at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.engine import team as teams
from wherry.engine.team import Team
from wherry.model.names import NameRules
from wherry.model.plan import Holds
from wherry.stores.port import Traits

LIMIT = 20.0


def _traits(threads: int) -> Traits:
    return Traits(Holds(NameRules()), threads=threads)


def _team(threads: int = 4) -> Team:
    return Team(_traits(1), _traits(threads))


@pytest.fixture
def team() -> Iterator[Team]:
    with closing(_team()) as made:
        yield made


def _light(_: object) -> int:
    return 0


def test_a_local_copy_needs_no_threads_for_small_deeds():
    with closing(Team(_traits(1), _traits(1))) as local, closing(_team()) as far:
        assert local.local
        assert not far.local


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 8))
def test_results_come_in_the_order_of_the_deeds(counts, threads):
    with closing(_team(threads)) as team:
        found = team.do(list(enumerate(counts)), lambda one: [one[0]] * one[1], lambda one: one[1] << 19)
        expected = [number for number, count in enumerate(counts) for _ in range(count)]
        assert found.result(LIMIT) == expected


def test_a_deed_that_takes_long_does_not_change_the_order(team):
    second = threading.Event()

    def deed(number: int) -> list[int]:
        if number == 0:
            assert second.wait(LIMIT)
        if number == 3:
            second.set()
        return [number]

    assert team.do(range(4), deed, _light).result(LIMIT) == [0, 1, 2, 3]


def test_nothing_to_do_is_done_at_once(team):
    assert team.do([], lambda _: [1], _light).result(LIMIT) == []
    team.share([], lambda _: None)


def test_as_many_are_under_way_as_the_team_is_wide(team):
    assert team.width == 4
    for _ in range(2):  # With new threads, and with those that have had nothing to do since.
        together = threading.Barrier(4)

        def deed(number: int, together: threading.Barrier = together) -> list[int]:
            together.wait(LIMIT)
            return [number]

        assert team.do(range(4), deed, _light).result(LIMIT) == [0, 1, 2, 3]


def test_a_team_that_has_nothing_to_do_grows_when_it_has(team):
    """One idle thread is no reason to leave all that comes to it."""
    assert team.do([0], lambda one: [one], _light).result(LIMIT) == [0]
    while not team._idle:
        time.sleep(0.001)
    together = threading.Barrier(4)

    def deed(number: int) -> list[int]:
        together.wait(LIMIT)
        return [number]

    assert team.do(range(4), deed, _light).result(LIMIT) == [0, 1, 2, 3]


@pytest.mark.parametrize("error", [ValueError("first"), KeyboardInterrupt("first")])
def test_the_first_error_is_that_of_all_and_the_rest_is_not_begun(error):
    begun = []
    with closing(_team(2)) as team:

        def deed(number: int) -> list[int]:
            begun.append(number)
            if number == 0:
                raise error
            return [number]

        failed = team.do(range(1000), deed, _light)
        with pytest.raises(type(error), match="first"):
            failed.result(LIMIT)
        assert len(begun) < 1000
        # Another load is not touched by it.
        assert team.do([1, 2], lambda one: [one], _light).result(LIMIT) == [1, 2]


def test_a_load_that_failed_has_let_go_of_all_when_it_says_so(team):
    slow, bad = threading.Event(), threading.Event()

    def deed(number: int) -> list[int]:
        if number == 0:
            assert slow.wait(LIMIT)
            raise ValueError("bad")
        slow.set()
        time.sleep(0.1)
        bad.set()
        return [number]

    failed = team.do(range(2), deed, _light)
    with pytest.raises(ValueError, match="bad"):
        failed.result(LIMIT)
    assert bad.is_set()


def test_what_was_not_begun_when_the_team_closes_never_is():
    team = _team(2)
    together, go = threading.Barrier(team.width + 1), threading.Event()
    begun: list[int] = []

    def deed(number: int) -> list[int]:
        begun.append(number)
        together.wait(LIMIT)
        assert go.wait(LIMIT)
        return [number]

    under_way = team.do(range(100), deed, lambda _: 1 << 20)
    waiting = team.do(range(100), deed, lambda _: 1 << 20)
    together.wait(LIMIT)
    close = threading.Thread(target=team.close)
    close.start()
    while not team._over:
        time.sleep(0.001)
    go.set()
    close.join(LIMIT)
    for load in (under_way, waiting):
        with pytest.raises(CancelledError):
            load.result(LIMIT)
    assert sorted(begun) == list(range(team.width))
    assert not team._threads


def test_closing_twice_is_closing_once(team):
    team.do([1], lambda one: [one], _light).result(LIMIT)
    team.close()
    team.close()


def test_pieces_are_shared_among_all_that_are_free(team):
    together = threading.Barrier(4)
    done: list[int] = []

    def piece(number: int) -> None:
        if number < 4:
            together.wait(LIMIT)
        done.append(number)

    team.share(range(10), piece)
    assert sorted(done) == list(range(10))


def test_a_deed_may_share_its_pieces_with_a_team_that_is_busy():
    with closing(_team(2)) as team:
        together = threading.Barrier(2)
        done: list[tuple[int, int]] = []

        def deed(number: int) -> list[int]:
            together.wait(LIMIT)
            team.share([(number, piece) for piece in range(5)], done.append)
            return [number]

        assert team.do(range(2), deed, lambda _: 1 << 20).result(LIMIT) == [0, 1]
        assert sorted(done) == [(number, piece) for number in range(2) for piece in range(5)]


def test_pieces_that_fail_end_the_sharing_after_all_have_let_go(team):
    helping, over = threading.Event(), threading.Event()
    begun: list[int] = []

    def piece(number: int) -> None:
        begun.append(number)
        if len(begun) == 1:
            assert helping.wait(LIMIT)
            raise ValueError("a piece")
        helping.set()
        time.sleep(0.1)
        over.set()

    with pytest.raises(ValueError, match="a piece"):
        team.share(range(1000), piece)
    assert over.is_set()
    assert len(begun) < 1000
    count = len(begun)
    assert team.do(range(8), lambda one: [one], _light).result(LIMIT) == list(range(8))
    assert len(begun) == count


def test_a_team_follows_the_advice_of_its_tuner(monkeypatch):
    monkeypatch.setattr(teams, "_TUNE_SECONDS", 0.0)
    advice = iter([6, 2, 2, 2, 2, 2, 2, 2, 2, 2])
    with closing(_team(8)) as team:
        monkeypatch.setattr(team._tuner, "observe", lambda *_: next(advice, 2))
        assert team.do([1], lambda one: [one], _light).result(LIMIT) == [1]
        while team.width != 6:
            time.sleep(0.001)
        together = threading.Barrier(6)
        wide = team.do(range(6), lambda one: [together.wait(LIMIT) and one], _light)
        assert len(wide.result(LIMIT)) == 6
        while len(team._threads) > 2:
            team.do([1], lambda one: [one], _light).result(LIMIT)
        assert team.do(range(50), lambda one: [one], _light).result(LIMIT) == list(range(50))
