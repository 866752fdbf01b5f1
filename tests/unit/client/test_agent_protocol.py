"""The agent protocol against a server that loses answers, stalls and refuses."""

from __future__ import annotations

import gzip
import json
import pickle
import threading
import time
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.tls_server import CLIENT, DROP, Answer, Authority, Request, TlsServer
from wherry.client.agent_protocol import AgentProtocol, LeasedLedger, Unanswered
from wherry.client.connection import Unreachable
from wherry.client.interruptible import Interruptible
from wherry.client.proven import AgentIdentity, InMemory
from wherry.model.errors import ApiError, LeaseLost, RunError
from wherry.model.ledger import Commit, Phase, Slice, Span, Token, WorkItem
from wherry.model.options import JobOptions
from wherry.model.outcomes import Counters
from wherry.model.wire import Grant, Place, Progress, Renewal, RunOrder, Sighting, item_to_json
from wherry.trust.keys import PrivateKey

TOKEN = Token("inc", 7, 2, "lease")
GRANT = Grant(
    TOKEN,
    RunOrder("r1", Place("LocalMount", "/a"), Place("LocalMount", "/b"), JobOptions()),
    Span(),
    60.0,
)
LOST = Answer(409, {"error": {"code": "AZSM1023", "message": "The lease is over."}})


@pytest.fixture
def protocol(server: TlsServer, authority: Authority) -> Iterator[AgentProtocol]:
    key = PrivateKey.for_agent()
    authority.agent_tokens(key)
    identity = AgentIdentity(
        server.url, server.ca_file, CLIENT, authority.token_endpoint, authority.issuer, "aud", InMemory(key)
    )
    opened = AgentProtocol(identity)
    yield opened
    opened.close()


@pytest.fixture
def ledger(protocol: AgentProtocol, monkeypatch: pytest.MonkeyPatch) -> LeasedLedger:
    monkeypatch.setattr("wherry.client.agent_protocol.pause", lambda *_: 0.01)
    until = time.monotonic() + 20
    return protocol.ledger("r1", lambda: until - time.monotonic())


def test_a_heartbeat_tells_when_the_next_is_due(
    server: TlsServer, authority: Authority, protocol: AgentProtocol
) -> None:
    server.on("POST", "/agent/v1/heartbeat", authority.guard(Answer(200, {"interval": 12})))

    assert protocol.heartbeat({"hostName": "h"}) == 12.0
    assert server.seen("/agent/v1/heartbeat")[0].json == {"hostName": "h"}


def test_a_lease_comes_as_it_was_given(
    server: TlsServer, authority: Authority, protocol: AgentProtocol
) -> None:
    server.on("POST", "/agent/v1/leases", authority.guard(Answer(200, GRANT.to_json())))

    assert protocol.take(3.0) == GRANT


def test_no_lease_is_no_error(server: TlsServer, authority: Authority, protocol: AgentProtocol) -> None:
    server.on("POST", "/agent/v1/leases", authority.guard(Answer(204)))

    assert protocol.take(0.0) is None


def test_a_long_poll_ends_when_it_is_interrupted(
    server: TlsServer, authority: Authority, protocol: AgentProtocol
) -> None:
    asked, answer = threading.Event(), threading.Event()

    def poll(request: Request) -> Answer:
        asked.set()
        answer.wait(20)
        return Answer(204)

    server.on("POST", "/agent/v1/leases", authority.guard(poll))
    line = Interruptible(server.ca_file)
    trouble: list[Exception] = []

    def take() -> None:
        try:
            protocol.take(25.0, line)
        except Unreachable as ended:
            trouble.append(ended)

    thread = threading.Thread(target=take)
    thread.start()
    assert asked.wait(10)
    before = time.monotonic()
    line.interrupt()
    thread.join(10)
    hung = thread.is_alive()
    answer.set()

    assert not hung
    assert time.monotonic() - before < 10
    assert len(trouble) == 1
    with pytest.raises(Unreachable):
        protocol.take(25.0, line)
    line.close()


