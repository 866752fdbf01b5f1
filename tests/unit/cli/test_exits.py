"""Which error and which end of a run becomes which exit code, and what people read of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wherry.agent.state import InUse
from wherry.cli import exits
from wherry.cli.exits import Exit
from wherry.client.connection import Unreachable
from wherry.client.device_code import SignInFailed
from wherry.client.login import NotSignedIn
from wherry.client.pinning import WrongFingerprint
from wherry.client.proven import IdentityGone
from wherry.model.errors import (
    CODES,
    ApiError,
    Conflict,
    Corrupt,
    Denied,
    LeaseLost,
    NotFound,
    RunError,
    Unavailable,
    UsageError,
    WherryError,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ApiError(400, "InvalidParameter", "no"), 1),
        (ApiError(401, "Unauthorized", "no"), 4),
        (ApiError(403, "AuthorizationFailed", "no"), 4),
        (ApiError(404, "ResourceNotFound", "no"), 3),
        (ApiError(409, "JobRunActive", "no"), 5),
        (ApiError(412, "PreconditionFailed", "no"), 5),
        (ApiError(429, "TooManyRequests", "no"), 75),
        (ApiError(503, "Busy", "no"), 75),
        (ApiError(500, "InternalServerError", "no"), 1),
        (UsageError("no"), 2),
        (WrongFingerprint("no"), 2),
        (InUse("no"), 5),
        (RunError("AZSM1033"), 11),
        (LeaseLost(), 75),
        (NotFound("no"), 3),
        (Denied("no"), 4),
        (Conflict("no"), 5),
        (Unavailable("no"), 20),
        (Corrupt("no"), 1),
        (Unreachable("no"), 20),
        (SignInFailed("expired", "no"), 75),
        (SignInFailed("denied", "no"), 4),
        (NotSignedIn(), 4),
        (IdentityGone(), 4),
        (WherryError("no"), 1),
    ],
    ids=lambda value: getattr(value, "code", None) or type(value).__name__,
)
def test_each_error_has_its_code(error: WherryError, code: int) -> None:
    assert exits.of_error(error) == code


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        ("Succeeded", "", Exit.DONE),
        ("Failed", "AZSM1046", Exit.ITEMS_FAILED),
        ("Failed", "AZSM1001", Exit.RUN_FAILED),
        ("Canceled", "AZSM1045", Exit.RUN_CANCELED),
    ],
)
def test_each_end_of_a_run_has_its_code(status: str, error: str, code: Exit) -> None:
    assert exits.of_end(status, error) is code


def test_each_code_has_a_meaning() -> None:
    assert set(exits.MEANING) == set(Exit)


def test_the_reference_tells_the_same() -> None:
    reference = Path(__file__).resolve().parents[3] / "docs" / "reference" / "programs.md"
    told = re.findall(r"^\| (\d+) \| (.+) \|$", reference.read_text(), re.MULTILINE)

    assert told == [(str(int(code)), meaning) for code, meaning in exits.MEANING.items()]


def test_an_error_of_the_table_is_told_with_its_remedy() -> None:
    line, remedy = exits.describe(RunError("AZSM1033", "/a and /a/b."))

    assert line == "AZSM1033: Source and target contain one another. /a and /a/b."
    assert remedy == CODES["AZSM1033"].remedy


def test_an_answer_of_the_api_is_told_with_its_code() -> None:
    line, remedy = exits.describe(ApiError(403, "AuthorizationFailed", "You may not."))

    assert line == "AuthorizationFailed: You may not."
    assert "role assign" in remedy


def test_an_error_without_a_code_is_its_sentence() -> None:
    assert exits.describe(UsageError("Give a name.")) == ("Give a name.", "")
