"""All drivers of a control plane, by name.  `model.drivers` says what each can do; a run names the one it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from wherry.control.broker.allowed import Allowed
from wherry.control.broker.blob_policy import BlobPolicy
from wherry.control.broker.blob_token import BlobToken
from wherry.control.broker.external_vault import ExternalVaults
from wherry.control.broker.port import Driver
from wherry.control.broker.s3_session import S3Session
from wherry.control.broker.s3_user import S3User
from wherry.control.broker.smb_secret import SmbSecret
from wherry.control.broker.smb_user import SmbUser
from wherry.control.broker.sources import DeploymentSecrets, Secrets
from wherry.control.plane import Plane
from wherry.control.services import signing
from wherry.control.vault import host
from wherry.trust import tokens


def of_plane(plane: Plane) -> Mapping[str, Driver]:
    """The drivers of a running control plane; `UsageError` when its operator's file is malformed."""
    allowed = Allowed.load(plane.state)
    secrets = DeploymentSecrets(
        plane.database, plane.master, plane.clock, lambda name: host.ours(plane, name),
        ExternalVaults(allowed.vaults),
    )  # fmt: skip
    return drivers(secrets, plane.settings.probe_seconds, allowed.samba, assertion(plane))


def drivers(
    secrets: Secrets, probe_seconds: float, samba: Mapping[str, tuple[str, ...]],
    signed: Callable[[str, str], str],
) -> Mapping[str, Driver]:  # fmt: skip
    """One of each."""
    made: tuple[Driver, ...] = (
        BlobPolicy(secrets, probe_seconds), BlobToken(signed), S3User(secrets, probe_seconds), S3Session(signed),
        SmbSecret(secrets), SmbUser(samba),
    )  # fmt: skip
    return {one.facts.name: one for one in made}


def assertion(plane: Plane) -> Callable[[str, str], str]:
    """What signs, with the keys that our issuer publishes, who we are for somebody who trusts it."""

    def sign(subject: str, audience: str) -> str:
        now = plane.clock()
        with plane.database.snapshot() as conn:
            ring = signing.ring(conn, plane.master, now)
        return tokens.issue_workload(subject, audience, ring, plane.issuer, now)

    return sign
