"""What `wherry doctor` finds: nothing in a state that is well, and each trouble by its name, with what to do."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import insert, update

from tests.unit.control.conftest import START
from wherry.control import deployment, doctor
from wherry.control.db.tables_agents import agent_trust
from wherry.control.db.tables_credentials import run_credentials
from wherry.control.db.tables_identity import principals
from wherry.control.db.tables_ledger import agent_presence, consents, grants
from wherry.control.examined import Finding, Verdict
from wherry.model.errors import UsageError
from wherry.trust import authority
from wherry.trust.keys import MasterKey

DAY = 86400.0
CHECKS = [
    "permissions", "disk room", "master key", "database", "schema", "audit trail", "clock", "certificate", "service",
    "grants", "credentials", "agents",
]  # fmt: skip


def examined(state: Path, now: float = START + 1) -> dict[str, Finding]:
    found = list(doctor.examine(state, None, now))
    assert [one.check for one in found] == CHECKS
    assert all(bool(one.remedy) == (one.verdict is not Verdict.PASS) for one in found)
    return {one.check: one for one in found}


def sql(statement: str) -> Callable[[Path], None]:
    def change(state: Path) -> None:
        with closing(sqlite3.connect(state / "wherry.db")) as database, database:
            database.execute(statement)

    return change


def test_a_state_that_is_well(state) -> None:
    before = {path: path.stat().st_mtime_ns for path in state.iterdir() if path.name != "lock"}
    found = examined(state)
    troubled = {name: one for name, one in found.items() if one.verdict is not Verdict.PASS}
    assert set(troubled) == {"service", "certificate"}
    assert {one.verdict for one in troubled.values()} == {Verdict.WARN}
    assert {path: path.stat().st_mtime_ns for path in state.iterdir() if path.name != "lock"} == before
    with pytest.raises(UsageError, match="not a state directory"):
        list(doctor.examine(state.parent, None, START))


@pytest.mark.parametrize(
    ("check", "told", "spoil"),
    [
        ("permissions", "read by others", lambda state: (state / "master.key").chmod(0o640)),
        ("permissions", "read by others", lambda state: state.chmod(0o755)),
        ("master key", "missing", lambda state: (state / "master.key").unlink()),
        ("master key", "another", lambda state: (state / "master.key").write_text(MasterKey.generate().text())),
        ("schema", "9999", sql("UPDATE alembic_version SET version_num = '9999'")),
        ("schema", "0001", sql("UPDATE alembic_version SET version_num = '0001'")),
        ("database", "names one that is not there", sql("DELETE FROM principals")),
        ("database", "cannot be read", lambda state: (state / "wherry.db").write_bytes(b"no database" * 1000)),
        ("clock", "recorded at", sql("INSERT INTO audit (seq, at, record, hash) VALUES (1, 1900000000, '{}', 'x')")),
        ("audit trail", "Record 1", sql("INSERT INTO audit (seq, at, record, hash) VALUES (1, 1, '{}', 'x')")),
    ],
)  # fmt: skip
def test_each_trouble_is_found_by_its_name(state, check, told, spoil) -> None:
    spoil(state)
    found = examined(state)[check]
    assert found.verdict is (Verdict.WARN if told == "0001" else Verdict.FAIL)
    assert told in found.found


def test_room_and_certificates_that_come_to_their_end(opened, state, monkeypatch) -> None:
    opened.ensure_certificate(["localhost"], START)
    assert examined(state)["certificate"].verdict is Verdict.PASS
    late = examined(state, START + 420 * DAY)["certificate"]
    assert (late.verdict, "in 5 days" in late.found) == (Verdict.WARN, True)
    assert examined(state, START + 430 * DAY)["certificate"].verdict is Verdict.FAIL
    old = authority.create_ca("old", START - 3600 * DAY).certificate
    (state / "ca.pem").write_bytes(old)
    assert "authority's certificate ends in 50 days" in examined(state)["certificate"].found
    for free, verdict in ((doctor.NO_ROOM - 1, Verdict.FAIL), (doctor.LITTLE_ROOM - 1, Verdict.WARN)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _path, free=free: type("Usage", (), {"free": free}))
        assert examined(state)["disk room"].verdict is verdict


def test_a_service_that_holds_the_state_and_does_not_answer(opened, state) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        opened.publish(f"https://127.0.0.1:{port}", opened.ca_file)
        found = examined(state)["service"]
        assert found.verdict is Verdict.FAIL
        assert f"Process {os.getpid()} does not answer" in found.found
        assert deployment.holder(state) == str(os.getpid())
        opened.close()
        assert examined(state)["service"].verdict is Verdict.WARN
        bound.listen()
        assert "another program listens" in examined(state)["service"].found
    opened._lock = os.open(os.devnull, os.O_RDONLY)


def test_access_that_is_overdue_and_agents_that_are_not_there(opened, state) -> None:
    with opened.database.transaction() as conn:
        for name in ("away", "here", "locked"):
            conn.execute(
                insert(principals).values(oid=name, kind="agent", name=name, client_id=name, created_at=START)
            )
            seen = {"seen_at": START, "offline_at": START + (-100 if name == "away" else 100)}
            conn.execute(insert(agent_presence).values(oid=name, agent_key=name, facts={}, **seen))
            conn.execute(insert(agent_trust).values(oid=name, state="1", asserted_at=0))
        kept = {"scope": "/", "role": "r", "created_at": START}
        conn.execute(insert(consents).values(id="c", job_key="j", run="r", agents="a", author="x", **kept))
        conn.execute(
            insert(grants).values(
                assignment="g", principal_id="here", role="r", scope_key="/", consent="c", created_at=START,
                expires_at=START + 10,
            )
        )  # fmt: skip
        conn.execute(
            insert(run_credentials).values(
                id="k", run="r", driver="blob", place="https://blob.example/c", scope="/", access="write", prefix=b"",
                told={}, state="withdrawing", failures=3, expires_at=START + 10,
            )
        )  # fmt: skip
    found = examined(state)
    assert found["grants"].verdict is Verdict.PASS
    assert "1 are not taken back at https://blob.example/c" in found["credentials"].found
    assert (found["agents"].verdict, found["agents"].found[:26]) == (
        Verdict.WARN,
        "1 of 3 are offline: away (",
    )
    with opened.database.transaction() as conn:
        conn.execute(update(agent_trust).where(agent_trust.c.oid == "locked").values(locked_at=START))
    found = examined(state, START + 80)
    assert "1 are past their end" in found["grants"].found
    assert (found["agents"].verdict, found["agents"].found) == (Verdict.FAIL, "1 of 3 are locked: locked.")
