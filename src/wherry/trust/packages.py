"""What the publisher of an agent's program signs, and how an agent comes to believe it.

The owner of a machine names the publishers whose programs may run there; the control plane only passes packages on
and can make none.  The signed manifest binds the version to the bytes and says what they unpack to, so that nothing
is unpacked, and hardly anything fetched, before the signature holds.  Called by `agent.packages`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields

from wherry.model.errors import UsageError
from wherry.model.versions import Version
from wherry.trust import signed
from wherry.trust.keys import KeyTrouble, PrivateKey, PublicKey
from wherry.trust.signed import Claims, Header, Untrusted

MAX_MANIFEST = signed.MAX_LENGTH
MAX_SIZE = 1 << 30
MAX_FILES = 100_000
_TYPE = "wherry-package+jwt"
_NAME = re.compile(r"wherry-agent-([0-9.]+)\.wherry", re.ASCII)
_DIGEST = 64


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a package is: its version, the bytes and SHA-256 of its archive, and what that unpacks to.

    `python` is the `major.minor` that its compiled parts are made for, `files` and `unpacked` (bytes) the most that
    may come out of it.
    """

    version: str
    python: str
    sha256: str
    size: int
    files: int
    unpacked: int


def file_name(version: str) -> str:
    """What the package of a version is called."""
    return f"wherry-agent-{version}.wherry"


def version_of(name: str) -> Version | None:
    """The version in the name of a file, None when it is not one of a package."""
    found = _NAME.fullmatch(name)
    try:
        return Version.parse(found[1]) if found else None
    except UsageError:
        return None


def sign(manifest: Manifest, key: PrivateKey) -> str:
    """The manifest in the form that agents verify."""
    return signed.write(asdict(manifest), key, _TYPE, {"kid": key.thumbprint})


def verify(text: str, publishers: Iterable[PublicKey]) -> Manifest:
    """The manifest in `text`, signed by one of `publishers`; raises `Untrusted`."""
    known = {key.thumbprint: key for key in publishers}

    def find(header: Header) -> PublicKey | None:
        return known.get(str(header.get("kid")))

    _, claims = signed.read(text, _TYPE, find)
    if set(claims) != {field.name for field in fields(Manifest)}:
        raise Untrusted("the manifest has other members than it should")
    manifest = Manifest(
        version=_version(claims),
        python=signed.text_claim(claims, "python"),
        sha256=signed.text_claim(claims, "sha256"),
        size=_number(claims, "size", MAX_SIZE),
        files=_number(claims, "files", MAX_FILES),
        unpacked=_number(claims, "unpacked", MAX_SIZE),
    )
    if len(manifest.sha256) != _DIGEST:
        raise Untrusted("sha256 is not a digest")
    return manifest


def publishers_of(documents: Sequence[bytes]) -> tuple[PublicKey, ...]:
    """Public keys from the files that `write_publisher` makes; raises `KeyTrouble`."""
    return tuple(_publisher(document) for document in documents)


def write_publisher(key: PublicKey) -> bytes:
    """The file by which the owner of a machine names a publisher: a JSON Web Key."""
    return json.dumps(key.jwk(), indent=2).encode() + b"\n"


def _publisher(document: bytes) -> PublicKey:
    try:
        found = json.loads(document)
    except (ValueError, RecursionError) as broken:
        raise KeyTrouble("The publisher's key is not JSON: name the public file.") from broken
    if not isinstance(found, dict):
        raise KeyTrouble("The publisher's key is not a JSON Web Key.")
    return PublicKey.from_jwk(found)


def _version(claims: Claims) -> str:
    try:
        return str(Version.parse(signed.text_claim(claims, "version")))
    except UsageError as strange:
        raise Untrusted("version is none") from strange


def _number(claims: Claims, name: str, most: int) -> int:
    value = claims.get(name)
    if type(value) is not int or not 0 < value <= most:
        raise Untrusted(f"{name} is missing or out of bounds")
    return value
