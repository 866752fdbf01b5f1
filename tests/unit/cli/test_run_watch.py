"""Following a run: to its end, through the absence of its control plane, and away from it by Ctrl-C."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from wherry.cli import run_watch
from wherry.cli.exits import Exit
from wherry.client.connection import Unreachable

RUN = "/subscriptions/s/jobDefinitions/copy/jobRuns/r1"


def run(status: str, scanned: int = 0, error: str = "", **more: Any) -> dict[str, Any]:
    properties = {"status": status, "itemsScanned": scanned, "itemsTransferred": scanned, **more}
    if error:
        properties["error"] = {"code": error, "message": "."}
    return {"id": RUN, "name": "r1", "properties": properties}


class Api:
    """Answers one after the other; an exception is raised."""

    def __init__(self, *answers: Any, earlier: tuple[Any, ...] = ()) -> None:
        self._answers = list(answers)
        self._earlier = earlier

    def get(self, path: str) -> Any:
        assert path == RUN
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def list(self, path: str) -> Iterator[Any]:
        assert path == RUN.rpartition("/")[0]
        return iter(self._earlier)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (run("Succeeded", 5), Exit.DONE),
        (run("Failed", 5, "AZSM1046"), Exit.ITEMS_FAILED),
        (run("Failed", 0, "AZSM1007"), Exit.RUN_FAILED),
        (run("Canceled", 0, "AZSM1045"), Exit.RUN_CANCELED),
    ],
)
def test_the_exit_code_is_that_of_the_end(end: dict[str, Any], code: Exit) -> None:
    api: Any = Api(run("Queued"), run("Started"), run("Running", 3), end)

    ended = run_watch.follow(api, RUN)

    assert (ended.data, ended.code) == (end, code)


def test_an_absent_control_plane_is_waited_for() -> None:
    end = run("Succeeded", 5)
    api: Any = Api(Unreachable("away"), run("Running", 3), Unreachable("away"), Unreachable("away"), end)

    assert run_watch.follow(api, RUN).data == end


def test_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_watch, "PATIENCE_SECONDS", -1.0)
    api: Any = Api(Unreachable("away"))

    with pytest.raises(Unreachable):
        run_watch.follow(api, RUN)


def test_ctrl_c_leaves_the_run_alone_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    api: Any = Api(run("Running", 3), KeyboardInterrupt())

    ended = run_watch.follow(api, RUN)

    assert (ended.data, ended.code) == (None, Exit.INTERRUPTED)
    told = capsys.readouterr().err
    assert "The run goes on" in told
    assert "wherry job stop --name copy" in told


def test_one_look_ends_with_0_while_it_goes_on() -> None:
    going: Any = Api(run("Running", 3))
    failed: Any = Api(run("Failed", 0, "AZSM1001"))

    assert run_watch.once(going, RUN).code == 0
    assert run_watch.once(failed, RUN).code == Exit.RUN_FAILED


def test_how_much_it_will_be_is_what_the_last_whole_run_had() -> None:
    earlier = ({"id": "other", "properties": {"status": "Succeeded", "itemsScanned": 100}},)
    seen: list[int] = []
    api: Any = Api(run("Running", 3), run("Succeeded", 5, scanStatus="Completed"), earlier=earlier)

    run_watch.to_its_end(api, RUN, each=lambda told: seen.append(told["itemsScanned"]))

    assert seen == [3, 5]
    assert run_watch.moment_of(run("Running", 3)["properties"], 100).expected == 100
    assert run_watch.moment_of(run("Running", 120)["properties"], 100).expected == 120
    assert run_watch.moment_of(run("Running", 3)["properties"]).expected == 0
    assert run_watch.moment_of(run("Running", 7, scanStatus="Completed")["properties"]).expected == 7


def test_deletions_are_counted_too() -> None:
    moment = run_watch.moment_of(
        run("Running", 3, wherry={"itemsDeleted": 4, "bytesDeleted": 40})["properties"]
    )

    assert (moment.items["Deleted"], moment.bytes["Deleted"]) == (4, 40)
