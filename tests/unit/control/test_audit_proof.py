"""Checkpoints, pruning and the head beside the database: what is done to a state directory is found offline."""

from __future__ import annotations

import json
import re
import shutil
import threading
from dataclasses import fields
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from tests.unit.control.conftest import START
from wherry.control import audit, audit_state
from wherry.control.audit import Record
from wherry.control.db.tables_audit import audit as records
from wherry.control.db.tables_audit import audit_checkpoints as checkpoints
from wherry.control.services.audit_proof import HEAD
from wherry.trust import transcript
from wherry.trust.chain import Checkpoint

DAY = 86400.0


@pytest.fixture
def told(plane, state):
    """A control plane with its state directory, five records and a signed end."""
    plane.state = state
    return plane


def add(plane, count: int = 5) -> None:
    with plane.database.transaction() as conn:
        for number in range(count):
            audit.append(conn, Record(f"action {number}", "allowed"), plane.clock())


async def sealed(plane, count: int = 5) -> None:
    add(plane, count)
    await audit_state.seal(plane)


def do(plane, statement: str) -> None:
    with plane.database.transaction() as conn:
        conn.execute(text(statement))


async def test_a_state_is_whole_and_says_what_is_not_signed_yet(told, state):
    assert audit_state.verify(state).whole
    await sealed(told)
    verdict = audit_state.verify(state)
    assert (verdict.whole, verdict.records, verdict.last, verdict.signed_to, verdict.notes) == (
        True,
        5,
        5,
        5,
        [],
    )
    add(told, 2)
    verdict = audit_state.verify(state)
    assert (verdict.whole, verdict.last, verdict.signed_to) == (True, 7, 5)
    assert "Records 6 to 7" in verdict.notes[0]


@pytest.mark.parametrize(
    ("tampering", "trouble"),
    [
        (
            "UPDATE audit SET record = replace(record, 'allowed', 'denied') WHERE seq = 2",
            "Record 2 was changed",
        ),
        ("DELETE FROM audit WHERE seq = 3", "Record 3 is missing"),
        ("DELETE FROM audit WHERE seq = 1", "Record 1 is missing"),
        ("DELETE FROM audit WHERE seq > 3", "Records 4 to 5 are missing: the end is cut off"),
        ("UPDATE audit SET seq = seq + 1 WHERE seq = 5", "Record 5 is missing"),
        ("UPDATE audit SET at = at - 9 WHERE seq = 4", "Record 4 is filed under another time"),
        ("DELETE FROM audit_checkpoints; DELETE FROM audit WHERE seq > 2", "Records 3 to 5 are missing"),
        (
            "UPDATE audit_checkpoints SET signed = replace(signed, '.', '.e')",
            "A checkpoint is not one of this",
        ),
    ],
)
async def test_attack_69_tampering_is_found_and_named(told, state, tampering, trouble):
    await sealed(told)
    for statement in tampering.split(";"):
        do(told, statement)
    found = audit_state.verify(state)
    assert not found.whole
    assert any(one.startswith(trouble) for one in found.troubles), found.troubles


async def test_attack_69_a_chain_made_to_fit_is_not_the_one_that_was_signed(told, state):
    await sealed(told)
    with told.database.transaction() as conn:
        conn.execute(text("DELETE FROM audit WHERE seq > 2"))
        for number in range(3):
            audit.append(conn, Record(f"other {number}", "allowed"), told.clock())
    (trouble,) = audit_state.verify(state).troubles
    assert trouble.startswith("Records 1 to 5 are not what was signed")


async def test_attack_69_swapped_records_are_found(told, state):
    await sealed(told)
    for statement in (
        "SET seq = 99 WHERE seq = 2",
        "SET seq = 2 WHERE seq = 3",
        "SET seq = 3 WHERE seq = 99",
    ):
        do(told, f"UPDATE audit {statement}")
    assert audit_state.verify(state).troubles[:2] == [
        "Record 2 was changed, or its tie to the one before.",
        "Record 3 was changed, or its tie to the one before.",
    ]


async def test_a_head_that_is_gone_and_an_authority_that_is_another_are_told(told, state, tmp_path):
    await sealed(told)
    (state / HEAD).rename(tmp_path / HEAD)
    assert any(HEAD in one for one in audit_state.verify(state).troubles)
    (tmp_path / HEAD).rename(state / HEAD)
    from wherry.trust import authority
    from wherry.trust.signed import Untrusted

    other = tmp_path / "other.pem"
    other.write_bytes(authority.create_ca("other", START).certificate)
    with pytest.raises(Untrusted):
        audit_state.verify(state, other)


