"""Calls of AWS's clients as drivers make them: few attempts, and what went wrong as what it means for a run.

`boto3` is loaded when the first driver for S3 is used: a control plane without one does without it.
"""

# ruff: noqa: PLC0415

from __future__ import annotations

import functools
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from wherry.model.errors import RunError, Unavailable

_REFUSED = frozenset({400, 401, 403})
_REGION = "us-east-1"
_making = threading.Lock()


def client(
    service: str,
    endpoint: str,
    region: str,
    identity: str = "",
    secret: str = "",
    token: str = "",
    *,
    ca: str = "",
) -> Any:
    """A client of one service; without an identity its requests are not signed.  The caller closes it.

    `ca`: certificates that the service is trusted by, and by no other; empty for those of the system.
    """
    from botocore import UNSIGNED
    from botocore.config import Config

    config = Config(
        # Whoever calls tries again in its own time.
        retries={"total_max_attempts": 1},
        connect_timeout=5,
        read_timeout=15,
        signature_version=None if identity else UNSIGNED,
        s3={"addressing_style": "path"},
    )
    with _making:
        return _session().client(
            service, region_name=region or _REGION, endpoint_url=endpoint or None, config=config,
            verify=_file_of(ca) if ca else None,
            aws_access_key_id=identity or None, aws_secret_access_key=secret or None, aws_session_token=token or None,
        )  # fmt: skip


@functools.lru_cache(maxsize=1024)
def _file_of(ca: str) -> str:
    """A file with these certificates, which botocore takes by name only; all go with the process."""
    made = Path(_certificates().name) / f"{sha256(ca.encode()).hexdigest()}.pem"
    made.write_text(ca)
    return str(made)


@functools.cache
def _certificates() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="wherry-ca-")


@functools.cache
def _session() -> Any:
    """What clients are made by, one at a time; it has read the descriptions of the services only once."""
    import boto3

    return boto3.session.Session()


@contextmanager
def told(*gone: str) -> Iterator[None]:
    """What the service answers; error codes in `gone` mean that nothing is left to do."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except ClientError as answer:
        code = str(answer.response.get("Error", {}).get("Code", ""))
        status = int(answer.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code in gone:
            return
        if status in _REFUSED:
            raise RunError("AZSM1024", f"The service refuses the key of the endpoint ({code}).") from answer
        if status == 404:
            raise RunError("AZSM1022", f"The service does not find it ({code}).") from answer
        raise Unavailable(f"the service answered {status} {code}") from answer
    except BotoCoreError as trouble:
        raise Unavailable(f"the service cannot be reached ({type(trouble).__name__})") from trouble
    except ResponseParserError:
        # What it says is the whole answer of somebody who need not be a friend.
        raise Unavailable("the service's answer cannot be read") from None
