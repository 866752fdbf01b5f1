"""Which open upload of the service belongs to which version of a file, so that any agent goes on with it.

The service tells key and id of its open uploads, nothing of their metadata.  So each upload of ours has a *note*
beside it: another upload, without parts and never completed, whose key says for which upload it stands, which
version its parts are of and what its metadata is.  Open uploads are in no listing of objects, and a lifecycle rule
that ends them ends notes too.  An upload without a note is somebody else's and left alone; one of ours of another
version, or with other metadata, is given up as soon as the next version begins.  Where notes cannot be listed, a
file is begun anew.  Called by `store`.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from wherry.model import names
from wherry.model.errors import Denied, NotFound, StoreError, Unavailable, Unsupported
from wherry.stores.s3.listing import Part
from wherry.stores.s3.multipart import Begun, Multipart

_NOTES = b".wherry-uploads/"
UNKNOWN = "0" * 16


def digest_of(metadata: Mapping[str, str] | None) -> str:
    """A word for this metadata; `UNKNOWN` when it is not known yet."""
    if metadata is None:
        return UNKNOWN
    text = "\n".join(f"{key.lower()}:{value}" for key, value in sorted(metadata.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def stem_and_number(part: str) -> tuple[str, int]:
    """The version that a part is of, and its number in the upload."""
    stem, dash, index = part.rpartition("-")
    return (stem, int(index) + 1) if dash and index.isdecimal() else (part, 1)


@dataclass
class Upload:
    """An open upload and what is known of it; `digest` says which metadata its object will have."""

    begun: Begun
    stem: str
    digest: str
    note: tuple[bytes, str] | None = None
    parts: dict[int, Part] = field(default_factory=dict)


class _Slot:
    """The upload of one key in this process; whoever finds it empty fills it, the others wait."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.upload: Upload | None = None