def test_commits_and_renewals_carry_what_they_are_about(
    server: TlsServer, authority: Authority, ledger: LeasedLedger
) -> None:
    answer = authority.guard(Answer(200, Renewal(60.0, split=True).to_json()))
    server.on("POST", "/agent/v1/runs/r1/(commit|renew)", answer)
    progress = Progress(Commit(1, None), Counters())

    assert ledger.commit(TOKEN, progress) == Renewal(60.0, split=True)
    assert ledger.renew(TOKEN, progress=True).split

    commit, renew = server.seen("/agent/v1/runs/r1/(commit|renew)")[-2:]
    assert Progress.from_json(commit.json["progress"]) == progress
    assert renew.json["progress"] is True


def test_a_segment_is_put_under_its_lease(
    server: TlsServer, authority: Authority, ledger: LeasedLedger
) -> None:
    server.on("PUT", "/agent/v1/segments/.*", authority.guard(Answer(204)))

    kept, again = (ledger.keep(TOKEN, 3, b"one\ntwo\n") for _ in range(2))

    assert kept == again
    assert kept.name.startswith("r1/7/2/3-")
    assert kept.rows == 2
    request = server.seen(f"/agent/v1/segments/{kept.name}")[-1]
    assert gzip.decompress(request.body) == b"one\ntwo\n"
    shown = json.loads(urlsafe_b64decode(request.headers["x-wherry-lease"] + "=="))
    assert shown == {"incarnation": "inc", "partition": 7, "epoch": 2, "lease": "lease"}


def test_items_beyond_the_slice_are_not_taken(
    server: TlsServer, authority: Authority, ledger: LeasedLedger
) -> None:
    items = [WorkItem(Phase.LINKS, key, b"p") for key in (b"a", b"b", b"z")]
    answer = Answer(200, {"items": [item_to_json(item) for item in items]})
    server.on("POST", "/agent/v1/runs/r1/items", authority.guard(answer))

    assert ledger.items(TOKEN, Slice(Phase.LINKS, b"a", b"m"), b"a", 10) == [items[1]]


def test_sightings_and_credentials_come_back(
    server: TlsServer, authority: Authority, ledger: LeasedLedger
) -> None:
    server.on("POST", "/agent/v1/runs/r1/sighting", authority.guard(Answer(200, {"since": 5})))
    body = {"secret": "sig=x", "expiresAt": "2026-01-01T00:00:00Z"}
    server.on("POST", "/agent/v1/runs/r1/credential", authority.guard(Answer(200, body)))

    assert ledger.sight(TOKEN, Sighting("s", "t", 1)).since == 5
    found = ledger.credential(TOKEN)
    assert found.secret == "sig=x"
    assert "sig=x" not in repr(found)


def test_what_fails_in_passing_is_tried_again(
    server: TlsServer, authority: Authority, ledger: LeasedLedger
) -> None:
    left = [DROP, Answer(500), Answer(503, headers={"Retry-After": "0"}), Answer(200, {"ttl": 9})]
    server.on("POST", "/agent/v1/runs/r1/commit", authority.guard(lambda _: left.pop(0)))

    assert ledger.commit(TOKEN, Progress(Commit(1, None), Counters())).ttl == 9
    bodies = {request.body for request in server.seen("/agent/v1/runs/r1/commit")}
    assert len(bodies) == 1


def test_a_sign_in_that_fails_in_passing_is_tried_again(
    server: TlsServer, authority: Authority, ledger: LeasedLedger
) -> None:
    server.on("POST", "/agent/v1/runs/r1/commit", authority.guard(Answer(200, {"ttl": 9})))
    sign_in = urlsplit(authority.token_endpoint).path
    token = next(handler for method, path, handler in server._handlers if path.fullmatch(sign_in))
    left = [Answer(503), Answer(502)]
    server.on("POST", sign_in, lambda request: left.pop(0) if left else token(request))

    assert ledger.commit(TOKEN, Progress(Commit(1, None), Counters())).ttl == 9
    assert not left


