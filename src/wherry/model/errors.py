"""The error table and the exception tree of the whole project.

    WherryError                     something a person can act on; printed without a traceback
    ├── ApiError                    an answer of the resource API: status, code, message
    ├── UsageError                  what was asked for makes no sense; nothing was changed
    ├── RunError                    ends a run; carries a code of the table below
    │   └── LeaseLost               the right to a partition is gone; stop, commit nothing
    └── StoreError                  trouble of one item in a store
        ├── NotFound                no such item
        ├── Conflict                a condition (etag, must-not-exist) did not hold
        ├── Denied                  the store refused these rights
        ├── SourceDenied            the source refused these rights on an item
        ├── SourceFailed            reading a source item failed
        ├── Changed                 the source changed while it was read
        ├── Unsupported             the store can never hold this item
        │   └── MetadataTooLarge    nor all that belongs to it
        ├── Unsafe                  a path that would leave the root, or a link in its place
        ├── Corrupt                 the store does not hold what was sent
        ├── Full                    no space is left
        └── Unavailable             a passing fault; trying again may help

`CODES` maps every `AZSMnnnn` to its scope, what a mover does about it, the sentence that people read and the
remedy.  Exit codes, portal texts and `docs/reference/errors.md` are made from it, nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Scope = Literal["agent", "run", "item"]
Disposition = Literal["none", "retry", "skip", "fail_item", "fail_run"]

SUCCESS = "AZSM0000"


@dataclass(frozen=True, slots=True)
class Code:
    """One row of the error table."""

    code: str
    scope: Scope
    disposition: Disposition
    message: str
    remedy: str


_ROWS = (
    ("AZSM0000", "run", "none", "Success.", "Nothing to do."),
    ("AZSM0001", "agent", "none", "The agent's new program could not be fetched.", "It is tried again by itself."),
    ("AZSM0002", "agent", "none", "The agent's new program was refused.",
     "See who signed it: agents take later versions of publishers whom the owner of their machine has named."),
    ("AZSM0003", "agent", "none", "The agent's new program could not be unpacked.",
     "See whether there is room on the agent's disk; it is tried again by itself."),
    ("AZSM0004", "agent", "none", "The agent's new program did not reach the control plane; the one before runs on.",
     "See the agent's log, and offer another version."),
    ("AZSM0005", "agent", "none", "There is a later version of the agent's program.",
     "Upgrade it when it suits, on the agent's machine or by a signed package (wherry package offer)."),
    ("AZSM0006", "agent", "none", "The agent's version is not supported any more: it gets no work.",
     "Upgrade its program on its machine, or by a signed package (wherry package offer); it then works by itself."),
    ("AZSM0010", "agent", "none", "The agent's identity is gone.", "Unregister the agent and register it anew."),
    ("AZSM0011", "agent", "none", "The agent is locked: two hold its identity.",
     "Find out who else does, then register the agent again on its machine: wherry agent re-enrol."),
    ("AZSM0012", "agent", "none", "The agent's key has expired.",
     "Register the agent again on its machine: wherry agent re-enrol."),
    ("AZSM1001", "run", "fail_run", "The source cannot be opened.",
     "Check that the folder is there, where the agent or wherry copy runs."),
    ("AZSM1002", "run", "fail_item", "A folder of the source could not be listed.", "Check its rights, run again."),
    ("AZSM1003", "run", "fail_run", "No permission on the source.", "Let the agent read the source folder."),
    ("AZSM1004", "run", "fail_run", "The source path is not valid.", "Correct the endpoint's path or the subpath."),
    ("AZSM1005", "run", "fail_run", "The source is not the one of earlier runs.",
     "See whether the right file system is mounted; accept the new source on the job if it is meant."),
    ("AZSM1006", "run", "fail_run", "The source is empty and the target is not.",
     "See whether the source is mounted; allow an empty source on the job if it is meant."),
    ("AZSM1007", "run", "fail_run", "The agent does not allow this source folder.",
     "Start the agent with --allow-source for a folder that contains it."),
    ("AZSM1020", "run", "fail_run", "The source failed.", "Check network, share and rights, run again."),
    ("AZSM1021", "run", "fail_run", "No permission on the target.",
     "Let the agent, or whoever copies, write there; run again to go on."),
    ("AZSM1022", "run", "fail_run", "The target path is not valid.", "Correct path, endpoint or subpath."),
    ("AZSM1023", "run", "retry", "The lease on this part of the run is over.", "Nothing: another lease goes on."),
    ("AZSM1024", "run", "fail_run", "The agent is not authorized on the target.",
     "Start the job as somebody who may assign roles there, or assign the role; wherry copy needs a valid SAS or key."),
    ("AZSM1026", "run", "fail_run", "This kind of target is not supported by the agent.", "Update the agent."),
    ("AZSM1027", "run", "fail_run", "The target is busy with an overlapping run.", "Wait for that run, or stop it."),
    ("AZSM1029", "run", "fail_run", "This kind of source is not supported by the agent.", "Update the agent."),
    ("AZSM1031", "run", "fail_run", "The target's host cannot be reached.",
     "Check name, network and firewall; run again to go on."),
    ("AZSM1032", "run", "fail_run", "The agent does not allow this target folder.",
     "Start the agent with --allow-target for a folder that contains it."),
    ("AZSM1033", "run", "fail_run", "Source and target contain one another.", "Choose separate places."),
    ("AZSM1034", "run", "fail_run", "More would be deleted than is allowed.",
     "Look at the candidates in the copy log; raise maxDelete on the job if they are meant."),
    ("AZSM1035", "run", "fail_run", "No stored access policy is free on the container.",
     "End another run of this container, or remove a policy that is not in use."),
    (
        "AZSM1036",
        "run",
        "fail_run",
        "The target is not the one that the run began with.",
        "See whether the right file system is mounted on every agent of the job, start it again.",
    ),
    ("AZSM1038", "run", "fail_run", "The target is at a public address, and the agent has a private link scope.",
     "Let its name lead to a private address, or use an agent without a scope."),
    ("AZSM1040", "run", "fail_run", "The target failed.", "Make room on it or mend it; run again to go on."),
    ("AZSM1041", "run", "fail_run", "The agent is gone: no sign of progress for too long.",
     "Look at the agent, or start the job with another one."),
    ("AZSM1042", "run", "fail_run", "The run was not taken up in time.", "See whether the agent is online."),
    ("AZSM1045", "run", "none", "The run was stopped.", "Start the job again to go on."),
    ("AZSM1046", "run", "fail_run", "Items failed; the rest is copied.", "Read the copy log, run it again."),
    ("AZSM1047", "run", "fail_run", "The run before had not ended when the schedule was due.",
     "Come less often, or let the job's onOverlap be wait or skip."),
    ("AZSM1048", "run", "fail_run", "The schedule could not start a run.",
     "Mend what its message names; the schedule comes again."),
    ("AZSM1060", "run", "fail_run", "The run failed.", "Read the run log; collect a support bundle."),
    ("AZSM2001", "item", "skip", "Excluded by a filter.", "Change the filter if it is meant to be copied."),
    ("AZSM2021", "item", "skip", "This kind of file cannot be held by the target.", "Nothing, or another target."),
    ("AZSM2022", "item", "skip", "The name has characters that the target cannot hold.", "Rename it at the source."),
    ("AZSM2023", "item", "skip", "A part of the path is too long for the target.", "Shorten it at the source."),
    ("AZSM2024", "item", "skip", "The path is too long for the target.", "Shorten it at the source."),
    ("AZSM2025", "item", "skip", "The path has too many levels for the target.", "Flatten it at the source."),
    ("AZSM2026", "item", "skip", "The file is too large for the target.", "Split it, or choose another target."),
    ("AZSM2027", "item", "skip", "The metadata is too large for the target.", "Remove attributes, or another target."),
    ("AZSM2041", "item", "none", "Equal by size and time.", "Nothing to do."),
    ("AZSM2042", "item", "none", "Equal by comparison of content.", "Nothing to do."),
    ("AZSM2043", "item", "none", "Transferred by an earlier attempt of this run.", "Nothing to do."),
    ("AZSM2044", "item", "none", "Only metadata was sent.", "Nothing to do."),
    ("AZSM2051", "item", "none", "Deleted: the source does not have it.", "Nothing to do."),
    ("AZSM2052", "item", "none", "Not deleted: it changed, or the source has it again.", "Nothing to do."),
    ("AZSM2061", "item", "fail_item", "The source item could not be scanned.", "Run again."),
    ("AZSM2062", "item", "fail_item", "No permission to read the source item.", "Let the agent read it."),
    ("AZSM2063", "item", "fail_item", "Reading the source item failed.", "Check the source's disk or network."),
    ("AZSM2065", "item", "fail_item", "The target could not be reached.", "Check the network, run again."),
    ("AZSM2066", "item", "fail_item", "The target refused the item.", "Read the details, run again."),
    ("AZSM2068", "item", "fail_item", "The target item could not be scanned.", "Run again."),
    ("AZSM2069", "item", "fail_item", "No permission on the target item.", "Let the agent write it."),
    ("AZSM2071", "item", "fail_item", "The source changed while it was copied.", "Run again when it is quiet."),
    ("AZSM2072", "item", "fail_item", "The target changed while the run went on.", "See who else writes there."),
    ("AZSM2073", "item", "fail_item", "The item vanished before it was copied.", "Run again."),
    ("AZSM2074", "item", "fail_item", "The target does not hold what was read.", "Run again; check the target."),
    ("AZSM2075", "item", "fail_item", "The target has no space left.", "Make room, run again."),
    ("AZSM2080", "item", "fail_item", "The copy failed.", "Read the details, run again."),
)  # fmt: skip

CODES: dict[str, Code] = {row[0]: Code(*row) for row in _ROWS}  # type: ignore[arg-type]

# A place did not answer, which may pass by itself.
UNREACHED = frozenset({"AZSM1020", "AZSM1031"})


class WherryError(Exception):
    """Something a person can act on."""


class UsageError(WherryError):
    """What was asked for makes no sense; nothing was changed."""


class ApiError(WherryError):
    """An answer of the resource API that is an error.

    `status` is the HTTP status, `code` the word that clients compare, `target` the property it is about.
    """

    def __init__(self, status: int, code: str, message: str, target: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.target = target

    def __reduce__(self) -> tuple[type[ApiError], tuple[int, str, str, str | None]]:
        return type(self), (self.status, self.code, self.message, self.target)


class RunError(WherryError):
    """Ends a run (or keeps it from starting) with a code of the table."""

    def __init__(self, code: str, detail: str = "") -> None:
        row = CODES[code]
        super().__init__(f"{row.message} {detail}".strip())
        self.code = code
        self.detail = detail

    def __reduce__(self) -> tuple[type[RunError], tuple[str, ...]]:
        # On its way out of a worker process an error is made anew from these.
        return type(self), (self.code, self.detail)

    @property
    def remedy(self) -> str:
        return CODES[self.code].remedy


class LeaseLost(RunError):
    """The right to a partition is gone: write nothing more, commit nothing."""

    def __init__(self, detail: str = "") -> None:
        super().__init__("AZSM1023", detail)

    def __reduce__(self) -> tuple[type[LeaseLost], tuple[str, ...]]:
        return type(self), (self.detail,)


class StoreError(WherryError):
    """Trouble of one item in a store; `code` says how the item is reported when nothing better is known."""

    code = "AZSM2080"


class NotFound(StoreError):
    """No such item."""

    code = "AZSM2073"


class Conflict(StoreError):
    """A condition (etag, must-not-exist) did not hold: somebody else wrote the target."""

    code = "AZSM2072"


class Denied(StoreError):
    """The store refused these rights."""

    code = "AZSM2069"


class SourceDenied(StoreError):
    """The source refused these rights on one of its items, which says nothing of the target's."""

    code = "AZSM2062"


class SourceFailed(StoreError):
    """Reading a source item failed, which says nothing of the target."""

    code = "AZSM2063"


class Changed(StoreError):
    """The source changed while it was read."""

    code = "AZSM2071"


class Unsupported(StoreError):
    """The store can never hold this item."""

    code = "AZSM2021"


class MetadataTooLarge(Unsupported):
    """The store cannot hold all the metadata of this item."""

    code = "AZSM2027"


class Unsafe(StoreError):
    """A path that would leave the root, or a link where a folder was expected."""

    code = "AZSM2061"


class Corrupt(StoreError):
    """The store does not hold what was sent."""

    code = "AZSM2074"


class Full(StoreError):
    """No space is left."""

    code = "AZSM2075"


class Unavailable(StoreError):
    """A passing fault; trying again may help.  `retry_after` in seconds when the store named it."""

    code = "AZSM2065"

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
