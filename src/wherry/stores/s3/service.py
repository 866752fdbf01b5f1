"""One call of the service: signed, sent with patience, its errors read and told apart.

Whatever changes something asks the fence before each sending, and settles an unknown outcome by what the caller
gives for that.  Errors come as XML, for some calls even with a status of success.  Called by `objects` and
`multipart`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TypeVar

from wherry.model import names
from wherry.model.errors import Conflict, Denied, Full, NotFound, StoreError, Unsupported
from wherry.stores.http.patience import Patience, after
from wherry.stores.http.quoting import quoted
from wherry.stores.http.wire import Answer, Lost, Unreached, Wire
from wherry.stores.http.xml import parse
from wherry.stores.port import Fence
from wherry.stores.s3.place import Place
from wherry.stores.s3.signature import UNSIGNED, Signer

NOTHING = hashlib.sha256(b"").hexdigest()
_BY_CODE: dict[str, type[StoreError]] = {
    "AuthorizationHeaderMalformed": Denied,
    "EntityTooLarge": Unsupported,
    "ExpiredToken": Denied,
    "InvalidToken": Denied,
    "InvalidURI": Unsupported,
    "KeyTooLongError": Unsupported,
    "MetadataTooLarge": Unsupported,
    "InvalidObjectState": Denied,
    "QuotaExceeded": Full,
    "XMinioStorageFull": Full,
}
_BY_STATUS: dict[int, type[StoreError]] = {
    301: Denied, 304: Conflict, 307: Denied, 401: Denied, 403: Denied, 404: NotFound, 409: Conflict, 412: Conflict,
    413: Unsupported, 414: Unsupported, 507: Full,
}  # fmt: skip
# The status that an error has when it comes with a status of success.
_STATUS: dict[str, int] = {
    "InternalError": 500, "SlowDown": 503, "ServiceUnavailable": 503, "PreconditionFailed": 412,
    "NoSuchKey": 404, "NoSuchUpload": 404, "AccessDenied": 403,
}  # fmt: skip
_LONGEST_ERROR = 64 * 1024

_T = TypeVar("_T")


class Service:
    """The calls on one bucket; keys are raw bytes, queries are pairs of names and encoded values."""

    def __init__(self, place: Place, wire: Wire, signer: Signer, fence: Fence, patience: Patience) -> None:
        self.place = place
        self.secure = wire.address.secure
        self._wire = wire
        self._signer = signer
        self._fence = fence
        self._patience = patience
        self._host = {"host": wire.address.netloc}

    def path(self, key: bytes | None) -> str:
        """The path of an object, or of the bucket, percent-encoded."""
        root = self.place.address.path
        if key is None:
            return root or "/"
        return f"{root}/{quoted(key)}"

    def ask(
        self,
        method: str,
        key: bytes | None,
        query: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Something that changes nothing.  The answer is not `checked`."""
        head = self._signer.head(
            method, self.path(key), _joined(query), {**self._host, **(headers or {})}, NOTHING
        )
        bodiless = method == "HEAD"
        self._wire.pace.wait()
        answer: Answer = self._patience.persist(
            lambda: _refused(self._wire.exchange(head, bodiless=bodiless))
        )
        return answer

    def change(
        self, method: str, key: bytes, query: Mapping[str, str], headers: Mapping[str, str],
        body: bytes | memoryview = b"", settle: Callable[[], _T | None] | None = None,
    ) -> Answer | _T:  # fmt: skip
        """Something that does; what `settle` found when no answer came.  The answer is not `checked`."""
        head = self.head(method, key, query, headers, body)

        def send() -> Answer:
            self._wire.pace.wait()
            self._fence()
            answer = self._wire.exchange(head, body)
            return _answered(answer) if answer.body else answer

        try:
            first: Answer | Exception = send()
        except (Lost, Unreached) as error:
            first = error
        if isinstance(first, Answer) and first.status < 300:
            return first
        return self._patience.persist(after(first, send), settle)

    def head(
        self, method: str, key: bytes, query: Mapping[str, str], headers: Mapping[str, str],
        body: bytes | memoryview,
    ) -> bytes:  # fmt: skip
        """The signed head of a change."""
        payload = UNSIGNED if self.secure else hashlib.sha256(body).hexdigest()
        return self._signer.head(
            method, self.path(key), _joined(query), {**self._host, **headers}, payload, len(body)
        )

    def checked(self, answer: Answer, key: bytes | None) -> Answer:
        """The answer when it is a success, else what it means."""
        if 200 <= answer.status < 300:
            return answer
        made = _BY_CODE.get(answer.code) or _BY_STATUS.get(answer.status, StoreError)
        item = "the bucket" if key is None else names.escape(key)
        text = f"{item}: the service answers {answer.status} {answer.code}".rstrip()
        region = answer.headers.get("x-amz-bucket-region", "")
        if region and region != self.place.region:
            text += f": the bucket is in the region {region}, ask there"
        elif answer.code == "RequestTimeTooSkewed":
            text += ": the clock of this machine is wrong"
        raise made(f"{text} (request {answer.headers.get('x-amz-request-id', '')})")


def is_unknown(answer: Answer) -> bool:
    """Whether the service does not know what it was asked for, a header or a call."""
    return answer.status == 501 or answer.code in ("NotImplemented", "InvalidArgument", "InvalidRequest")


def _joined(query: Mapping[str, str]) -> str:
    return "&".join([f"{name}={query[name]}" for name in sorted(query)]) if query else ""


def _answered(answer: Answer) -> Answer:
    """The answer to a change; it may say only in its body that it went wrong."""
    if answer.status >= 300 or bytes(answer.body[:512]).find(b"<Error>") < 0:
        return _refused(answer)
    found = _refused(answer._replace(status=400))
    return found._replace(status=_STATUS.get(found.code, 400))


def _refused(answer: Answer) -> Answer:
    """The answer, if it is a refusal with the service's word for what is wrong."""
    body = answer.body
    if answer.status < 300 or not body or len(body) > _LONGEST_ERROR:
        return answer
    try:
        root = parse(bytes(body).lstrip())
    except StoreError:
        return answer
    return answer._replace(code=root.findtext("Code") or "") if root.tag == "Error" else answer
