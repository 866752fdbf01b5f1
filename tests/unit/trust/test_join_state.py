"""Join states: an honest agent is never taken for two, whatever is lost; two that share a key are told apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.trust import join_state
from wherry.trust.join_state import Chain, JoinState
from wherry.trust.signed import Untrusted

KEY = b"k" * 32
FIRST = Chain(JoinState(1))


@given(st.lists(st.sampled_from(["kept", "lost", "used"])))
def test_one_holder_is_let_in_whatever_is_lost(steps):
    """A lost answer leaves the agent with the state before; only what it kept can it use."""
    chain, held = FIRST, JoinState(1)
    for step in steps:
        after = chain.follow(held)
        assert after is not None
        chain = after
        if step != "lost":
            held = chain.current
        if step == "used":
            after = chain.use(held)
            assert after is not None
            chain = after


def test_of_two_holders_the_second_is_noticed_at_its_first_state_out_of_date():
    chain = FIRST.follow(JoinState(1))
    assert chain is not None
    chain = chain.use(chain.current)
    assert chain is not None
    assert chain.follow(JoinState(1)) is None


def test_of_two_holders_with_a_state_that_nobody_used_the_first_is_noticed_when_it_comes_back():
    mine = FIRST.follow(JoinState(1))
    assert mine is not None
    theirs = mine.follow(JoinState(1))
    assert theirs is not None
    assert theirs.current != mine.current
    assert theirs.use(mine.current) is None
    assert theirs.follow(mine.current) is None
    further = theirs.follow(theirs.current)
    assert further is not None
    assert further.use(mine.current) is None


def test_a_token_that_is_a_little_older_may_still_be_used():
    second = FIRST.follow(JoinState(1))
    assert second is not None
    third = second.follow(second.current)
    assert third is not None
    assert third.use(second.current) == third
    assert third.use(JoinState(1)) == third


def test_a_state_from_before_a_backup_was_put_back_counts():
    after = FIRST.follow(JoinState(9, 2))
    assert after is not None
    assert after.current == JoinState(10)


def test_states_are_signed_and_of_one_agent():
    text = join_state.write(KEY, "client", JoinState(3, 1))
    assert join_state.read(KEY, "client", text) == JoinState(3, 1)
    for wrong in (
        "",
        "3.1",
        text.replace("3.1", "4.1", 1),
        text + "x",
        text[:-1],
        "a.b." + "c" * 43,
        "٣" + text[1:],
    ):
        with pytest.raises(Untrusted):
            join_state.read(KEY, "client", wrong)
    for key, client in ((b"other" * 7, "client"), (KEY, "another")):
        with pytest.raises(Untrusted):
            join_state.read(key, client, text)
    for wrong in ("", "1", "1.", "x.1"):
        with pytest.raises(Untrusted):
            JoinState.parse(wrong)
