"""Buckets of S3 by a session of a role that trusts our issuer, narrowed by a session policy.  Unproven here.

Built to the contract of `AssumeRoleWithWebIdentity`: the role's trust policy must name our issuer and pin `aud` and
`sub`; the session is never more than role and session policy both allow.  It lasts at least 15 minutes and cannot be
taken back before its end.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from wherry.control.broker import s3_calls, s3_policy
from wherry.control.broker.port import Issued, Json, Material, Wanted
from wherry.control.broker.s3_calls import told
from wherry.model.drivers import S3_SESSION, DriverFacts
from wherry.model.errors import RunError

AUDIENCE = "sts.amazonaws.com"
SHORTEST, LONGEST = 900, 3600
LONGEST_POLICY = 2048
Assert = Callable[[str, str], str]
"""Subject and audience to a signed token of our issuer."""


@dataclass(frozen=True, slots=True)
class S3Session:
    """The driver; `assertion` signs what the service checks against our published keys."""

    assertion: Assert

    @property
    def facts(self) -> DriverFacts:
        return S3_SESSION

    def issue(self, wanted: Wanted, until: float) -> Issued:
        del (
            until
        )  # A session is as long as it is made, and is not moved on: so the longest that every role allows.
        facts = wanted.told
        policy = s3_policy.document(facts["bucket"], facts.get("region", ""), wanted.prefix, wanted.access)
        if len(policy) > LONGEST_POLICY:
            raise RunError("AZSM1022", "The path of the folder is too long for a session policy.")
        sts = s3_calls.client(
            "sts", facts.get("stsEndpoint", ""), facts.get("region", ""), ca=facts.get("ca", "")
        )
        try:
            with told():
                found = sts.assume_role_with_web_identity(
                    RoleArn=facts["roleArn"],
                    RoleSessionName=re.sub(r"[^\w+=,.@-]", "-", wanted.id)[:64],
                    WebIdentityToken=self.assertion(facts["subject"], facts.get("audience") or AUDIENCE),
                    Policy=policy,
                    DurationSeconds=LONGEST,
                )["Credentials"]
        finally:
            sts.close()
        secret = f"{found['SecretAccessKey']}\n{found['SessionToken']}"
        ends: datetime = found["Expiration"]
        material = Material(secret, found["AccessKeyId"], facts.get("region", ""), facts.get("ca", ""))
        return Issued(material, ends.timestamp())

    def renew(self, wanted: Wanted, material: Material, until: float) -> Issued:
        """A new session; the old one goes on to its own end."""
        del material
        return self.issue(wanted, until)

    def withdraw(self, wanted: Wanted, material: Material) -> None:
        """Nothing can be done at the service: what was handed out ends by itself."""

    def names(self, told: Json) -> list[str]:
        """None: nothing is made for a run."""
        del told
        return []
