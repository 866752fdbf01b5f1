"""Tokens of pages open only the list that they came from."""

from __future__ import annotations

import pytest

from wherry.control.arm import paging
from wherry.model.errors import ApiError
from wherry.trust.keys import MasterKey

MASTER = MasterKey.generate()


@pytest.mark.parametrize("after", ["/a/b", ["1000.5", "id"], 7, "ä/\N{GRINNING FACE}"])
def test_a_token_tells_its_place(after: object) -> None:
    assert paging.place(MASTER, "/A?", paging.token(MASTER, "/a?", after)) == after


def test_attack_56_a_token_of_something_else_is_refused() -> None:
    told = paging.token(MASTER, "/a?", "x")
    forged = [
        (MASTER, "/b?", told),
        (MASTER, "/a?filter", told),
        (MasterKey.generate(), "/a?", told),
        (MASTER, "/a?", told[:-1]),
        (MASTER, "/a?", ("B" if told[0] == "A" else "A") + told[1:]),
        (MASTER, "/a?", ""),
        (MASTER, "/a?", "!!"),
        (MASTER, "/a?", "é"),
    ]
    for master, collection, text in forged:
        with pytest.raises(ApiError) as refused:
            paging.place(master, collection, text)
        assert (refused.value.status, refused.value.code) == (400, "InvalidSkipToken")
