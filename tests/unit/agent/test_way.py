"""The agent's way out is kept where nobody else reads it."""

from __future__ import annotations

import tarfile

import pytest

from wherry.agent import bundle
from wherry.agent.state import AgentState
from wherry.model.errors import UsageError
from wherry.model.way import DIRECT, Proxy, Way

WAY = Way(Proxy("proxy.example", 3128, "me", "over the river", ("inside.example",)), "PEM")


def test_it_is_kept_and_given_up(state: AgentState) -> None:
    assert state.way() == DIRECT
    state.keep_way(WAY)
    assert state.way() == WAY
    assert (state.directory / "way.json").stat().st_mode & 0o777 == 0o600
    state.keep_way(DIRECT)
    assert state.way() == DIRECT
    assert not (state.directory / "way.json").exists()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"proxy": {}}', '{"proxy": {"host": "-"}}', '{"proxy": 1}'])
def test_a_damaged_file_says_what_to_do(state: AgentState, text: str) -> None:
    (state.directory / "way.json").write_text(text)
    with pytest.raises(UsageError, match="Delete it, and set proxy and authorities anew"):
        state.way()


def test_no_bundle_holds_the_password(state: AgentState) -> None:
    state.keep_way(WAY)
    found = []
    with tarfile.open(bundle.collect(state).path) as made:
        for member in made.getmembers():
            content = made.extractfile(member)
            assert content
            found.append(content.read())
    assert not any(b"over the river" in one for one in found)
    assert any(b"http://proxy.example:3128, user me, with a password" in one for one in found)
