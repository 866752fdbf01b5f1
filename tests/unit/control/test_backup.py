"""Backups: one moment in one file, without the key; and states made of them, as new incarnations or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import shutil
import sqlite3
import stat
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select, update

from tests.unit.control.conftest import START
from wherry.control import audit, audit_state, backup, deployment
from wherry.control.backup_file import MANIFEST
from wherry.control.db.tables_identity import meta, principals, sessions, signing_keys
from wherry.control.restore import Wanted, restore
from wherry.control.services import standing
from wherry.model.errors import UsageError, WherryError
from wherry.trust.keys import MasterKey

TOKEN_KEYS = select(signing_keys.c.kid).where(signing_keys.c.purpose == "token")


@pytest.fixture
def key(state: Path, tmp_path: Path) -> str:
    kept = tmp_path / "kept.key"
    shutil.copy2(state / "master.key", kept)
    return str(kept)


def known(conn: Connection) -> dict[str, str]:
    return {row.key: row.value for row in conn.execute(select(meta))}


def contents(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as archive:
        return {one.name: archive.extractfile(one).read() for one in archive.getmembers()}  # type: ignore[union-attr]


def packed(file: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(file, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def test_a_backup_holds_what_a_state_needs_and_no_key(opened, state, tmp_path) -> None:
    opened.ensure_certificate(["localhost"], START)
    (state / "packages").mkdir()
    (state / "packages" / "wherry-agent-1.0.0.tar").write_bytes(b"package")
    file = tmp_path / "b.wherry"
    made = backup.take(state, file, START)
    found = contents(file)
    assert set(found) == {
        "wherry.db", "version", "deployment.json", "ca.pem", "packages/wherry-agent-1.0.0.tar", MANIFEST,
    }  # fmt: skip
    told = json.loads(found[MANIFEST])
    for one in told["files"]:
        assert one["sha256"] == hashlib.sha256(found[one["name"]]).hexdigest()
    assert made.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert made.manifest.missing == []
    everything = file.read_bytes()
    assert opened.master.text().strip().encode() not in everything
    assert b"PRIVATE KEY" not in everything
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {"state", "b.wherry"}
    assert {name for name, _ in backup.would_take(state)} == set(found) - {MANIFEST}


def test_a_backup_is_of_one_moment_while_others_write(opened, state, tmp_path) -> None:
    """Two rows that are always changed together are alike in every backup."""
    with opened.database.transaction() as conn:
        conn.execute(insert(meta), [{"key": one, "value": "0"} for one in ("left", "right")])
    stop, written = threading.Event(), threading.Event()

    def write() -> None:
        for number in itertools.count(1):
            with opened.database.transaction() as conn:
                for one in ("left", "right"):
                    conn.execute(update(meta).where(meta.c.key == one).values(value=str(number)))
            written.set()
            if stop.is_set():
                return

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            written.clear()
            assert written.wait(60)
            backup.take(state, tmp_path / f"b{number}", START)
    finally:
        stop.set()
        writer.join()
    seen = []
    for number in range(5):
        (tmp_path / "one.db").write_bytes(contents(tmp_path / f"b{number}")["wherry.db"])
        with contextlib.closing(sqlite3.connect(tmp_path / "one.db")) as copied:
            values = [
                value for (value,) in copied.execute("SELECT value FROM meta WHERE key IN ('left', 'right')")
            ]
        assert values[0] == values[1]
        seen.append(int(values[0]))
    assert seen == sorted(set(seen))


def test_where_no_backup_is_made(state, tmp_path, monkeypatch) -> None:
    (tmp_path / "there").touch()
    for into, told in (
        (tmp_path / "there", "there already"),
        (tmp_path / "none" / "b", "no folder"),
        (state / "b", "in the state directory"),
    ):
        with pytest.raises(UsageError, match=told):
            backup.take(state, into, START)
    with pytest.raises(UsageError, match="not a state directory"):
        backup.take(tmp_path, tmp_path / "b", START)
    (state / "wherry.db").write_bytes(b"x" * 5000)
    with pytest.raises(WherryError, match="cannot be copied"):
        backup.take(state, tmp_path / "b", START)
    assert {path.name for path in tmp_path.iterdir()} == {"state", "there"}


def test_a_restored_state_is_another_incarnation_of_the_same_deployment(opened, state, key, tmp_path) -> None:
    with opened.database.transaction() as conn:
        before = known(conn)
        oid = before["first_administrator"]
        signing = set(conn.execute(TOKEN_KEYS).scalars())
        times = dict.fromkeys(("created_at", "authenticated_at"), START)
        conn.execute(insert(sessions).values(hash="s", oid=oid, expires_at=START + 3600, **times))
    backup.take(state, tmp_path / "b", START)
    other = tmp_path / "elsewhere" / "state"
    done = restore(Wanted(tmp_path / "b", other, key), START + 60)
    assert (done.withdrawn, done.runs) == (0, 0)
    again = deployment.create_or_open(other, START + 60)
    try:
        assert (again.tenant, again.subscription, again.master) == (
            opened.tenant, opened.subscription, opened.master,
        )  # fmt: skip
        with again.database.snapshot() as conn:
            after = known(conn)
            assert after["first_administrator"] == oid
            assert after["incarnation"] != before["incarnation"]
            fresh = set(conn.execute(TOKEN_KEYS).scalars())
            assert fresh
            assert not fresh & signing
            assert conn.execute(select(sessions)).first() is None
            actions = [one["action"] for one in audit.records(conn)]
            assert {"wherry/backup/restored", "wherry/database/restored"} <= set(actions)
    finally:
        again.close()
    assert audit_state.verify(other).whole
    assert stat.S_IMODE(other.stat().st_mode) == 0o700
    assert stat.S_IMODE((other / "master.key").stat().st_mode) == 0o600
    assert [path.name for path in other.parent.iterdir()] == ["state"]


def test_what_was_taken_away_since_stays_so(opened, state, key, tmp_path) -> None:
    with opened.database.transaction() as conn:
        for name in ("kept", "gone"):
            conn.execute(insert(principals).values(oid=name, kind="group", name=name, created_at=START))
    backup.take(state, tmp_path / "b", START)
    with opened.database.transaction() as conn:
        conn.execute(update(principals).where(principals.c.oid == "gone").values(enabled=False))
        (tmp_path / "standing").write_text(standing.now_in_force(conn))
    done = restore(Wanted(tmp_path / "b", tmp_path / "new", key, standing=tmp_path / "standing"), START + 60)
    assert done.withdrawn == 1
    again = deployment.create_or_open(tmp_path / "new", START + 60)
    with again.database.snapshot() as conn:
        left = {row.oid: row.enabled for row in conn.execute(select(principals))}
    again.close()
    assert (left["kept"], left["gone"]) == (True, False)


def damaged(change: Callable[[dict[str, bytes]], object]) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        members = contents(file)
        change(members)
        packed(file, members)

    return damage


def renamed(to: str) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        members[MANIFEST] = members[MANIFEST].replace(b'"ca.pem"', json.dumps(to).encode())
        members[to] = members.pop("ca.pem")

    return change


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (flip, "not what its manifest says"),
        (lambda file: file.write_bytes(b"no archive" * 200), "no backup"),
        (
            lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
            "no backup|no whole backup|damaged",
        ),
        (damaged(lambda members: members.pop(MANIFEST)), "no manifest.json"),
        (damaged(lambda members: members.pop("ca.pem")), "does not hold"),
        (damaged(lambda members: members.update(more=b"")), "does not hold"),
        (damaged(lambda members: members.update({MANIFEST: b"{"})), "damaged"),
        (damaged(lambda members: members.update({MANIFEST: b'{"format": 2}'})), "newer version"),
        (damaged(renamed("../ca.pem")), "does not belong"),
        (damaged(renamed("/etc/wherry")), "does not belong"),
        (damaged(renamed("master.key")), "does not belong"),
        (damaged(renamed("segments/../../x")), "does not belong"),
    ],
)
def test_attack_68_a_backup_that_was_changed_is_refused_and_nothing_made(
    state, key, tmp_path, damage, told
) -> None:
    file = tmp_path / "b"
    backup.take(state, file, START)
    damage(file)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match=told):
        restore(Wanted(file, tmp_path / "new", key), START)
    assert sorted(tmp_path.rglob("*")) == before


def test_what_does_not_belong_to_a_backup_is_refused(state, key, tmp_path) -> None:
    file = tmp_path / "b"
    made = backup.take(state, file, START)
    (tmp_path / "other.key").write_text(MasterKey.generate().text())
    (tmp_path / "other.key").chmod(0o600)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    before = sorted(tmp_path.rglob("*"))
    new = tmp_path / "new"
    for wanted, told in (
        (Wanted(file, new, str(tmp_path / "other.key")), "another master key"),
        (Wanted(file, new, str(tmp_path / "none.key")), "missing"),
        (Wanted(file, new, "credential:wherry"), "no credentials"),
        (Wanted(file, tmp_path / "full", key), "not empty"),
        (Wanted(tmp_path / "none", new, key), "no file"),
        (Wanted(file, new, key, sha256="0" * 64), "SHA-256"),
    ):
        with pytest.raises(UsageError, match=told):
            restore(wanted, START)
    assert sorted(tmp_path.rglob("*")) == before
    restore(Wanted(file, new, f"file:{key}", sha256=made.sha256.upper()), START)
    assert not (new / "master.key").exists()
    deployment.create_or_open(new, START, f"file:{key}").close()