class Uploads:
    """The open uploads of one bucket, by keys."""

    def __init__(self, calls: Multipart, prefix: bytes) -> None:
        self._calls = calls
        self._prefix = prefix
        self._slots: dict[bytes, _Slot] = {}
        self._lock = threading.Lock()

    def begin(self, key: bytes, stem: str, metadata: Mapping[str, str]) -> Upload:
        """The upload of this version with this metadata, an earlier one if there is one."""
        slot = self._slot(key)
        with slot.lock:
            digest = digest_of(metadata)
            if slot.upload is None or (slot.upload.stem, slot.upload.digest) != (stem, digest):
                slot.upload = self._resumed(key, stem, digest) or self._created(key, stem, metadata)
            return slot.upload

    def of(self, key: bytes, stem: str) -> Upload:
        """The upload of this version, whatever its metadata; begun without any when there is none."""
        slot = self._slot(key)
        with slot.lock:
            if slot.upload is None or slot.upload.stem != stem:
                slot.upload = next((one for one in self._found(key) if one.stem == stem), None)
                slot.upload = self._filled(key, slot.upload) or self._created(key, stem, None)
            return slot.upload

    def staged(self, key: bytes) -> dict[str, int]:
        """Sizes of the parts that are there, by their ids."""
        slot = self._slot(key)
        with slot.lock:
            if slot.upload is None:
                slot.upload = self._filled(key, next(iter(self._found(key)), None))
            if (upload := slot.upload) is None:
                return {}
            return {f"{upload.stem}-{number - 1:06d}": part.size for number, part in upload.parts.items()}

    def stage(self, key: bytes, part: str, data: bytes | memoryview) -> None:
        """Send one part."""
        stem, number = stem_and_number(part)
        upload = self.of(key, stem)
        try:
            upload.parts[number] = self._calls.send(key, upload.begun, number, data)
        except NotFound as error:
            self.forget(key)
            raise Unavailable(f"{names.escape(key)}: its upload was ended by somebody") from error

    def chosen(self, key: bytes, parts: Iterable[str]) -> tuple[Upload, list[tuple[int, Part]]]:
        """The upload that has these parts, and what completing it must name.  Raises `StoreError` when one lacks."""
        numbers = [stem_and_number(part) for part in parts]
        upload = self.of(key, numbers[0][0])
        if any(number not in upload.parts for _, number in numbers):
            # Others may have sent them.
            upload.parts |= self._calls.parts(key, upload.begun) or {}
        if any(number not in upload.parts for _, number in numbers):
            raise StoreError(f"{names.escape(key)}: not all of its parts are there")
        return upload, [(number, upload.parts[number]) for _, number in numbers]

    def ended(self, key: bytes, upload: Upload) -> None:
        """Its object is there: forget it, with its note."""
        self.forget(key)
        if upload.note:
            self._calls.abort(*upload.note)

    def forget_all(self) -> None:
        """What was uploaded in part is looked for again."""
        with self._lock:
            self._slots.clear()

    def forget(self, key: bytes) -> None:
        """What this process knows of the upload of a key."""
        with self._lock:
            self._slots.pop(key, None)

    # ------------------------------------------------------------ finding and making

    def _slot(self, key: bytes) -> _Slot:
        with self._lock:
            return self._slots.setdefault(key, _Slot())

    def _resumed(self, key: bytes, stem: str, digest: str) -> Upload | None:
        """An earlier upload of this very version; those of others that are ours are given up."""
        chosen = None
        for upload in self._found(key, f"{stem}-{digest}"):
            if chosen is None and (upload.stem, upload.digest) == (stem, digest):
                chosen = self._filled(key, upload)
            else:
                self._give_up(key, upload)
        return chosen

    def _filled(self, key: bytes, upload: Upload | None) -> Upload | None:
        """With the parts that the service has."""
        parts = self._calls.parts(key, upload.begun) if upload else None
        if upload is None or parts is None:
            return None
        upload.parts = parts
        return upload

    def _created(self, key: bytes, stem: str, metadata: Mapping[str, str] | None) -> Upload:
        begun = self._calls.create(key, metadata or {})
        digest = digest_of(metadata)
        # Whether parts have CRC-64 is settled when an upload begins, its parts must all be alike.
        kind = b"c" if begun.crc else b"m"
        note = self._note(key, begun.id) + b"-".join([stem.encode(), digest.encode(), kind])
        try:
            kept = (note, self._calls.create(note, {}).id)
        except (Denied, Unsupported):
            return Upload(begun, stem, digest)
        return Upload(begun, stem, digest, kept)

    def _found(self, key: bytes, version: str = "") -> list[Upload]:
        """The open uploads of this key that are ours; `version` as notes have it, if it is known."""
        try:
            ids = [upload for name, upload in self._calls.open(key) if name == key]
            notes = [(upload, self._noted(self._note(key, upload), version)) for upload in ids]
        except Denied:
            return []
        found = []
        for upload, note in notes:
            words = note[0].rpartition(b"/")[2].decode("ascii", "replace").split("-") if note else []
            if note and len(words) == 4:
                found.append(Upload(Begun(upload, words[3] == "c"), words[1], words[2], note))
        return found

    def _noted(self, prefix: bytes, version: str) -> tuple[bytes, str] | None:
        """The note whose key begins so; some services (MinIO) find uploads by their whole keys only."""
        whole = [f"{version}-{kind}".encode() for kind in "cm"] if version else []
        for rest in (b"", *whole):
            for note in self._calls.open(prefix + rest):
                return note
        return None

    def _note(self, key: bytes, upload: str) -> bytes:
        """How the keys of notes for this upload begin."""
        return (
            self._prefix
            + _NOTES
            + hashlib.sha256(key + b"\0" + upload.encode()).hexdigest()[:32].encode()
            + b"-"
        )

    def _give_up(self, key: bytes, upload: Upload) -> None:
        self._calls.abort(key, upload.begun.id)
        if upload.note:
            self._calls.abort(*upload.note)
