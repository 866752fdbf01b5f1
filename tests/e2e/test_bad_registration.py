"""Registrations that cannot be: each ends with a clear error, and nothing of them is left on either side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.site import Site
from wherry.agent.register import Wanted, register
from wherry.agent.state import AgentState
from wherry.client.device_code import DeviceCode, SignInFailed
from wherry.client.pinning import WrongFingerprint
from wherry.control.db.engine import Database
from wherry.control.db.tables_identity import device_codes as codes_table
from wherry.control.services import device_codes
from wherry.model.errors import ApiError, UsageError, WherryError
from wherry.trust.device_flow import DeviceGrant
from wherry.trust.keys import MasterKey


@contextmanager
def nothing_made(here: Site, state: AgentState) -> Iterator[None]:
    """What is registered afterwards is what was before."""

    def made() -> list[str]:
        api, subscription = here.admin.api, f"/subscriptions/{here.served.subscription}/providers"
        kinds = (
            f"{here.mover}/agents",
            f"{subscription}/Microsoft.HybridCompute/machines",
            f"{subscription}/Microsoft.Authorization/roleAssignments",
        )
        return sorted(str(one["id"]) for kind in kinds for one in api.list(kind))

    before = made()
    yield
    assert made() == before
    assert state.registration() is None


@pytest.fixture
def state(tmp_path: Path) -> AgentState:
    return AgentState(tmp_path / "agent")


def wanted(here: Site, **values: str) -> Wanted:
    return replace(here.admin.wanted(here.mover, "newcomer"), **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "error", "said"),
    [
        ({"mover": "no-such-mover"}, (ApiError, SignInFailed), "no-such-mover"),
        ({"group": "no-such-group"}, (ApiError, SignInFailed), "no-such-group"),
        ({"agent": "-not allowed-"}, UsageError, "'-not allowed-' is not a valid agent name"),
        ({"agent": "../other"}, UsageError, "is not a valid agent name"),
        ({"subscription": "first"}, UsageError, "'first' is not a valid subscription ID"),
        ({"ca_fingerprint": "ab" * 32}, WrongFingerprint, "fingerprint"),
        ({"url": "http://127.0.0.1:1"}, UsageError, "https"),
    ],
)
def test_asked_for_wrongly(
    here: Site, state: AgentState, values: dict[str, str], error: type[WherryError], said: str
) -> None:
    with nothing_made(here, state), pytest.raises(error, match=said):
        here.admin.follow(register(state, wanted(here, **values), lambda _: time.sleep(0.05)))


def test_the_name_is_taken(here: Site, state: AgentState) -> None:
    taken = here.agent()
    with nothing_made(here, state), pytest.raises((ApiError, SignInFailed), match=taken.name):
        here.admin.register(state, here.mover, taken.name)
    here.admin.register(state, here.mover, f"{taken.name}-b")


def test_denied_by_a_person(here: Site, state: AgentState) -> None:
    def deny(code: DeviceCode) -> None:
        with closing(database(here)) as opened, opened.transaction() as conn:
            device_codes.deny(conn, master(here), code.user_code, "somebody", time.time())

    with nothing_made(here, state), pytest.raises(SignInFailed, match="denied") as refused:
        follow(here, state, deny)
    assert refused.value.reason == "denied"


def test_approved_by_nobody_in_time(here: Site, state: AgentState) -> None:
    def age(_code: DeviceCode) -> None:
        """Ten minutes pass, as far as the control plane knows."""
        with closing(database(here)) as opened, opened.transaction() as conn:
            for row in conn.execute(codes_table.select().where(codes_table.c.state == "pending")):
                old = replace(DeviceGrant.from_document(row.grant), expires_at=time.time() - 1)
                conn.execute(
                    codes_table.update()
                    .where(codes_table.c.device_hash == row.device_hash)
                    .values(grant=old.document(), expires_at=old.expires_at)
                )

    with nothing_made(here, state), pytest.raises(SignInFailed, match="expired") as refused:
        follow(here, state, age)
    assert refused.value.reason == "expired"
    # The same agent may try again at once.
    here.admin.register(state, here.mover, "newcomer")


def follow(here: Site, state: AgentState, decide: Callable[[DeviceCode], None]) -> None:
    """A registration whose code is decided on in this way."""
    for step in register(state, wanted(here), lambda _: time.sleep(0.05)):
        if step.code is not None:
            decide(step.code)


def database(here: Site) -> Database:
    return Database(f"sqlite:///{here.served.state / 'wherry.db'}")


def master(here: Site) -> MasterKey:
    return MasterKey.from_text((here.served.state / "master.key").read_text())
