"""Authorization details of an enrolment."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.model.errors import ApiError
from wherry.trust import clients
from wherry.trust.enrolment import AGENT_CLIENT_ID, EnrolmentRequest, key_words

MOVER = "/subscriptions/s/resourceGroups/g/providers/Microsoft.StorageMover/storageMovers/m"
GOOD = EnrolmentRequest(MOVER, "agent-1", "host.example", "0.1.0")


def test_what_is_asked_is_what_is_read():
    assert EnrolmentRequest.parse([GOOD.details()]) == GOOD
    assert GOOD.group == "/subscriptions/s/resourceGroups/g"


def test_same_without_case_and_without_the_free_texts():
    assert GOOD.same_as(EnrolmentRequest(MOVER.upper(), "AGENT-1", "host.example"))
    assert not GOOD.same_as(EnrolmentRequest(MOVER + "2", "agent-1", "host.example"))
    assert not GOOD.same_as(EnrolmentRequest(MOVER, "agent-2", "host.example"))
    assert not GOOD.same_as(EnrolmentRequest(MOVER, "agent-1", "other.example"))


def test_the_words_of_a_key_are_its_own_and_can_be_said() -> None:
    said = {key_words(str(number)) for number in range(50)}
    assert len(said) == 50
    assert all(
        re.fullmatch(r"([bdf-hj-np-tvz][aiou]){2}[bdf-hj-np-tvz]", word)
        for one in said
        for word in one.split("-")
    )
    assert {len(one.split("-")) for one in said} == {4}
    assert key_words("x") == key_words("x")


@pytest.mark.parametrize(
    "change",
    [
        {"type": "other"}, {"mover": "/subscriptions/s"}, {"mover": MOVER + "/agents/a"}, {"mover": "x"},
        {"mover": MOVER.replace("storageMovers", "other")}, {"mover": 5},
        {"mover": MOVER.replace("/resourceGroups/g", "")},
        {"agentName": ""}, {"agentName": "a b"}, {"agentName": "agent-1\n"}, {"agentName": "<script>"},
        {"agentName": "a/../b"}, {"agentName": None}, {"hostName": "a\nb"}, {"hostName": "h" * 129},
        {"agentVersion": "\u202e"},
    ],
)  # fmt: skip
def test_one_unsound_member_is_enough(change):
    with pytest.raises(ApiError) as refused:
        EnrolmentRequest.parse([GOOD.details() | change])
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "details", [None, [], {}, "x", [1], [GOOD.details()] * 2, {"type": "storagemover_agent"}]
)
def test_anything_but_one_detail_is_refused(details):
    with pytest.raises(ApiError):
        EnrolmentRequest.parse(details)


VALUE: st.SearchStrategy[Any] = st.sampled_from(
    [None, 1, True, [], {}, "", "a", "é", "\0", "..", MOVER, MOVER + "/", "agent"]
) | st.text(max_size=8)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(GOOD.details(), VALUE)))
def test_no_document_does_anything_but_parse_or_be_refused(change):
    try:
        parsed = EnrolmentRequest.parse([GOOD.details() | change])
    except ApiError:
        return
    assert EnrolmentRequest.parse([parsed.details()]) == parsed


def test_agents_have_a_client_id_of_their_own():
    assert AGENT_CLIENT_ID in clients.NAMES
    assert clients.AZURE_CLI != AGENT_CLIENT_ID
