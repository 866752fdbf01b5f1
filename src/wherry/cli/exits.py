"""Exit codes: one table, and which error or end of a run becomes which.

Scripts rely on these numbers; they never change their meaning.  Called by `main` for errors and by the commands that
follow a run (`run watch`, `copy`, `demo`).
"""

from __future__ import annotations

from enum import IntEnum

from wherry.model.errors import (
    CODES,
    ApiError,
    Conflict,
    Denied,
    LeaseLost,
    NotFound,
    RunError,
    StoreError,
    Unavailable,
    UsageError,
    WherryError,
)
from wherry.model.run import RunStatus


class Exit(IntEnum):
    """What the program's exit code says."""

    DONE = 0
    ERROR = 1
    USAGE = 2
    NOT_FOUND = 3
    FORBIDDEN = 4
    CONFLICT = 5
    ITEMS_FAILED = 10
    RUN_FAILED = 11
    RUN_CANCELED = 12
    UNREACHABLE = 20
    TRY_AGAIN = 75
    INTERRUPTED = 130


MEANING: dict[Exit, str] = {
    Exit.DONE: "done",
    Exit.ERROR: "something failed; the message says what",
    Exit.USAGE: "the command was asked for wrongly; nothing was changed",
    Exit.NOT_FOUND: "the resource is not there",
    Exit.FORBIDDEN: "not signed in, or not allowed",
    Exit.CONFLICT: "something is in the way: it exists already, is in use, or has changed",
    Exit.ITEMS_FAILED: "the run is complete, but items failed",
    Exit.RUN_FAILED: "the run failed",
    Exit.RUN_CANCELED: "the run was stopped",
    Exit.UNREACHABLE: "the server cannot be reached",
    Exit.TRY_AGAIN: "not now; try again later",
    Exit.INTERRUPTED: "interrupted from the keyboard",
}

ITEMS_FAILED_CODE = "AZSM1046"

_STATUS = {
    401: Exit.FORBIDDEN,
    403: Exit.FORBIDDEN,
    404: Exit.NOT_FOUND,
    409: Exit.CONFLICT,
    412: Exit.CONFLICT,
    429: Exit.TRY_AGAIN,
    503: Exit.TRY_AGAIN,
    504: Exit.TRY_AGAIN,
}
_STORE: tuple[tuple[type[StoreError], Exit], ...] = (
    (NotFound, Exit.NOT_FOUND),
    (Denied, Exit.FORBIDDEN),
    (Conflict, Exit.CONFLICT),
    (Unavailable, Exit.UNREACHABLE),
)
_REMEDIES = {
    "AuthorizationFailed": "Ask an owner of the resource for a role that allows this: wherry role assign.",
    "ResourceNotFound": "Look at the names with the list command; the defaults are in: wherry config show.",
    "ResourceGroupNotFound": "Make it with: wherry group create.",
    "EndpointNotFound": "Make it with: wherry endpoint create.",
    "AgentNotFound": "See: wherry agent list.",
    "Request_ResourceNotFound": "See: wherry user list, wherry user-group list, wherry service-principal list.",
}


def tell_all() -> None:
    """Tell what exit codes mean."""
    for code, meaning in MEANING.items():
        print(f"{int(code):>4}  {meaning}")


def of_error(error: WherryError) -> Exit:
    """The exit code of an error."""
    if isinstance(error, ApiError):
        return _STATUS.get(error.status, Exit.ERROR)
    if isinstance(error, UsageError):
        return _of_usage(error)
    if isinstance(error, LeaseLost):
        return Exit.TRY_AGAIN
    if isinstance(error, RunError):
        return Exit.RUN_FAILED
    if isinstance(error, StoreError):
        return next((code for kind, code in _STORE if isinstance(error, kind)), Exit.ERROR)
    return _of_client(error)


def of_end(status: str, code: str = "") -> Exit:
    """The exit code of a run that ended so."""
    if status == RunStatus.SUCCEEDED:
        return Exit.DONE
    if status == RunStatus.CANCELED:
        return Exit.RUN_CANCELED
    return Exit.ITEMS_FAILED if code == ITEMS_FAILED_CODE else Exit.RUN_FAILED


def describe(error: WherryError) -> tuple[str, str]:
    """An error as `code: message`, and what to do about it where more is known than the message says."""
    code = getattr(error, "code", "") if isinstance(error, ApiError | RunError) else ""
    line = f"{code}: {error}" if code else str(error)
    remedy = CODES[code].remedy if code in CODES else _REMEDIES.get(code, "")
    return line, remedy


def _of_usage(error: UsageError) -> Exit:
    from wherry.agent.state import InUse

    return Exit.CONFLICT if isinstance(error, InUse) else Exit.USAGE


def _of_client(error: WherryError) -> Exit:
    from wherry.client.connection import Unreachable
    from wherry.client.device_code import SignInFailed
    from wherry.client.login import NotSignedIn
    from wherry.client.proven import IdentityGone

    if isinstance(error, Unreachable):
        return Exit.UNREACHABLE
    if isinstance(error, SignInFailed):
        return Exit.TRY_AGAIN if error.reason == "expired" else Exit.FORBIDDEN
    if isinstance(error, NotSignedIn | IdentityGone):
        return Exit.FORBIDDEN
    return Exit.ERROR
