"""What a hierarchical account can do beyond Blob: real folders and access control, by the Data Lake service.

The same container under the account's other host name; the requests are those of *Path - Create*, *Path - Update*,
*Path - Delete* and *Filesystem - Get Properties*.  No emulator has them, so the tests hold them against a scripted
server.  Called by `store` where the account says that its namespace is hierarchical.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from typing import TypeVar

from wherry.model.entry import Attributes
from wherry.stores.blob.service import Service, Settle, condition
from wherry.stores.http.metadata import FOLDER
from wherry.stores.http.wire import Address

_ACLS = {b"system.posix_acl_access": "", b"system.posix_acl_default": "default:"}
_ACL_VERSION = 2
# The entries of an ACL that name nobody; those that do name ids of another world stay in the metadata alone.
_CLASSES = {0x01: "user::", 0x04: "group::", 0x10: "mask::", 0x20: "other::"}

_T = TypeVar("_T")


def address_of(blob: Address) -> Address:
    """Where the Data Lake service of the same account is; the same host where no other is known."""
    return blob._replace(host=blob.host.replace(".blob.", ".dfs.", 1))


class Hierarchy(Service):
    """The calls on one container as a file system."""

    def is_hierarchical(self) -> bool:
        """Whether the service calls the namespace hierarchical; False when it does not answer the question."""
        answer = self._read("HEAD", None, "resource=filesystem")
        return answer.headers.get("x-ms-namespace-enabled", "").lower() == "true"

    def make_folder(self, name: bytes, metadata: Mapping[str, str], settle: Settle[_T]) -> None:
        """Path - Create: a folder that must not be there yet."""
        head = self._head("PUT", name, "resource=directory", condition(None) + _properties(metadata), 0)
        self._change(head, name, b"", settle)

    def set_metadata(self, name: bytes, metadata: Mapping[str, str], etag: str, settle: Settle[_T]) -> None:
        """Path - Update: all metadata of a folder."""
        headers = condition(etag) + _properties(metadata)
        head = self._head("PATCH", name, "action=setProperties", headers, 0)
        self._change(head, name, b"", settle)

    def set_access(self, name: bytes, access: str) -> None:
        """Path - Update: permissions or ACL, as `access` makes the header; to send it twice does no harm."""
        self._change(self._head("PATCH", name, "action=setAccessControl", access, 0), name, b"", None)

    def remove_folder(self, name: bytes, etag: str, settle: Settle[_T]) -> None:
        """Path - Delete: an empty folder."""
        self._change(self._head("DELETE", name, "recursive=false", condition(etag)), name, b"", settle)


def access(mode: int, attributes: Attributes) -> str:
    """The header that gives an item this mode, and what its POSIX ACLs say of owner, group and others.

    The service has no bits that lend an owner's rights; a text of an ACL has none for the sticky bit either.
    """
    texts = [text for name, value in attributes if name in _ACLS for text in _entries(_ACLS[name], value)]
    if not texts:
        return f"x-ms-permissions: {mode & 0o1777:04o}\r\n"
    if not any(text.startswith("user::") for text in texts):
        texts = [
            f"user::{_letters(mode >> 6)}",
            f"group::{_letters(mode >> 3)}",
            f"other::{_letters(mode)}",
            *texts,
        ]
    return f"x-ms-acl: {','.join(texts)}\r\n"


def permissions(text: str) -> int | None:
    """The nine bits of `rwxr-x--T`, as listings tell them; None when it is none."""
    if len(text) < 9 or any(letter not in allowed for letter, allowed in zip(text, _ALLOWED, strict=False)):
        return None
    return sum(1 << (8 - at) for at in range(9) if text[at] not in "-T")


_ALLOWED = ("r-", "w-", "x-", "r-", "w-", "x-", "r-", "w-", "x-tT")


def _entries(scope: str, acl: bytes) -> list[str]:
    if len(acl) < 4 or len(acl) % 8 != 4 or struct.unpack_from("<I", acl)[0] != _ACL_VERSION:
        return []
    return [
        scope + _CLASSES[tag] + _letters(bits)
        for tag, bits, _ in struct.iter_unpack("<HHI", acl[4:])
        if tag in _CLASSES
    ]


def _letters(bits: int) -> str:
    return "".join(letter if bits & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1)))


def _properties(metadata: Mapping[str, str]) -> str:
    """The header of metadata, without the mark of a folder: the service knows what is one."""
    coded = {
        key: base64.b64encode(value.encode()).decode() for key, value in metadata.items() if key != FOLDER
    }
    pairs = ",".join(f"{key}={value}" for key, value in coded.items())
    return f"x-ms-properties: {pairs}\r\n" if pairs else ""