def test_a_lease_that_ends_while_nobody_answers_is_lost(
    server: TlsServer, protocol: AgentProtocol, authority: Authority
) -> None:
    server.on("POST", "/agent/v1/runs/r1/commit", authority.guard(DROP))
    until = time.monotonic() + 0.5
    ledger = protocol.ledger("r1", lambda: until - time.monotonic())

    with pytest.raises(LeaseLost, match="could not be reached"):
        ledger.commit(TOKEN, Progress(Commit(1, None), Counters()))

    assert time.monotonic() - until < 10


def test_a_server_that_stalls_does_not_outlast_the_lease(
    server: TlsServer, protocol: AgentProtocol, authority: Authority
) -> None:
    stall = threading.Event()
    server.on("POST", "/agent/v1/runs/r1/renew", authority.guard(lambda _: (stall.wait(20), Answer(204))[1]))
    until = time.monotonic() + 0.7
    ledger = protocol.ledger("r1", lambda: until - time.monotonic())

    with pytest.raises(LeaseLost):
        ledger.renew(TOKEN, progress=False)

    assert time.monotonic() - until < 10
    stall.set()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (LOST, LeaseLost),
        (Answer(404, {"error": {"code": "RunNotFound", "message": "no"}}), LeaseLost),
        (Answer(409, {"error": {"code": "AZSM1005", "message": "Another source."}}), RunError),
        (Answer(400, {"error": {"code": "InvalidRequestContent", "message": "bad"}}), ApiError),
        (Answer(200, {"what": 1}), ApiError),
    ],
)
def test_decisions_of_the_control_plane_come_out_as_what_they_mean(
    server: TlsServer, authority: Authority, ledger: LeasedLedger, answer: Answer, error: type[Exception]
) -> None:
    server.on("POST", "/agent/v1/runs/r1/renew", authority.guard(answer))

    with pytest.raises(error) as caught:
        ledger.renew(TOKEN, progress=False)

    assert type(caught.value) is error
    if isinstance(caught.value, RunError) and error is RunError:
        assert caught.value.code == "AZSM1005"


def test_release_and_events_say_why(server: TlsServer, authority: Authority, ledger: LeasedLedger) -> None:
    server.on("POST", "/agent/v1/runs/r1/(release|events)", authority.guard(Answer(204)))

    ledger.release(TOKEN, "AZSM1001", "gone")
    ledger.tell([{"level": "Warning", "message": "m"}])

    release, events = server.seen("/agent/v1/runs/r1/(release|events)")[-2:]
    assert (release.json["code"], release.json["detail"]) == ("AZSM1001", "gone")
    assert events.json == {"events": [{"level": "Warning", "message": "m"}]}


def test_what_was_kept_is_told_as_such(server: TlsServer, authority: Authority, ledger: LeasedLedger) -> None:
    server.on("POST", "/agent/v1/runs/r1/(commit|events)", authority.guard(Answer(204)))

    ledger.commit_late(TOKEN, {"seq": 3})
    ledger.tell([{"level": "Warning", "message": "m"}], "spool", 7)

    commit, events = server.seen("/agent/v1/runs/r1/(commit|events)")[-2:]
    assert (commit.json["late"], commit.json["progress"], commit.json["token"]["lease"]) == (
        True,
        {"seq": 3},
        TOKEN.lease,
    )
    assert (events.json["spool"], events.json["seq"]) == ("spool", 7)


@pytest.mark.parametrize(("answer", "heard"), [(DROP, False), (Answer(500), True), (Answer(503), False)])
def test_silence_tells_whether_the_service_failed(
    server: TlsServer, authority: Authority, protocol: AgentProtocol, answer: Answer, heard: bool
) -> None:
    server.on("POST", "/agent/v1/runs/r1/renew", authority.guard(answer))
    once = protocol.ledger("r1", lambda: 0.0 if server.seen("/agent/v1/runs/r1/renew") else 20.0)

    with pytest.raises(Unanswered) as silence:
        once.renew(TOKEN, progress=False)

    assert silence.value.heard is heard
    assert type(pickle.loads(pickle.dumps(silence.value))) is LeaseLost
