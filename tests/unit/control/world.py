"""A mover with an agent and a job, and browsers of people: what tests of the pages look at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.unit.control.conftest import URL, Clock, app_of
from tests.unit.control.stage import MOVER, Stage
from wherry.control import audit
from wherry.control.identity import sessions
from wherry.control.identity.sessions import COOKIE
from wherry.control.plane import Plane
from wherry.control.services import resource_store, role_assignments


class World:
    """A mover with an agent and a job, and browsers of people."""

    def __init__(self, plane: Plane, clock: Clock) -> None:
        self.plane = plane
        self.clock = clock
        self.app = app_of(plane)
        with self.staged() as stage:
            self.admin = str(stage.admin)
            self.agent = stage.agent("a")
            self.job = stage.job(container="photos", agentName="a", targetSubpath="p")

    @contextmanager
    def staged(self) -> Iterator[Stage]:
        with self.plane.database.transaction() as conn:
            stage = Stage.__new__(Stage)
            stage.conn, stage.now, stage.agents = conn, self.clock.now, {}
            if resource_store.find(conn, MOVER) is None:
                stage.__post_init__()
            else:
                stage.admin = self.admin
                stage.agents["a"] = self.agent
            yield stage

    def person(self, *roles: tuple[str, str]) -> str:
        """Somebody with these roles at these scopes; the object id."""
        with self.staged() as stage:
            oid = stage.user()
            for role, scope in roles:
                stage.assign(role, oid, scope, "User")
        return oid

    @contextmanager
    def _session(self, oid: str) -> Iterator[str]:
        with self.plane.database.transaction() as conn:
            yield sessions.begin(conn, oid, self.clock.now)

    def browser(self, oid: str = "") -> httpx.AsyncClient:
        """A browser in which somebody has just signed in, by default the administrator."""
        client = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url=URL)
        with self._session(oid or self.admin) as value:
            client.cookies.set(COOKIE, value, domain="plane.example")
        return client

    def records(self, action: str) -> list[dict[str, Any]]:
        with self.plane.database.snapshot() as conn:
            assert audit.verify(conn) is None
            return [one for one in audit.records(conn) if one["action"].lower() == action.lower()]

    def assignments(self) -> list[str]:
        with self.plane.database.snapshot() as conn:
            return [one.id for one in role_assignments.of_principal(conn, self.agent.oid)]

    def at_work(self) -> str:
        """A run of the job that the agent works on, with a grant; its GUID."""
        with self.staged() as stage:
            run = stage.start(self.job)
            stage.admit(run, "a")
            stage.lease(run, "a")
        return run
