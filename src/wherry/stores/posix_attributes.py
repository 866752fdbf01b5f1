"""Extended attributes of files and folders, POSIX ACLs among them: read, written, taken away.

Kept are `user.*` and the two ACLs, and when this process has the rights for them `security.capability` and
`trusted.*`; never a label such as `security.selinux`, which is of one machine.  Called by `posix` and its parts.
"""

from __future__ import annotations

import errno
import os
from functools import cache

from wherry.model import names
from wherry.model.entry import Attributes
from wherry.model.errors import Unsupported
from wherry.stores.posix_fd import may

_ACLS = (b"system.posix_acl_access", b"system.posix_acl_default")
_SETFCAP, _SYS_ADMIN = 31, 21
# What the system says of an attribute that this file system has no room for, or no idea of.
_NO_ROOM = (errno.ENOSPC, errno.E2BIG, errno.ERANGE, errno.EOPNOTSUPP, errno.EINVAL)


class Unheld(Unsupported):
    """The target cannot hold an attribute of the item."""

    code = "AZSM2027"


def holds_attributes(root: int) -> bool:
    """Whether the file system of this folder has room for attributes of everybody's."""
    try:
        os.getxattr(root, b"user.wherry")
    except OSError as error:
        return error.errno == errno.ENODATA
    return True


@cache
def _kept() -> tuple[bytes, ...]:
    """How the names begin of all that this process may read and write."""
    more = (b"security.capability",) if may(_SETFCAP) else ()
    return (b"user.", *_ACLS, *more, *((b"trusted.",) if may(_SYS_ADMIN) else ()))


def any_kept(listed: list[str]) -> bool:
    """Whether any of these attributes is one that a copy has: a label, which all files may have, is none."""
    kept = _kept()
    return any(os.fsencode(name).startswith(kept) for name in listed)


def attribute_names(item: int | bytes) -> list[bytes]:
    """The names of the attributes that are kept; of a descriptor, or of a path below `/proc/self/fd`."""
    try:
        listed = os.listxattr(item)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return []
        raise
    if not listed:
        return []
    kept = _kept()
    return [name for name in map(os.fsencode, listed) if name.startswith(kept)]


def attributes_of(item: int | bytes) -> Attributes:
    """All attributes that are kept, by name.  Raises OSError."""
    found = []
    for name in sorted(attribute_names(item)):
        try:
            found.append((name, os.getxattr(item, name)))
        except OSError as error:
            # Taken away since they were listed.
            if error.errno != errno.ENODATA:
                raise
    return tuple(found)


def set_mode_and_attributes(item: int | bytes, mode: int, wanted: Attributes) -> None:
    """Make these all the attributes that it has.  Raises OSError, `Unheld`.

    The mode comes in between: attributes need the right to write, which it may take away; and it changes an ACL.
    """
    present = dict(attributes_of(item))
    acls = {name: value for name, value in wanted if name in _ACLS}
    others = {name: value for name, value in wanted if name not in _ACLS and name.startswith(_kept())}
    for name in present:
        if name not in others and name not in acls:
            _changed(item, name, None)
    for name, value in others.items():
        if present.get(name) != value:
            _changed(item, name, value)
    os.chmod(item, mode)
    for name, value in acls.items():
        _changed(item, name, value)


def _changed(item: int | bytes, name: bytes, value: bytes | None) -> None:
    """Set or remove one attribute; of a file of ours that we may not write, too."""
    try:
        try:
            _change(item, name, value)
        except PermissionError:
            os.chmod(item, os.stat(item).st_mode & 0o7777 | 0o200)
            _change(item, name, value)
    except OSError as error:
        full = error.errno == errno.ENOSPC and os.statvfs(item).f_bavail == 0
        if full or error.errno not in _NO_ROOM:
            raise
        raise Unheld(f"attribute {names.escape(name)}: {os.strerror(error.errno)}") from error


def _change(item: int | bytes, name: bytes, value: bytes | None) -> None:
    if value is not None:
        os.setxattr(item, name, value)
        return
    try:
        os.removexattr(item, name)
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
