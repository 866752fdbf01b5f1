"""The state directory: made whole or not at all, one process at a time, never by an older program."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import text

from tests.unit.control.conftest import START
from wherry.control import deployment, environment
from wherry.control.db import schema
from wherry.control.services import certificates, first_start
from wherry.model.errors import UsageError
from wherry.trust import authority


def test_a_new_state_has_its_keys_to_itself(made):
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o700
    assert stat.S_IMODE((made.path / "master.key").stat().st_mode) == 0o600
    assert (made.path / "version").read_text() == "1\n"
    assert list(made.path.parent.iterdir()) == [made.path]


def test_nothing_secret_lies_in_the_clear(made):
    everything = b"".join(
        path.read_bytes() for path in made.path.rglob("*") if path.name != "master.key" and path.is_file()
    )
    assert b"PRIVATE KEY" not in everything
    assert made.password.encode() not in everything


def test_opening_again_finds_the_same_deployment(state):
    first = deployment.create_or_open(state, START)
    found = (first.tenant, first.subscription, first.master)
    first.close()
    again = deployment.create_or_open(state, START)
    assert (again.tenant, again.subscription, again.master, again.first_password) == (*found, None)
    again.close()


def test_an_empty_directory_becomes_a_state_and_one_with_other_things_does_not(tmp_path):
    empty = tmp_path / "a" / "b"
    empty.mkdir(parents=True)
    opened = deployment.create_or_open(empty, START)
    assert opened.first_password
    opened.close()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thing").touch()
    with pytest.raises(UsageError, match="not a state directory"):
        deployment.create_or_open(tmp_path / "other", START)
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["thing"]


def test_a_mounted_directory_is_filled(tmp_path, monkeypatch):
    state = tmp_path / "volume"
    for leftover in ("lost+found", ".new-0badc0de"):
        (state / leftover).mkdir(parents=True)
    monkeypatch.setattr(Path, "is_mount", lambda path: path == state)
    deployment.create_or_open(state, START).close()
    assert (state / "version").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"volume"}
    deployment.create_or_open(state, START).close()


def test_a_start_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(first_start, "populate", full)
    with pytest.raises(UsageError, match="No space left"):
        deployment.create_or_open(tmp_path / "state", START)
    assert not list(tmp_path.iterdir())


def test_a_state_in_use_is_refused_and_the_user_named(opened, state):
    with pytest.raises(UsageError, match=f"in use by process {os.getpid()}"):
        deployment.create_or_open(state, START)


def test_a_dead_process_holds_nothing(state):
    code = f"""
import os
from pathlib import Path
from wherry.control import deployment
deployment.create_or_open(Path({str(state)!r}))
os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    deployment.create_or_open(state, START).close()


def test_the_newest_schema_is_the_one_that_is_looked_for():
    assert ScriptDirectory.from_config(schema.configuration()).get_current_head() == schema.HEAD


def test_a_start_does_not_wait_for_what_it_does_not_need():
    """Alembic and the vendor's SDK take as long to import as all the rest."""
    code = "import sys, wherry.control.serve; print([name for name in ('alembic', 'azure') if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"


def test_newer_states_and_newer_databases_are_refused(state):
    opened = deployment.create_or_open(state, START)
    with opened.database.transaction() as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    opened.close()
    with pytest.raises(UsageError, match="newer version"):
        deployment.create_or_open(state, START)
    (state / "version").write_text("2\n")
    with pytest.raises(UsageError, match="newer than this program"):
        deployment.create_or_open(state, START)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda state: (state / "master.key").unlink(), "missing"),
        (lambda state: (state / "master.key").write_text("xyz"), "damaged"),
        (lambda state: (state / "master.key").chmod(0o644), "chmod 600"),
        (lambda state: (state / "deployment.json").write_text("{"), "damaged"),
        (lambda state: (state / "deployment.json").unlink(), "not a state directory"),
        (lambda state: (state / "version").write_text("x"), "not a state directory"),
    ],
)
def test_damage_is_told_with_what_to_do(state, damage, told):
    damage(state)
    with pytest.raises(UsageError, match=told):
        deployment.create_or_open(state, START)


