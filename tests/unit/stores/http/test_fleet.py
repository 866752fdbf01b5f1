"""Answers as the fleet reads them: success only where there is no doubt."""

from __future__ import annotations

import pytest

from wherry.stores.http.fleet import _outcome

GOOD = [
    b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nETag: x\r\ncontent-length: 0\r\nDate: now\r\n\r\n",
    b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
]
DOUBTFUL = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n<Error>",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n<Error>\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n",
    b"220 mail.example ESMTP\r\n",
]


@pytest.mark.parametrize("answer", GOOD)
def test_a_success_is_one_when_it_is_whole_and_not_before(answer: bytes) -> None:
    assert [_outcome(answer[:end]) for end in range(len(answer))] == [None] * len(answer)
    assert _outcome(answer) == (True, True)


@pytest.mark.parametrize("answer", DOUBTFUL)
def test_whatever_else_is_said_is_no_success(answer: bytes) -> None:
    assert _outcome(answer) == (False, False)


@pytest.mark.parametrize("answer", GOOD)
def test_a_connection_that_says_more_or_is_closed_carries_nothing_further(answer: bytes) -> None:
    assert _outcome(answer + b"HTTP/1.1 200") == (True, False)
    assert _outcome(answer.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)) == (True, False)
