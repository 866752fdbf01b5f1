"""Secrets at rest: bound to their row, forgotten in time, kept where purging is not allowed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import select, update

from tests.unit.control.stage import GROUP, SUBSCRIPTION, Stage
from wherry.control import master_key
from wherry.control.db.tables_vault import vault_secrets as table
from wherry.control.db.tables_vault import vault_versions
from wherry.control.services import resources, role_assignments, scopes, vault_secrets
from wherry.control.services.types.registry import target
from wherry.control.services.vault_secrets import Vault, Wanted
from wherry.model.errors import ApiError
from wherry.trust.keys import KeyTrouble, MasterKey
from wherry.trust.roles import VAULT_SECRETS_USER

VAULT = f"{GROUP}/providers/Microsoft.KeyVault/vaults/keep"
DAY = 86400.0
MASTER = MasterKey.generate()


@pytest.fixture
def vault(stage: Stage) -> Vault:
    body = {"location": "local", "properties": {"softDeleteRetentionInDays": 7}}
    resources.put(stage.conn, stage.caller, target(VAULT), body)
    return vault_secrets.load(stage.conn, VAULT, "https://keep.vault.example")


def put(stage: Stage, vault: Vault, name: str = "a", value: str = "one") -> str:
    made = vault_secrets.put(stage.conn, MASTER, vault, name, Wanted(value=value), "me", stage.now)
    return str(made["id"]).rpartition("/")[2]


def value(stage: Stage, vault: Vault, master: MasterKey = MASTER, name: str = "a") -> str:
    return str(vault_secrets.get(stage.conn, master, vault, name, "")["value"])


def test_a_value_opens_in_its_own_row_only(stage: Stage, vault: Vault) -> None:
    put(stage, vault)
    put(stage, vault, "b", "two")
    sealed = stage.conn.execute(
        select(vault_versions.c.sealed).where(vault_versions.c.name_key == "a")
    ).scalar_one()
    assert b"one" not in sealed
    stage.conn.execute(update(vault_versions).where(vault_versions.c.name_key == "b").values(sealed=sealed))
    assert value(stage, vault) == "one"
    with pytest.raises(KeyTrouble):
        value(stage, vault, name="b")
    with pytest.raises(KeyTrouble):
        value(stage, vault, MasterKey.generate())


def test_secrets_of_vaults_are_sealed_anew_with_the_rest(stage: Stage, vault: Vault) -> None:
    put(stage, vault)
    new = MasterKey.generate()
    for other in ("signing_keys", "secrets"):
        stage.conn.exec_driver_sql(f"DELETE FROM {other}")
    assert master_key.reseal(stage.conn, MASTER, new) == 1
    assert value(stage, vault, new) == "one"


def test_what_is_deleted_is_forgotten_when_its_days_are_over(stage: Stage, vault: Vault) -> None:
    put(stage, vault)
    put(stage, vault, "b")
    scope = scopes.canonical(stage.conn, vault.scope("a"), SUBSCRIPTION)
    role_assignments.create(
        stage.conn, role=VAULT_SECRETS_USER.guid, principal_id=stage.admin, principal_type="User", scope=scope,
        by=stage.admin, now=stage.now,
    )  # fmt: skip
    vault_secrets.remove(stage.conn, vault, "A", stage.now)
    vault_secrets.purge_due(stage.conn, stage.now + 7 * DAY - 1)
    assert vault_secrets.deleted(stage.conn, vault, "a")["recoveryId"].endswith("/deletedsecrets/a")
    vault_secrets.purge_due(stage.conn, stage.now + 7 * DAY)
    assert stage.conn.execute(select(table.c.name)).scalars().all() == ["b"]
    assert stage.conn.execute(select(vault_versions.c.name_key)).scalars().all() == ["b"]
    assert VAULT_SECRETS_USER.guid not in [
        one.role for one in role_assignments.of_principal(stage.conn, stage.admin)
    ]


def test_a_vault_that_protects_from_purging_keeps_what_is_deleted(stage: Stage, vault: Vault) -> None:
    put(stage, vault)
    vault_secrets.remove(stage.conn, vault, "a", stage.now)
    protecting = replace(vault, protected=True)
    assert protecting.recovery_level == "CustomizedRecoverable"
    with pytest.raises(ApiError, match="protects from purging"):
        vault_secrets.purge(stage.conn, protecting, "a")
    body = {"location": "local", "properties": {"enablePurgeProtection": True}}
    resources.put(stage.conn, stage.caller, target(VAULT), body)
    with pytest.raises(ApiError, match="cannot be taken off"):
        resources.put(stage.conn, stage.caller, target(VAULT), {"location": "local"})
    with pytest.raises(ApiError, match="holds secrets"):
        resources.delete(stage.conn, stage.caller, target(VAULT))