async def test_a_database_that_was_put_back_is_told_by_the_trail_itself(told, state, clock):
    await sealed(told)
    backup = list(dump(told))
    await sealed(told)
    with told.database.transaction() as conn:
        conn.execute(text("DELETE FROM audit WHERE seq > 5"))
        conn.execute(text("DELETE FROM audit_checkpoints"))
    assert list(dump(told)) == backup
    assert any("the end is cut off" in one for one in audit_state.verify(state).troubles)
    assert not await audit_state.reconcile(told)
    await audit_state.seal(told)
    with told.database.snapshot() as conn:
        last = list(audit.records(conn))[-1]
    assert (last["action"], last["details"]["signed"]) == ("wherry/audit/discontinuity", 10)
    assert audit_state.verify(state).whole
    assert await audit_state.reconcile(told)


def dump(plane):
    with plane.database.snapshot() as conn:
        return conn.execute(select(records.c.seq, records.c.hash)).all()


async def test_old_records_go_and_the_rest_stays_provable(told, state, clock):
    for _ in range(5):
        await sealed(told, 3)
        clock.now += DAY
    told.settings = told.settings.override({"audit_keep_days": 2})
    await audit_state.seal(told)
    with told.database.snapshot() as conn:
        kept = list(audit.records(conn))
    assert kept[-1]["action"] == "wherry/audit/pruned"
    assert kept[-1]["details"] == {"first": 1, "last": 9, "keepDays": 2.0}
    assert kept[0]["seq"] == 10
    verdict = audit_state.verify(state)
    assert (verdict.whole, verdict.first, verdict.last) == (True, 10, 16)
    do(told, "DELETE FROM audit WHERE seq < 12")
    assert "Records 10 to 11 are missing." in audit_state.verify(state).troubles


async def test_of_past_days_one_checkpoint_is_kept(told, clock):
    for _ in range(3):
        for _ in range(4):
            await sealed(told, 1)
            clock.now += 60
        clock.now += DAY
    with told.database.snapshot() as conn:
        assert conn.execute(select(checkpoints.c.seq)).scalars().all() == [4, 8, 12]


def test_concurrent_writers_keep_one_chain(plane):
    def write(name: str) -> None:
        for number in range(25):
            with plane.database.transaction() as conn:
                audit.append(conn, Record(name, "allowed", count=number + 1), plane.clock())

    threads = [threading.Thread(target=write, args=(f"writer {number}",)) for number in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    with plane.database.snapshot() as conn:
        assert audit.verify(conn) is None
        assert conn.execute(select(func.max(records.c.seq))).scalar() == 100


async def test_an_earlier_export_holds_a_state_to_what_it_was(told, state, clock, tmp_path):
    await sealed(told)
    head = json.loads((state / HEAD).read_text())
    ca = (state / "ca.pem").read_bytes()
    keys = transcript.keys_of(head["certificates"], ca)
    early = Checkpoint.read(head["checkpoint"], keys)
    await sealed(told)
    assert audit_state.verify(state, None, early).whole
    # All of the state put back to before it began: only who kept something outside can tell.
    do(told, "DELETE FROM audit")
    do(told, "DELETE FROM audit_checkpoints")
    (state / HEAD).unlink()
    await sealed(told, 2)
    assert audit_state.verify(state).whole
    assert audit_state.verify(state, None, early).troubles == [
        "Records 3 to 5 are missing: the end is cut off."
    ]


async def test_a_head_that_went_while_nobody_served_is_told_by_the_trail(told, state):
    assert await audit_state.reconcile(told), "nothing was signed yet"
    await sealed(told)
    (state / HEAD).write_text("no head")
    assert not await audit_state.reconcile(told)
    (state / HEAD).unlink()
    assert not await audit_state.reconcile(told)
    with told.database.snapshot() as conn:
        last = [one["details"] for one in audit.records(conn, after=5)]
    assert last == [{"head": "not readable"}, {"head": "missing"}]


def test_every_event_and_member_is_in_the_reference():
    root = Path(__file__).resolve().parents[3]
    page = (root / "docs" / "reference" / "audit.md").read_text()
    named = re.findall(r"`(wherry/[a-z/-]+)(…?)`", page)
    sources = "".join(path.read_text() for path in (root / "src" / "wherry" / "control").rglob("*.py"))
    # Records begin with their action, or are told another one.
    events = set(
        re.findall(r"(?:Record\(|action=|Action = |audit\.of\([^\"]*)\s*f?\"(wherry/[a-z/-]+)", sources)
    )
    assert len(events) > 12
    missing = {
        one
        for one in events
        if not any(one == name or (more and one.startswith(name)) for name, more in named)
    }
    assert not missing
    assert all(f"`{one.name}`" in page for one in fields(Record))


def test_a_folder_that_is_no_state_is_said_to_be_none(tmp_path, state):
    from wherry.model.errors import UsageError

    with pytest.raises(UsageError):
        audit_state.verify(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(state, copy)
    (copy / "wherry.db").write_bytes(b"no database at all, but as long as one would begin" * 20)
    for extra in ("wherry.db-wal", "wherry.db-shm"):
        (copy / extra).unlink(missing_ok=True)
    with pytest.raises(UsageError, match="cannot be read"):
        audit_state.verify(copy)
