"""Waiting: bounded in tries and time, and never twice what may have been done."""

from __future__ import annotations

import pytest

from wherry.model.errors import Corrupt, Unavailable
from wherry.stores.http.patience import Patience, after
from wherry.stores.http.wire import Answer, HungUp, Lost, Unreached


def patience(waits: list[float], attempts: int = 4) -> Patience:
    return Patience(attempts, 1000, first_wait=1, longest_wait=4, sleep=waits.append, draw=lambda: 1.0)


def answers(*given: Answer | Exception) -> tuple[list[int], object]:
    calls: list[int] = []

    def send() -> Answer:
        calls.append(1)
        now = given[min(len(calls), len(given)) - 1]
        if isinstance(now, Exception):
            raise now
        return now

    return calls, send


def answer(status: int, code: str = "", **headers: str) -> Answer:
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, b"", code)


def test_waits_grow_up_to_a_bound() -> None:
    waits: list[float] = []
    calls, send = answers(answer(500))

    with pytest.raises(Unavailable):
        patience(waits, attempts=6).persist(send)  # type: ignore[arg-type]

    assert waits == [1, 2, 4, 4, 4]
    assert len(calls) == 6


def test_who_is_only_busy_is_waited_for_longer() -> None:
    calls, send = answers(*[answer(503)] * 30, answer(201))
    assert patience([]).persist(send).status == 201  # type: ignore[arg-type]
    assert len(calls) == 31

    calls, send = answers(answer(429))
    with pytest.raises(Unavailable):
        Patience(busy_attempts=40, sleep=lambda _: None).persist(send)  # type: ignore[arg-type]
    assert len(calls) == 40


def test_a_named_time_is_obeyed_within_reason() -> None:
    waits: list[float] = []
    _, send = answers(
        answer(503, retry_after="9"),
        answer(429, retry_after="99999"),
        answer(500, retry_after="soon"),
        answer(201),
    )

    assert patience(waits).persist(send).status == 201  # type: ignore[arg-type]
    assert waits == [9, 60, 4]


def test_time_is_bounded_too() -> None:
    calls, send = answers(answer(503, retry_after="50"))

    with pytest.raises(Unavailable):
        Patience(attempts=100, seconds=10, busy_seconds=40, sleep=lambda _: None).persist(send)  # type: ignore[arg-type]

    assert len(calls) == 1


@pytest.mark.parametrize("first", [Lost("x"), answer(500), answer(503)])
def test_an_unknown_outcome_is_looked_at_before_the_next_try(first: Answer | Exception) -> None:
    calls, send = answers(first, answer(201))

    assert patience([]).persist(send, lambda: "done") == "done"  # type: ignore[arg-type]
    assert len(calls) == 1


@pytest.mark.parametrize("first", [Unreached("x"), answer(429)])
def test_a_known_failure_is_not_looked_at(first: Answer | Exception) -> None:
    calls, send = answers(first, answer(201))

    outcome = patience([]).persist(send, lambda: "done")  # type: ignore[arg-type]

    assert isinstance(outcome, Answer)
    assert len(calls) == 2


def test_what_comes_to_light_only_with_the_second_try() -> None:
    """The first request was still on its way when it was looked for."""
    looks = iter([None, "done"])
    _, send = answers(Lost("x"), answer(409))

    assert patience([]).persist(send, lambda: next(looks)) == "done"  # type: ignore[arg-type]


def test_bytes_that_never_arrive_whole_are_given_up_early() -> None:
    calls, send = answers(answer(400, code="Md5Mismatch"))

    with pytest.raises(Corrupt):
        patience([], attempts=50).persist(send)  # type: ignore[arg-type]

    assert len(calls) == 3


def test_a_connection_that_was_closed_meanwhile_costs_no_attempt_and_no_wait() -> None:
    waits: list[float] = []
    calls, send = answers(HungUp("x"), HungUp("x"), answer(201))

    outcome = patience(waits, attempts=1).persist(send)  # type: ignore[arg-type]

    assert outcome.status == 201
    assert waits == []
    assert len(calls) == 3


def test_a_server_that_only_hangs_up_is_given_up() -> None:
    waits: list[float] = []
    calls, send = answers(HungUp("x"))

    with pytest.raises(Unavailable):
        patience(waits, attempts=2).persist(send)  # type: ignore[arg-type]

    assert len(waits) == 1
    assert len(calls) < 10


def test_what_was_lost_on_a_closed_connection_is_looked_for_all_the_same() -> None:
    calls, send = answers(HungUp("x"), answer(201))

    assert patience([]).persist(send, lambda: "done") == "done"  # type: ignore[arg-type]
    assert len(calls) == 1


@pytest.mark.parametrize("first", [Lost("x"), answer(500)])
def test_an_attempt_that_was_made_already_counts(first: Answer | Exception) -> None:
    waits: list[float] = []
    calls, send = answers(answer(500))

    with pytest.raises(Unavailable):
        patience(waits, attempts=3).persist(after(first, send))  # type: ignore[arg-type]

    assert len(calls) == 2
    assert len(waits) == 2


def test_an_answer_that_came_already_is_taken() -> None:
    calls, send = answers(answer(201))

    assert patience([]).persist(after(answer(404), send)).status == 404  # type: ignore[arg-type]
    assert calls == []
