"""A database that was put back: what had been taken away since stays away, and no token of before is good."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from sqlalchemy import select, update

from tests.unit.control.attacked import signed_in
from tests.unit.control.conftest import START, URL, Clock, app_of
from wherry.control import audit, deployment, housekeeping
from wherry.control.audit import Record
from wherry.control.db.tables_identity import agent_keys, meta, principals, sessions
from wherry.control.plane import Plane
from wherry.control.services import identities, programs, role_assignments, standing, users
from wherry.control.settings import Settings
from wherry.trust import tokens
from wherry.trust.keys import PrivateKey
from wherry.trust.roles import OWNER, READER

PASSWORD = "seven green trees"


@asynccontextmanager
async def started(state: Path, clock: Clock) -> AsyncIterator[Plane]:
    """A control plane from its start to its end on a state directory."""
    opened = deployment.create_or_open(state, START)
    plane = Plane(
        opened.database, opened.master, opened.tenant, opened.subscription, URL, opened.ca_file.read_text(),
        clock=clock, settings=Settings(second_factor=False), state=state,
    )  # fmt: skip
    try:
        async with housekeeping.running(plane):
            yield plane
    finally:
        opened.close()


async def door(plane: Plane, token: str) -> int:
    transport = httpx.ASGITransport(app_of(plane))
    async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
        told = {"authorization": f"Bearer {token}"}
        return (await client.get("/tenants?api-version=2022-12-01", headers=told)).status_code


class World:
    """Everything that can be taken away, and what of it is left."""

    def __init__(self, plane: Plane) -> None:
        with plane.database.transaction() as conn:
            self.admin = conn.execute(
                select(meta.c.value).where(meta.c.key == "first_administrator")
            ).scalar_one()
            audit.append(conn, Record("wherry/signin", "allowed", actor=self.admin), START)
            self.gone = users.create(conn, "gone", "Gone", PASSWORD, START)
            self.kept = users.create(conn, "kept", "Kept", PASSWORD, START)
            self.role = role_assignments.create(
                conn, role=READER.guid, principal_id=self.kept, principal_type="User", scope="/", by=self.admin,
                now=START,
            )  # fmt: skip
            role_assignments.create(
                conn, role=OWNER.guid, principal_id=self.kept, principal_type="User", scope="/", by=self.admin,
                now=START,
            )  # fmt: skip
            self.program = programs.create(conn, "program", START).app_id
            made, self.secret = programs.add_secret(conn, self.program, "leaked", START, START + 86400)
            self.key = made.key_id
            self.agents = [self._agent(conn, name) for name in ("unregistered", "rotated", "at-work")]

    def _agent(self, conn, name: str) -> identities.AgentIdentity:
        key = PrivateKey.for_agent().public.jwk()
        return identities.create_agent(conn, name=name, machine_id=f"/machines/{name}", jwk=key, now=START)

    def take_away(self, plane: Plane) -> None:
        with plane.database.transaction() as conn:
            audit.append(conn, Record("wherry/directory/user-deleted", "allowed", actor=self.admin), START)
            users.delete(conn, self.gone, START)
            programs.remove_credential(conn, self.program, self.key)
            role_assignments.remove(conn, self.role)
            users.set_password(conn, self.admin, "a hash of another one", START, must_change=False)
            unregistered, rotated, _ = self.agents
            identities.delete_agent(conn, unregistered.oid, START)
            conn.execute(update(agent_keys).where(agent_keys.c.jkt == rotated.jkt).values(state="retired"))


def put_back(state: Path, backup: str) -> None:
    for leftover in ("wherry.db-wal", "wherry.db-shm"):
        (state / leftover).unlink(missing_ok=True)
    shutil.copy(backup, state / "wherry.db")


def incarnation(conn) -> str:
    return str(conn.execute(select(meta.c.value).where(meta.c.key == "incarnation")).scalar_one())


async def test_attack_68_a_database_that_is_put_back_resurrects_no_key_and_no_token(state, tmp_path) -> None:
    clock = Clock()
    async with started(state, clock) as plane:
        world = World(plane)
        token = tokens.issue_access(signed_in(plane, world.admin, "admin"), await plane.ring(), plane.issuer)
        assert await door(plane, token) == 200
        before = await plane.database.read(incarnation)
    backup = shutil.copy(state / "wherry.db", tmp_path / "backup.db")
    clock.now += 60
    async with started(state, clock) as plane:
        assert await door(plane, token) == 200
        world.take_away(plane)
    put_back(state, backup)
    clock.now += 60
    async with started(state, clock) as plane:
        assert await door(plane, token) == 401
        with plane.database.snapshot() as conn:
            left = {row.oid: row.enabled for row in conn.execute(select(principals))}
            assert [left[one] for one in (world.admin, world.gone, world.kept)] == [True, False, True]
            assert [left[one.oid] for one in world.agents] == [False, False, True]
            assert role_assignments.get(conn, world.role) is None
            assert [one.role for one in role_assignments.of_principal(conn, world.kept)] == [OWNER.guid]
            assert conn.execute(select(sessions)).first() is None
            record = next(one for one in audit.records(conn) if one["action"] == "wherry/database/restored")
            assert programs.match_secret(conn, world.program, world.secret, clock.now)[0] is None
        # A user and its password, another's password, an assignment, a secret, an agent with its key, a key.
        assert record["details"] == {"withdrawn": 8, "known": True}
        assert await plane.database.read(incarnation) != before
        after = await plane.database.read(incarnation)
    async with started(state, clock) as plane:
        assert await plane.database.read(incarnation) == after, "put back once, noticed once"


async def test_attack_68_without_the_file_beside_it_all_tokens_end_and_nothing_else(state, tmp_path) -> None:
    clock = Clock()
    async with started(state, clock) as plane:
        world = World(plane)
        token = tokens.issue_access(signed_in(plane, world.admin, "admin"), await plane.ring(), plane.issuer)
    # Another machine, a backup of the database and of the keys alone.
    (state / "audit.head").unlink()
    (state / standing.FILE).unlink()
    async with started(state, clock) as plane:
        assert await door(plane, token) == 401
        with plane.database.snapshot() as conn:
            assert all(row.enabled for row in conn.execute(select(principals)))


async def test_attack_68_somebody_stays_who_owns_everything(state, tmp_path) -> None:
    clock = Clock()
    async with started(state, clock) as plane:
        World(plane)
    (state / "audit.head").write_text("{}")
    (state / standing.FILE).write_text("")
    async with started(state, clock) as plane:
        with plane.database.snapshot() as conn:
            assert all(row.enabled for row in conn.execute(select(principals)))
            restored = [one for one in audit.records(conn) if one["action"] == "wherry/database/restored"]
    assert [one["details"]["withdrawn"] for one in restored] == [0]


def test_what_is_told_of_it_is_no_secret(plane) -> None:
    with plane.database.snapshot() as conn:
        lines = standing.now_in_force(conn).split()
    assert len(lines) == len(set(lines)) >= 4
    assert all(len(one) == 32 for one in lines)
