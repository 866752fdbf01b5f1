"""Where a bucket is: host and path, in one of the two styles, and the region that requests are signed for.

Path style (`https://host/bucket/key`) is for every endpoint but Amazon's own, where the bucket becomes part of the
host's name, as Amazon asks for; a name with dots stays in the path, no certificate covers it.  Called by `store`.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from wherry.model.errors import UsageError
from wherry.stores.http.wire import Address

_AMAZON = re.compile(
    r"(?:(?P<bucket>[a-z0-9][a-z0-9.-]*)\.)?s3(?:[.-](?P<dual>dualstack\.)?(?P<region>[a-z0-9-]+))?"
    r"\.amazonaws\.com(?:\.cn)?"
)
_HOST_LABEL = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_REGION = re.compile(r"[A-Za-z0-9-]+")
ANYWHERE = "us-east-1"


class Place(NamedTuple):
    """`address` is that of the bucket; `prefix` comes before every key, '' or with a slash at its end."""

    address: Address
    bucket: str
    prefix: bytes
    region: str

    @classmethod
    def parse(cls, url: str, subpath: bytes, region: str) -> Place:
        """The place of `https://host[:port]/bucket[/prefix]`; the region of a host of Amazon's is in its name.

        Raises `UsageError`.
        """
        address = Address.parse(url)
        amazon = _AMAZON.fullmatch(address.host)
        path = unquote_to_bytes(address.path).strip(b"/")
        if amazon and amazon["bucket"]:
            bucket, prefix, host = amazon["bucket"], path, address.host
        else:
            first, _, prefix = path.partition(b"/")
            bucket = first.decode("ascii", "replace")
            virtual = amazon and _HOST_LABEL.fullmatch(bucket)
            host = f"{bucket}.{address.host}" if virtual else address.host
        if not _BUCKET.fullmatch(bucket):
            raise UsageError(
                "The URL of a bucket is https://host/bucket, with a name that a bucket can have."
            )
        if region and not _REGION.fullmatch(region):
            raise UsageError("The name of the region is malformed.")
        top = b"/".join(part for part in (prefix.strip(b"/"), subpath) if part)
        return cls(
            address._replace(host=host, path="" if host.startswith(f"{bucket}.") else f"/{bucket}"),
            bucket,
            top + b"/" if top else b"",
            (amazon and amazon["region"]) or region or ANYWHERE,
        )
