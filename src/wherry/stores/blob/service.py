"""One service of a storage account: how a request is made, tried, and what its refusals mean.

The credential is a SAS, added to the query where the request leaves, or a token (`Bearer …`), sent as a header; it
stands in no message, error or log.  What changes something asks the fence before each sending.  As long as nothing goes
wrong a request costs no more than its sending: `Patience` is asked after the first attempt only.  Called by `requests`
and `hierarchy`.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TypeVar

from wherry.model import names
from wherry.model.entry import Entry, Kind
from wherry.model.errors import (
    Conflict,
    Denied,
    Full,
    MetadataTooLarge,
    NotFound,
    StoreError,
    Unsafe,
    Unsupported,
)
from wherry.stores.http.metadata import CHANGED, GROUP, MODE, MODIFIED, OWNER
from wherry.stores.http.patience import Patience, after
from wherry.stores.http.quoting import quoted
from wherry.stores.http.wire import Answer, Lost, Unreached, Wire
from wherry.stores.port import Fence

VERSION = "2024-11-04"
BEARER = "Bearer "

_PLAIN = re.compile(r"[\t -~]*")
_BY_CODE: dict[str, type[StoreError]] = {
    "BlobImmutableDueToPolicy": Denied,
    "BlobImmutableDueToLegalHold": Denied,
    "InvalidMetadata": Unsupported,
    "MetadataTooLarge": MetadataTooLarge,
    "InvalidResourceName": Unsupported,
    "InvalidUri": Unsupported,
    "OutOfRangeInput": Unsupported,
    "RequestBodyTooLarge": Unsupported,
    "RequestUrlTooLong": Unsupported,
    "InsufficientStorage": Full,
}
_BY_STATUS: dict[int, type[StoreError]] = {
    304: Conflict, 401: Denied, 403: Denied, 404: NotFound, 409: Conflict, 412: Conflict, 413: Unsupported,
    414: Unsupported, 507: Full,
}  # fmt: skip

_T = TypeVar("_T")
Settle = Callable[[], _T | None]


class Service:
    """The requests to one container; names of what is in it are raw bytes."""

    def __init__(self, wire: Wire, sas: str, fence: Fence, patience: Patience) -> None:
        if not _PLAIN.fullmatch(sas):
            raise Denied("The credential of the container is malformed.")
        self._wire = wire
        self._fence = fence
        self._patience = patience
        bearer = sas.startswith(BEARER)
        self._sas = "" if bearer else sas.lstrip("?")
        self._base = wire.address.path
        self._rest = f" HTTP/1.1\r\nHost: {wire.address.netloc}\r\nx-ms-version: {VERSION}\r\n"
        if bearer:
            self._rest += f"Authorization: {sas}\r\n"

    def _read(self, method: str, name: bytes | None, query: str = "", headers: str = "") -> Answer:
        head = self._head(method, name, query, headers)
        bodiless = method == "HEAD"
        self._wire.pace.wait()
        answer: Answer = self._patience.persist(lambda: told(self._wire.exchange(head, bodiless=bodiless)))
        return answer

    def _change(self, head: bytes, name: bytes, body: bytes | memoryview, settle: Settle[_T] | None) -> None:
        self._wire.pace.wait()
        self._fence()
        first: Answer | Exception
        try:
            answer = self._wire.exchange(head, body)
            if 200 <= answer.status < 300:
                return
            first = told(answer)
        except (Lost, Unreached) as error:
            first = error

        def send() -> Answer:
            self._wire.pace.wait()
            self._fence()
            return told(self._wire.exchange(head, body))

        outcome = self._patience.persist(after(first, send), settle)
        if isinstance(outcome, Answer):
            checked(outcome, name)

    def close(self) -> None:
        """Hang up."""
        self._wire.close()

    def _query(self, query: str) -> str:
        queries = "&".join(part for part in (query, self._sas) if part)
        return f"?{queries}" if queries else ""

    def _head(
        self, method: str, name: bytes | None, query: str, headers: str, length: int | None = None
    ) -> bytes:
        """The request up to its body; `headers` are whole lines."""
        path = self._base if name is None else f"{self._base}/{quoted(name)}"
        size = "" if length is None else f"Content-Length: {length}\r\n"
        return f"{method} {path}{self._query(query)}{self._rest}{headers}{size}\r\n".encode("ascii")


def condition(etag: str | None) -> str:
    """The header that names what has to be there: this version, or nothing."""
    if etag is None:
        return "If-None-Match: *\r\n"
    if not _PLAIN.fullmatch(etag):
        raise Unsafe("a value that no header can carry")
    return f'If-Match: "{etag}"\r\n'


def lines(metadata: Mapping[str, str]) -> str:
    """The headers of metadata, of which `metadata_of` lets through only what a header can carry."""
    return "".join([f"x-ms-meta-{key}: {value}\r\n" for key, value in metadata.items()])


def lines_of(like: Entry) -> str:
    """The lines of what `metadata_of` makes of a file that has one name and tells all; empty for any other.  Quick."""
    if like[1] is not Kind.FILE or like[8] != 1 or like[13] or None in like[3:8]:
        return ""
    return f"{_access_lines(*like[5:8])}x-ms-meta-{MODIFIED}: {like[3]}\r\nx-ms-meta-{CHANGED}: {like[4]}\r\n"


@lru_cache(maxsize=1024)
def _access_lines(mode: int, owner: int, group: int) -> str:
    return lines({MODE: str(stat.S_IFREG | (mode & 0o7777)), OWNER: str(owner), GROUP: str(group)})


def told(answer: Answer) -> Answer:
    """The answer with the service's word for what is wrong."""
    code = answer.headers.get("x-ms-error-code", "")
    return answer._replace(code=code) if code else answer


def checked(answer: Answer, name: bytes | None) -> Answer:
    """The answer when it is a success, else what it means."""
    if 200 <= answer.status < 300:
        return answer
    made = _BY_CODE.get(answer.code) or _BY_STATUS.get(answer.status, StoreError)
    item = "the container" if name is None else names.escape(name)
    request = answer.headers.get("x-ms-request-id", "")
    raise made(
        f"{item}: the service answers {answer.status} {answer.code}".rstrip() + f" (request {request})"
    )
