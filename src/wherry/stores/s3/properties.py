"""What the answer to a HEAD or a GET tells of an object, as an entry.  Called by `store` and `writing`."""

from __future__ import annotations

from wherry.model.entry import Entry, Kind
from wherry.stores.http.metadata import FOLDER, entry_of
from wherry.stores.http.wire import Answer
from wherry.stores.s3.objects import META


def entry(name: bytes, answer: Answer, folder: bool) -> Entry:
    """The object as an entry; here a key that ends in a slash makes a folder, and nothing else does."""
    found = metadata(answer)
    found.pop(FOLDER, None)
    made = entry_of(
        name, size(answer), answer.headers.get("last-modified", ""), answer.headers.get("etag", ""), found
    )
    return made._replace(kind=Kind.FOLDER, size=0) if folder else made


def metadata(answer: Answer) -> dict[str, str]:
    """The object's metadata, keys in lower case."""
    return {key[len(META) :]: value for key, value in answer.headers.items() if key.startswith(META)}


def size(answer: Answer) -> int:
    """How long the object is, of which the answer may hold a part."""
    length = answer.headers.get("content-range", "").rpartition("/")[2] or answer.headers.get(
        "content-length", ""
    )
    return int(length) if length.isdecimal() else 0


def etag(answer: Answer) -> str:
    """Its etag without quotes."""
    return answer.headers.get("etag", "").strip('"')


def is_still(now: Entry, expect: Entry) -> bool:
    """Whether an object is what was seen, as far as that is known.

    The etag of most objects is made of their bytes alone: of two versions that differ in metadata only, metadata
    tells.
    """
    if now.etag != expect.etag:
        return False
    known = (
        (now.modified, expect.modified),
        (now.mode, expect.mode),
        (now.uid, expect.uid),
        (now.gid, expect.gid),
    )
    return all(wanted is None or value == wanted for value, wanted in known)
