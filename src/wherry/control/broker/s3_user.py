"""Buckets of S3 by a user of its own for each run, with an inline policy that names bucket, folder, deeds and end.

The key that the endpoint names must be allowed to manage users below `/wherry/`, no more; it never leaves the control
plane.  Deleting the user's key ends the run's access at the next request.  Works with IAM (AWS, Ceph, and what serves
its API for users).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from wherry.control.broker import s3_calls, s3_policy
from wherry.control.broker.port import Issued, Json, Material, Wanted
from wherry.control.broker.sources import Secrets
from wherry.model.drivers import S3_USER, DriverFacts
from wherry.model.errors import RunError, Unavailable

PATH = "/wherry/"
_POLICY = "run"
_GONE = ("NoSuchEntity",)
_REFUSALS = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidClientTokenId")
_PAUSE = 0.25


@dataclass(frozen=True, slots=True)
class S3User:
    """The driver; `probe_seconds` is how long a change of users may take the service to be known everywhere."""

    secrets: Secrets
    probe_seconds: float

    @property
    def facts(self) -> DriverFacts:
        return S3_USER

    def issue(self, wanted: Wanted, until: float) -> Issued:
        with self._iam(wanted.told) as iam:
            with s3_calls.told("EntityAlreadyExists"):
                iam.create_user(UserName=wanted.id, Path=PATH)
            _limit(iam, wanted, until)
            with s3_calls.told():
                # Of an earlier attempt nobody knows the secret.
                for old in iam.list_access_keys(UserName=wanted.id)["AccessKeyMetadata"]:
                    iam.delete_access_key(UserName=wanted.id, AccessKeyId=old["AccessKeyId"])
                made = iam.create_access_key(UserName=wanted.id)["AccessKey"]
        material = Material(
            made["SecretAccessKey"],
            made["AccessKeyId"],
            wanted.told.get("region", ""),
            wanted.told.get("ca", ""),
        )
        if not self._wait_until(wanted, material, open_=True):
            raise Unavailable("the service does not let the new user in yet")
        return Issued(material, float(int(until)))

    def renew(self, wanted: Wanted, material: Material, until: float) -> Issued:
        with self._iam(wanted.told) as iam:
            _limit(iam, wanted, until)
        return Issued(material, float(int(until)))

    def withdraw(self, wanted: Wanted, material: Material) -> None:
        with self._iam(wanted.told) as iam:
            with s3_calls.told(*_GONE):
                for key in iam.list_access_keys(UserName=wanted.id)["AccessKeyMetadata"]:
                    iam.delete_access_key(UserName=wanted.id, AccessKeyId=key["AccessKeyId"])
            with s3_calls.told(*_GONE):
                iam.delete_user_policy(UserName=wanted.id, PolicyName=_POLICY)
            with s3_calls.told(*_GONE):
                iam.delete_user(UserName=wanted.id)
        # Of a user that no books knew nobody here has the key.
        if material.secret and not self._wait_until(wanted, material, open_=False):
            raise Unavailable("the service still lets the user in that is gone")

    def _wait_until(self, wanted: Wanted, material: Material, *, open_: bool) -> bool:
        deadline = time.monotonic() + self.probe_seconds
        while _works(wanted, material) is not open_:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_PAUSE)
        return True

    def names(self, told: Json) -> list[str]:
        found: list[str] = []
        with self._iam(told) as iam, s3_calls.told():
            for page in iam.get_paginator("list_users").paginate(PathPrefix=PATH):
                found += [one["UserName"] for one in page["Users"]]
        return found

    @contextmanager
    def _iam(self, facts: Json) -> Iterator[Any]:
        identity, secret = (
            self.secrets.named(facts[name], facts["author"]) for name in ("accessKeyUri", "secretKeyUri")
        )
        iam = s3_calls.client(
            "iam",
            facts.get("iamEndpoint", ""),
            facts.get("region", ""),
            identity,
            secret,
            ca=facts.get("ca", ""),
        )
        try:
            yield iam
        finally:
            iam.close()


def _works(wanted: Wanted, material: Material) -> bool:
    """Whether the service lets the holder of a key list the run's folder at this moment."""
    facts, below = wanted.told, s3_policy.folder(wanted.prefix)
    s3 = s3_calls.client(
        "s3", facts["endpoint"], material.region, material.identity, material.secret, ca=facts.get("ca", "")
    )
    let_in = False
    try:
        with s3_calls.told(*_REFUSALS):
            s3.list_objects_v2(Bucket=facts["bucket"], Prefix=below, MaxKeys=1)
            let_in = True
    finally:
        s3.close()
    return let_in


def _limit(iam: Any, wanted: Wanted, until: float) -> None:
    """Put the run's policy in place of what the user had."""
    facts = wanted.told
    text = s3_policy.document(facts["bucket"], facts.get("region", ""), wanted.prefix, wanted.access, until)
    with s3_calls.told():
        iam.put_user_policy(UserName=wanted.id, PolicyName=_POLICY, PolicyDocument=text)
        stands = iam.get_user_policy(UserName=wanted.id, PolicyName=_POLICY)["PolicyDocument"]
    if stands != json.loads(text):
        raise RunError("AZSM1024", "The service does not keep the policy of the run as it was given.")
