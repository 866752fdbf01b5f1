"""The master key from a file, a credential or a command; everything sealed anew; a rotation that is cut short."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.control.conftest import START
from wherry.control import deployment, master_key
from wherry.control.services import signing, vault
from wherry.model.errors import UsageError
from wherry.trust.keys import KeyTrouble, MasterKey


def kept(folder: Path, key: MasterKey, mode: int = 0o600) -> Path:
    path = folder / "key-of-another-place"
    path.write_text(key.text())
    path.chmod(mode)
    return path


def test_a_key_comes_from_a_file_a_credential_or_a_command(tmp_path):
    key = MasterKey.generate()
    path = kept(tmp_path, key)
    assert master_key.read(f"file:{path}", tmp_path) == key
    found = master_key.read(f"credential:{path.name}", tmp_path, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert found == key
    assert master_key.read(f"command:cat {path}", tmp_path) == key


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ("file:", "comes from"),
        ("vault:x", "comes from"),
        ("file:/nowhere/at/all", "is missing"),
        ("credential:x", "no credentials"),
        ("command:false", "ended with 1"),
        ("command:echo 4711-canary", "damaged"),
        ("command:/nowhere/at/all", "cannot be run"),
        ("command:'", "cannot be run"),
    ],
)
def test_a_source_that_gives_none_says_why_and_not_what(tmp_path, told, why):
    with pytest.raises(UsageError, match=why) as refused:
        master_key.read(told, tmp_path, {})
    assert "4711" not in str(refused.value)
    path = kept(tmp_path, MasterKey.generate(), 0o640)
    with pytest.raises(UsageError, match="chmod 600"):
        master_key.read(f"file:{path}", tmp_path)
    with pytest.raises(UsageError, match="no name of a credential"):
        master_key.read("credential:../x", tmp_path, {"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_a_state_may_keep_no_key_of_its_own(tmp_path):
    path = kept(tmp_path, MasterKey.generate())
    state = tmp_path / "state"
    deployment.create_or_open(state, START, f"file:{path}").close()
    assert not (state / "master.key").exists()
    with pytest.raises(UsageError, match="--master-key"):
        deployment.create_or_open(state, START)
    path.write_text(MasterKey.generate().text())
    with pytest.raises(UsageError, match="another master key"):
        deployment.create_or_open(state, START, f"file:{path}")


def test_everything_opens_with_the_new_key_and_nothing_with_the_old(state, tmp_path):
    opened = deployment.create_or_open(state, START)
    old = opened.master
    with opened.database.transaction() as conn:
        vault.put_secret(conn, old, "/a/b", "value", "me", START)
    opened.close()
    path = kept(tmp_path, MasterKey.generate())
    assert deployment.rotate_master_key(state, None, None) == 3
    assert deployment.rotate_master_key(state, None, f"file:{path}") == 3
    with pytest.raises(UsageError, match="already"):
        deployment.rotate_master_key(state, f"file:{path}", f"file:{path}")
    opened = deployment.create_or_open(state, START, f"file:{path}")
    with opened.database.snapshot() as conn:
        assert vault.get_secret(conn, opened.master, "/a/b") == "value"
        assert signing.ring(conn, opened.master, START).kid
        with pytest.raises(KeyTrouble):
            vault.get_secret(conn, old, "/a/b")
    opened.close()


@pytest.mark.parametrize("sealed", [False, True])
def test_a_rotation_that_is_cut_short_leaves_a_key_that_fits(state, sealed):
    opened = deployment.create_or_open(state, START)
    new = MasterKey.generate()
    deployment.replace(state / master_key.NEXT, new.text().encode())
    if sealed:
        with opened.database.transaction() as conn:
            master_key.reseal(conn, opened.master, new)
    expected = new if sealed else opened.master
    opened.close()
    again = deployment.create_or_open(state, START)
    assert again.master == expected
    again.close()


def test_a_rotation_waits_for_a_state_that_is_not_served(state):
    opened = deployment.create_or_open(state, START)
    with pytest.raises(UsageError, match="in use"):
        deployment.rotate_master_key(state, None, None)
    opened.close()
