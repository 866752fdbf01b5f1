"""Every route by everybody: who gets what stands in `routes.txt`, one line a route; nothing else is served.

And what the audit trail has of an agent that asks for what belongs to another.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.control.callers import Cast
from tests.unit.control.casting import assembled, at_work
from tests.unit.control.conftest import Made
from wherry.control import audit
from wherry.control.access import Access
from wherry.control.areas import AREAS
from wherry.control.guard import FOREIGN_RECORDS

TABLE = Path(__file__).with_name("routes.txt")
# What would take away what the rest is shown with.
LAST = {"POST /signout", "DELETE /agent/v1/registration"}


def read() -> tuple[tuple[str, ...], dict[str, tuple[str, ...]], dict[str, str]]:
    """The kinds of callers, what they get at each route, and what the routes ask for."""
    lines = [line.split() for line in TABLE.read_text().splitlines() if line and not line.startswith("#")]
    kinds = tuple(lines[0][:-3])
    rows = {" ".join(words[-3:-1]): tuple(words[:-3]) for words in lines[1:]}
    assert len(rows) == len(lines) - 1, "a route is listed twice"
    return kinds, rows, {" ".join(words[-3:-1]): words[-1] for words in lines[1:]}


KINDS, ROWS, ASKED = read()


@pytest.fixture(scope="module")
def cast(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cast]:
    with assembled(made, tmp_path_factory.mktemp("routes")) as cast:
        yield cast


def test_every_route_is_listed_with_what_it_asks_for_and_nothing_else() -> None:
    there = {f"{one.method} {one.path}": asked_for(one.access) for area in AREAS for one in area.declared}
    assert set(there) - set(ROWS) == set(), (
        "a route that the table does not list: add what each kind gets there"
    )
    assert set(ROWS) - set(there) == set(), "the table lists a route that is not there any more"
    assert all(len(row) == len(KINDS) for row in ROWS.values())
    assert there == ASKED


def asked_for(access: Access) -> str:
    """The last column of the table."""
    audience = "" if access.audience == "arm" else f"@{access.audience}"
    return f"{access.action or access.kind}{audience}{'#data' if access.data else ''}"


@pytest.mark.parametrize("kind", KINDS)
async def test_everybody_gets_what_the_table_says(cast: Cast, kind: str, tmp_path: Path) -> None:
    wrong = []
    with at_work(cast.plane, tmp_path):
        for route in sorted(ROWS, key=LAST.__contains__):
            wanted, found = ROWS[route][KINDS.index(kind)], await cast.outcome(kind, *route.split(" ", 1))
            if found != wanted:
                wrong.append(f"{route}: {found}, and not {wanted}")
    assert not wrong, f"{kind} gets " + "\n".join(wrong)


async def test_attack_43_an_agent_that_asks_for_what_is_anothers_is_in_the_trail_and_does_not_flood_it(
    cast: Cast, tmp_path: Path
) -> None:
    asked = [route for route in ROWS if "{run}" in route]
    with at_work(cast.plane, tmp_path):
        for route in asked:
            assert await cast.outcome("curious", *route.split(" ", 1)) == "404"
        told = {
            (one["result"], one["status"], one["reason"], one["scope"].split("/")[4]) for one in trail(cast)
        }
        assert told == {("denied", 404, "RunNotFound", cast.names["run"])}
        assert len(trail(cast)) == len(asked)
        for _ in range(20):
            await cast.outcome("curious", "POST", "/agent/v1/runs/{run}/release")
    recorded = trail(cast)
    assert len(recorded) == FOREIGN_RECORDS
    with cast.plane.database.transaction() as conn:
        cast.plane.counters.flush(conn, cast.plane.clock(), everything=True)
        assert audit.verify(conn) is None
        rest = [one for one in audit.records(conn, limit=10**6) if one["result"] == "counted"]
    (mine,) = [one for one in rest if one.get("actor") == recorded[0]["actor"]]
    assert (mine["count"], mine["details"]["result"]) == (len(asked) + 20 - FOREIGN_RECORDS, "denied")


def trail(cast: Cast) -> list[dict[str, Any]]:
    """What an agent of another mover was refused."""
    with cast.plane.database.snapshot() as conn:
        return [one for one in audit.records(conn, limit=10**6) if one.get("actor_name") == "curious"]
