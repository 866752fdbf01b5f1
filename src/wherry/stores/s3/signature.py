"""Signature version 4 of Amazon: what proves that a request comes from who holds a key.

Everything of the head of a request is signed, so that nothing on the way can change it; the body by its SHA-256, or
not at all where TLS protects it.  The key of a day is kept, for it is the same for all requests of the day.  The
secret stands in no error and no text form.  Called by `service` for every request.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from wherry.model.errors import Denied, Unsafe

UNSIGNED = "UNSIGNED-PAYLOAD"
_KIND = "AWS4-HMAC-SHA256"


class _Second(NamedTuple):
    """What all requests of one second share."""

    number: int
    stamp: str
    scope: str
    key: bytes


class Signer:
    """Signs for one key in one region; `token` is that of a session, '' for a lasting key."""

    def __init__(
        self, identity: str, secret: str, token: str, region: str, clock: Callable[[], float] = time.time
    ) -> None:
        words = (identity, secret, token)
        if not identity or not secret or not all(word.isascii() and word.isprintable() for word in words):
            raise Denied("The access key of the bucket is missing or malformed.")
        self._identity = identity
        self._secret = secret
        self._region = region
        self._clock = clock
        self._fixed = {"x-amz-security-token": token} if token else {}
        self._day, self._day_key = "", b""
        self._second = _Second(-1, "", "", b"")

    def head(
        self, method: str, path: str, query: str, headers: Mapping[str, str], payload: str, length: int = -1
    ) -> bytes:
        """The head of a request, up to its body.

        `path` and `query` are percent-encoded, the parts of `query` sorted; names of `headers` (with `host`) are
        in lower case; `payload` is the body's SHA-256 in hex, or `UNSIGNED`; `length` -1 for no body.
        """
        now = self._now()
        # Sorted by name: the order in which they are signed.
        signed = sorted({
            **headers, **self._fixed, "x-amz-content-sha256": payload, "x-amz-date": now.stamp,
        }.items())  # fmt: skip
        values = "".join([value for _, value in signed])
        if not (values.isascii() and values.isprintable()):
            raise Unsafe("a value that no header can carry")
        names = ";".join([name for name, _ in signed])
        lines = "\n".join([f"{name}:{value}" for name, value in signed])
        if "  " in values or "\n " in lines or ": " in lines or " \n" in lines or lines[-1] == " ":
            lines = "\n".join([f"{name}:{' '.join(value.split())}" for name, value in signed])
        request = f"{method}\n{path}\n{query}\n{lines}\n\n{names}\n{payload}"
        digest = hashlib.sha256(request.encode("ascii")).hexdigest()
        text = f"{_KIND}\n{now.stamp}\n{now.scope}\n{digest}"
        proof = hmac.digest(now.key, text.encode("ascii"), "sha256").hex()
        target = f"{path}?{query}" if query else path
        carried = lines.replace("\n", "\r\n")
        body = f"\r\nContent-Length: {length}" if length >= 0 else ""
        return (
            f"{method} {target} HTTP/1.1\r\n{carried}{body}\r\nAuthorization: {_KIND} "
            f"Credential={self._identity}/{now.scope},SignedHeaders={names},Signature={proof}\r\n\r\n"
        ).encode("ascii")

    def _now(self) -> _Second:
        number = int(self._clock())
        now = self._second
        if now.number == number:
            return now
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(number))
        day = stamp[:8]
        made = _Second(number, stamp, f"{day}/{self._region}/s3/aws4_request", self._key(day))
        self._second = made
        return made

    def _key(self, day: str) -> bytes:
        if self._day != day:
            key = ("AWS4" + self._secret).encode("ascii")
            for word in (day, self._region, "s3", "aws4_request"):
                key = hmac.digest(key, word.encode("ascii"), "sha256")
            self._day_key = key
            self._day = day
        return self._day_key
