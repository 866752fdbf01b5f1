"""The policy that a run has at a service of S3: which objects of which bucket, what may be done with them, until when.

Pure.  The same document is the inline policy of a user (`s3_user`) and the session policy of a role (`s3_session`).
Keys are literal there: `p/../q` lies below `p/`, and `*`, `?` and `$` in a folder's name must not become patterns.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from wherry.control.broker.port import Access
from wherry.model.errors import RunError

_OBJECTS: dict[Access, tuple[str, ...]] = {
    "read": ("s3:GetObject",),
    "write": (
        "s3:GetObject",
        "s3:PutObject",
        "s3:AbortMultipartUpload",
        "s3:ListMultipartUploadParts",
    ),
}
_OBJECTS["mirror"] = (*_OBJECTS["write"], "s3:DeleteObject")
_PARTITIONS = (("cn-", "aws-cn"), ("us-gov-", "aws-us-gov"))


def document(bucket: str, region: str, prefix: bytes, access: Access, until: float | None = None) -> str:
    """The policy as JSON, without an end of its own when none is named.

    RunError for a folder whose name it cannot hold.
    """
    arn = f"arn:{partition(region)}:s3:::{bucket}"
    below = folder(prefix)
    ends: dict[str, Any] = {}
    if until is not None:
        moment = datetime.fromtimestamp(int(until), UTC)
        ends["DateLessThan"] = {"aws:CurrentTime": f"{moment:%Y-%m-%dT%H:%M:%SZ}"}
    listed = dict(ends)
    if below:
        listed["StringLike"] = {"s3:prefix": f"{_literal(below)}*"}
    statements = [
        _allow("Objects", _OBJECTS[access], f"{arn}/{_literal(below)}*", ends),
        _allow("List", ("s3:ListBucket",), arn, listed),
    ]
    if not below and access != "read":
        # Nothing limits this to a folder: there, uploads that were broken off are begun anew instead.
        statements.append(_allow("Uploads", ("s3:ListBucketMultipartUploads",), arn, ends))
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))


def folder(prefix: bytes) -> str:
    """What keys below a path begin with; nothing for the whole bucket."""
    try:
        below = prefix.strip(b"/").decode()
    except UnicodeDecodeError as broken:
        raise RunError("AZSM1022", "A folder of a bucket needs a name in UTF-8.") from broken
    return f"{below}/" if below else ""


def partition(region: str) -> str:
    """The part of Amazon's cloud that a region is in; other services take the first one's name."""
    return next((name for begins, name in _PARTITIONS if region.startswith(begins)), "aws")


def _allow(sid: str, actions: tuple[str, ...], resource: str, condition: dict[str, Any]) -> dict[str, Any]:
    told = {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": resource}
    return told | ({"Condition": condition} if condition else {})


def _literal(text: str) -> str:
    """A text that stands for itself in a policy."""
    return "".join(f"${{{one}}}" if one in "*?$" else one for one in text)
