"""Every write names what it expects; where the service does not keep to that, somebody looks just before.

Older services refuse conditional writes, or worse, overlook the condition.  So the first write is preceded by one
that must not be carried out: an empty object in place of one that is not there.  A service that writes it all the
same (it is taken away at once) gets no conditions: the object is looked at right before each write, which leaves a
moment in which somebody else's write goes unseen.  Called by `store` and `uploads`.
"""

from __future__ import annotations

import secrets
import threading

from wherry.model import names
from wherry.model.errors import Conflict
from wherry.stores.http.wire import Answer
from wherry.stores.s3.objects import Objects, condition
from wherry.stores.s3.service import Service

_PROBE = b".wherry-probe-"
_NOT_THIS = {"if-match": '"00000000000000000000000000000000"'}


class Conditions:
    """What this service does with conditions of writes, found out once."""

    def __init__(self, service: Service, objects: Objects) -> None:
        self._service = service
        self._objects = objects
        self._lock = threading.Lock()
        self._kept: bool | None = None

    @property
    def are_kept(self) -> bool:
        """Whether it is known that the service keeps to them."""
        return self._kept is True

    def before(self, key: bytes, etag: str | None) -> dict[str, str]:
        """The header for a write that expects this version, or nothing, at `key`.

        Raises `Conflict` when the service has to be asked and something else is there.
        """
        if self._kept is None:
            self._find_out()
        if self._kept:
            return condition(etag)
        self.look(key, etag)
        return {}

    def look(self, key: bytes, etag: str | None) -> None:
        """Raise `Conflict` unless this version, or nothing, is there now."""
        now = self._objects.head(key)
        found = None if now is None else now.headers.get("etag", "").strip('"')
        if found != etag:
            raise Conflict(f"{names.escape(key)}: it is not what was seen there")

    def _find_out(self) -> None:
        with self._lock:
            if self._kept is not None:
                return
            answer = self._forbidden()
            if isinstance(answer, Answer) and 200 <= answer.status < 300:
                self._kept = False
            else:
                # Refused because of the condition, or for a reason that the write itself will meet.
                self._kept = not (isinstance(answer, Answer) and answer.status == 501)

    def check_rights(self) -> None:
        """Raise what the service says to any write."""
        answer = self._forbidden()
        if not isinstance(answer, Answer) or answer.status in (412, 501):
            return
        if not (answer.status == 404 and answer.code in ("NoSuchKey", "")):
            self._service.checked(answer, None)

    def _forbidden(self) -> Answer | bool:
        """The answer to a write that its condition forbids; what it wrote all the same is gone."""
        key = self._service.place.prefix + _PROBE + secrets.token_hex(8).encode()
        answer = self._objects.put(key, b"", {}, _NOT_THIS, None)
        if isinstance(answer, Answer) and 200 <= answer.status < 300:
            self._objects.delete(key, {}, None)
        return answer