def test_the_certificate_is_made_again_when_it_has_to_be(opened):
    opened.ensure_certificate(["localhost"], START)
    first = opened.certificate_file.read_bytes()
    opened.ensure_certificate(["localhost"], START)
    assert opened.certificate_file.read_bytes() == first
    opened.ensure_certificate(["localhost", "plane.example"], START)
    second = opened.certificate_file.read_bytes()
    assert second != first
    opened.ensure_certificate(["localhost"], START + 380 * 86400)
    assert opened.certificate_file.read_bytes() != second
    assert stat.S_IMODE(opened.key_file.stat().st_mode) == 0o600
    assert certificates.good_for(opened.certificate_file, ["localhost"], START + 380 * 86400)
    assert authority.fingerprint(opened.ca_file.read_bytes()) == authority.fingerprint(
        second[second.rindex(b"-----BEGIN") :]
    )


def test_the_environment_tells_where_it_was_served(opened, state):
    with pytest.raises(UsageError, match="has not been served"):
        environment.text(state)
    document = json.loads((state / "deployment.json").read_text())
    (state / "deployment.json").write_text(json.dumps({**document, "settings": {"lease_seconds": 5}}))
    opened.publish("https://plane.example", Path("/has a space/ca.pem"))
    assert f"export WHERRY_TENANT_ID={opened.tenant}\n" in environment.text(state)
    assert "export WHERRY_CA_FILE='/has a space/ca.pem'\n" in environment.text(state)
    assert json.loads((state / "deployment.json").read_text())["settings"] == {"lease_seconds": 5}
    with pytest.raises(UsageError, match="not a state directory"):
        environment.text(state.parent)


def without_schedules(state: Path) -> None:
    """Make the database one of the first schema."""
    opened = deployment.create_or_open(state, START)
    with opened.database.transaction() as conn:
        for statement in (
            "DROP TABLE firings",
            "DROP TABLE schedules",
            "ALTER TABLE runs DROP COLUMN scheduled_at",
            "UPDATE alembic_version SET version_num = '0001'",
        ):
            conn.execute(text(statement))
    opened.close()


def test_a_database_from_before_schedules_gets_them_and_is_kept_as_it_was(state, caplog):
    without_schedules(state)
    opened = deployment.create_or_open(state, START)
    with opened.database.snapshot() as conn:
        for query in (
            "SELECT scheduled_at FROM runs",
            "SELECT next_at FROM schedules",
            "SELECT run FROM firings",
        ):
            assert conn.execute(text(query)).all() == []
    opened.close()
    kept = state / "wherry.db.schema-0001"
    assert str(kept) in caplog.text
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    with closing(sqlite3.connect(kept)) as copied:
        assert copied.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
        assert copied.execute("SELECT name FROM principals").fetchall() == [("admin",)]
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            copied.execute("SELECT * FROM schedules")
    caplog.clear()
    deployment.create_or_open(state, START).close()
    assert not caplog.text
    # The copy put back in its place is brought along again.
    kept.replace(state / "wherry.db")
    deployment.create_or_open(state, START).close()
    assert kept.exists()


def test_an_upgrade_that_fails_leaves_the_database_as_it_was(state):
    without_schedules(state)
    with closing(sqlite3.connect(state / "wherry.db")) as found:
        # The migration makes tables, then stumbles over an index of this name.
        found.execute("CREATE INDEX ix_firings_at ON runs (id)")
        before = list(found.iterdump())
    with pytest.raises(UsageError, match=r"as it was.*wherry\.db\.schema-0001"):
        deployment.create_or_open(state, START)
    with closing(sqlite3.connect(state / "wherry.db")) as found:
        assert list(found.iterdump()) == before
    with closing(sqlite3.connect(state / "wherry.db.schema-0001")) as copied:
        assert list(copied.iterdump()) == before


def test_a_database_from_before_metrics_gets_them(state):
    opened = deployment.create_or_open(state, START)
    with opened.database.transaction() as conn:
        for statement in (
            "DROP TABLE totals",
            "DROP TABLE run_minutes",
            "UPDATE alembic_version SET version_num = '0002'",
        ):
            conn.execute(text(statement))
    opened.close()
    opened = deployment.create_or_open(state, START)
    with opened.database.snapshot() as conn:
        for query in ("SELECT items FROM totals", "SELECT minute FROM run_minutes"):
            assert conn.execute(text(query)).all() == []
    opened.close()
