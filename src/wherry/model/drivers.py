"""How a run is let into its target, as data: what each way limits, what it cannot, how it ends, what shows it.

Read by whoever tells a person before a start what the credential will be able to do (endpoints in the resource API,
`wherry job start`) and by the reference page, which a test compares with it.  The drivers themselves are in
`control.broker`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DriverFacts:
    """One way.  `limits` is what the back end itself enforces, `cannot` what it does not; `ends` when access is over.

    `shown` names the server that the acceptance suite was run against; empty: unproven here.
    """

    name: str
    title: str
    limits: tuple[str, ...]
    cannot: tuple[str, ...]
    ends: str
    shown: str = ""

    @property
    def proven(self) -> bool:
        return bool(self.shown)

    @property
    def warning(self) -> str:
        """What a person should know before letting a run in; empty when there is nothing."""
        told = [f"It is not limited to {what}." for what in self.cannot]
        if not self.proven:
            told.append("This driver is unproven here: it was built to the documented contract only.")
        return " ".join(told)


BLOB_SAS = DriverFacts(
    "blob-sas",
    "Blob: SAS of a stored access policy",
    ("the container", "writing without deleting, unless the job mirrors"),
    ("a folder of the container",),
    "at once with the run; else 15 minutes after the last renewal",
    "Azurite",
)
BLOB_TOKEN = DriverFacts(
    "blob-token",
    "Blob: token of an application that trusts our issuer",
    ("what Azure's roles give that application",),
    ("this run", "a folder of the container"),
    "with the token, an hour at most; it cannot be taken back earlier",
)
S3_USER = DriverFacts(
    "s3-user",
    "S3: user of its own for each run",
    ("the bucket", "the folder of the job", "writing without deleting, unless the job mirrors"),
    (),
    "at once with the run; else 15 minutes after the last renewal",
    "moto, with a gate that keeps to conditions of policies",
)
S3_SESSION = DriverFacts(
    "s3-session",
    "S3: session of a role that trusts our issuer",
    ("the bucket", "the folder of the job", "writing without deleting, unless the job mirrors"),
    (),
    "with the session, an hour; it cannot be taken back earlier",
)
SMB_SECRET = DriverFacts(
    "smb-secret",
    "SMB: name and password out of a vault",
    (),
    ("this run", "a share or folder", "writing without deleting", "the time of the run"),
    "when the password is changed at the server; the agent forgets it with its lease",
    "Samba",
)
SMB_USER = DriverFacts(
    "smb-user",
    "SMB: user of its own for each run on a Samba that we manage",
    ("the share", "reading only, for a source"),
    ("a folder of the share", "writing without deleting"),
    "at once with the run, its sessions with it; new sessions 15 minutes after the last renewal",
    "Samba",
)

DRIVERS: Mapping[str, DriverFacts] = {
    one.name: one for one in (BLOB_SAS, BLOB_TOKEN, S3_USER, S3_SESSION, SMB_SECRET, SMB_USER)
}
