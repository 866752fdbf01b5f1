"""A control plane without a socket: real state directory and database, a clock that tests move, requests in process."""

from __future__ import annotations

import functools
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI
from sqlalchemy import select, update

from tests.unit.control.stage import Stage
from wherry.control import deployment
from wherry.control.app import create_app
from wherry.control.db.tables_identity import credentials, meta
from wherry.control.deployment import Deployment
from wherry.control.plane import Plane
from wherry.control.settings import Settings
from wherry.trust import keys, passwords

START = 1_800_000_000.0
URL = "https://plane.example"


@dataclass
class Clock:
    """Time that passes when a test says so."""

    now: float = START

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Made:
    """A state directory to copy, and the first administrator's password."""

    path: Path
    password: str


@contextmanager
def cheaply() -> Iterator[None]:
    """Verifiers and keys take little time; what they cost a guesser is for the tests of `wherry.trust`."""
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_hasher", cheap)
        patch.setattr(passwords, "_nobody", functools.partial(cheap.hash, "nobody"))
        patch.setattr(keys, "RSA_BITS", keys.MIN_RSA_BITS)
        yield


@pytest.fixture(scope="module", autouse=True)
def cheap_secrets() -> Iterator[None]:
    with cheaply():
        yield


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    path = tmp_path_factory.mktemp("made") / "state"
    with cheaply():
        opened = deployment.create_or_open(path, START)
        assert opened.first_password is not None
        with opened.database.transaction() as conn:
            # Who plays the administrator has chosen this password; the first one's way has tests of its own.
            conn.execute(update(credentials).values(must_change=False))
    opened.close()
    return Made(path, opened.first_password)


@pytest.fixture
def state(made: Made, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.path, tmp_path / "state"))


@pytest.fixture
def opened(state: Path) -> Iterator[Deployment]:
    opened = deployment.create_or_open(state, START)
    yield opened
    opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def plane(opened: Deployment, clock: Clock) -> Plane:
    return Plane(
        opened.database,
        opened.master,
        opened.tenant,
        opened.subscription,
        URL,
        opened.ca_file.read_text(),
        clock=clock,
        settings=Settings(second_factor=False),
    )


_apps: list[FastAPI] = []


def app_of(plane: Plane) -> FastAPI:
    """The application, for one plane at a time: making its two hundred routes takes longer than most tests."""
    if not _apps:
        _apps.append(create_app(plane))
    _apps[0].state.plane = plane
    return _apps[0]


@pytest.fixture
async def client(plane: Plane) -> AsyncIterator[httpx.AsyncClient]:
    """A browser or a program, whose cookies last as long as the test."""
    transport = httpx.ASGITransport(app_of(plane), client=("192.0.2.7", 1))
    async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
        yield client


@pytest.fixture
def admin(plane: Plane) -> str:
    """The first administrator's object id."""
    with plane.database.snapshot() as conn:
        return str(conn.execute(select(meta.c.value).where(meta.c.key == "first_administrator")).scalar_one())


@pytest.fixture
def stage(opened: Deployment) -> Iterator[Stage]:
    """A mover to play runs on, in a transaction that is thrown away."""
    with opened.database.transaction() as conn:
        yield Stage(conn, START)
        conn.rollback()
