"""The device flow's state machine: every way through it, and a machine that tries them all."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from wherry.trust import device_flow
from wherry.trust.device_flow import DeviceGrant, FlowError, Outcome

NOW = 1_800_000_000.0
KEY = "thumbprint"


def begun(jkt: str | None = None) -> DeviceGrant:
    return device_flow.begin(
        client_id="c", tenant="t", scope="s", source="127.0.0.1", now=NOW, jkt=jkt, details=({"type": "x"},)
    )


def poll(grant, now=NOW, client_id="c", tenant="t", jkt=None, token_id="id"):
    return device_flow.poll(grant, client_id=client_id, tenant=tenant, jkt=jkt, now=now, token_id=token_id)


def test_pending_then_approved_is_redeemed_once():
    grant = begun()
    outcome, grant = poll(grant)
    assert outcome is Outcome.PENDING
    grant = device_flow.approve(grant, "admin", NOW + 1)
    outcome, grant = poll(grant, NOW + 1.1)
    assert outcome is Outcome.REDEEMED
    assert (grant.subject, grant.token_id, grant.state) == ("admin", "id", "redeemed")
    outcome, burnt = poll(grant, NOW + 10, token_id="other")
    assert outcome is Outcome.REUSED
    assert (burnt.state, burnt.token_id) == ("burnt", "id")
    assert poll(burnt, NOW + 20)[0] is Outcome.REUSED


def test_denied_stays_denied_and_expired_stays_expired():
    denied = device_flow.deny(begun(), "admin", NOW)
    assert poll(denied)[0] is Outcome.DENIED
    assert poll(begun(), NOW + device_flow.LIFETIME)[0] is Outcome.EXPIRED
    late = device_flow.approve(begun(), "admin", NOW)
    assert poll(late, NOW + device_flow.LIFETIME)[0] is Outcome.EXPIRED


def test_polling_too_fast_makes_the_interval_grow_and_keep():
    _, grant = poll(begun())
    for n in range(1, 4):
        outcome, grant = poll(grant, NOW + 0.1 * n)
        assert outcome is Outcome.SLOW_DOWN
        assert grant.interval == device_flow.INTERVAL + n * device_flow.SLOWER
    assert poll(grant, NOW + 5)[0] is Outcome.SLOW_DOWN
    assert poll(grant, NOW + 18)[0] is Outcome.PENDING


def test_polling_at_the_interval_is_never_too_fast():
    grant, now = begun(), NOW
    for _ in range(10):
        outcome, grant = poll(grant, now)
        assert outcome is Outcome.PENDING
        now += device_flow.INTERVAL


@pytest.mark.parametrize("thief", [{"client_id": "x"}, {"tenant": "x"}, {"jkt": "x"}, {"jkt": None}])
def test_another_client_tenant_or_key_burns_the_code(thief):
    grant = device_flow.approve(begun(KEY), "admin", NOW)
    outcome, burnt = poll(grant, **{"jkt": KEY, **thief})
    assert outcome is Outcome.FOREIGN
    assert poll(burnt, jkt=KEY)[0] is Outcome.REUSED


def test_a_thief_cannot_undo_what_was_redeemed():
    _, redeemed = poll(device_flow.approve(begun(KEY), "admin", NOW), jkt=KEY)
    assert poll(redeemed, jkt="x") == (Outcome.FOREIGN, redeemed)


def test_decisions_only_while_pending():
    decided = device_flow.approve(begun(), "admin", NOW)
    for step in (device_flow.approve, device_flow.deny):
        with pytest.raises(FlowError, match="decided"):
            step(decided, "other", NOW)
        with pytest.raises(FlowError, match="expired"):
            step(begun(), "other", NOW + device_flow.LIFETIME)
    with pytest.raises(FlowError):
        device_flow.compare(decided, "10", NOW)


def test_three_wrong_numbers_deny():
    grant = begun(KEY)
    assert grant.match is not None
    assert 10 <= int(grant.match) <= 99
    wrong = "11" if grant.match != "11" else "12"
    assert device_flow.compare(grant, f" {grant.match} ", NOW) == (True, grant)
    for state in ("pending", "pending", "denied"):
        right, grant = device_flow.compare(grant, wrong, NOW)
        assert (right, grant.state) == (False, state)
    assert poll(grant, jkt=KEY)[0] is Outcome.DENIED


def test_without_a_key_there_is_no_number():
    assert begun().match is None
    assert device_flow.compare(begun(), "", NOW)[0]


def test_a_grant_survives_its_document():
    grant = replace(begun(KEY), mismatches=1, polled_at=NOW)
    assert DeviceGrant.from_document(json.loads(json.dumps(grant.document()))) == grant


@pytest.mark.parametrize("typed", ["bcdf-ghjk", " BCDFGHJK ", "bcdf ghjk", "b.c-dfghjk"])
def test_codes_are_read_as_people_type_them(typed):
    assert device_flow.normalize_user_code(typed) == "BCDF-GHJK"


@pytest.mark.parametrize("typed", ["", "BCDF", "ABCD-EFGH", "ВCDF-GHJK", "BCDFGHJKL", "bcdf_ghjk", "ﬀ" * 8])  # noqa: RUF001
def test_what_cannot_be_a_code_is_none(typed):
    assert device_flow.normalize_user_code(typed) is None


def test_new_codes():
    codes = {device_flow.new_user_code() for _ in range(100)}
    assert len(codes) == 100
    assert all(device_flow.normalize_user_code(code) == code for code in codes)
    assert len(device_flow.new_device_code()) >= 43


class Machine(RuleBasedStateMachine):
    """Whatever happens in whatever order: at most one token, and only after an approval."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.grant = begun(KEY)
        self.approved = False
        self.tokens = 0

    @rule(seconds=st.floats(0, 400))
    def wait(self, seconds):
        self.now += seconds

    @rule(jkt=st.sampled_from([KEY, KEY, KEY, "thief", None]))
    def ask(self, jkt):
        before = self.grant
        outcome, self.grant = poll(before, self.now, jkt=jkt)
        if outcome is Outcome.REDEEMED:
            assert self.approved
            assert jkt == KEY
            assert not before.expired(self.now)
            self.tokens += 1

    @rule(yes=st.booleans())
    def decide(self, yes):
        step = device_flow.approve if yes else device_flow.deny
        try:
            self.grant = step(self.grant, "admin", self.now)
        except FlowError:
            return
        self.approved |= yes

    @precondition(lambda self: self.grant.state == "pending" and not self.grant.expired(self.now))
    @rule(number=st.sampled_from(["", "00"]))
    def guess(self, number):
        right, self.grant = device_flow.compare(self.grant, number, self.now)
        assert not right

    @invariant()
    def at_most_one_token(self):
        assert self.tokens <= 1


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
