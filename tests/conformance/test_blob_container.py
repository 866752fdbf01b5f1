"""A container as others see it, and theirs as we do: Azure's own client is the judge."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from azure.storage.blob import ContainerClient

from tests.azurite import Azurite
from tests.conformance.conftest import PART, QUICK, Case, spec_of
from tests.faulty_wire import FaultyWire, faulty_wire
from wherry.model.entry import Attributes, Entry, Kind
from wherry.model.errors import MetadataTooLarge, Unsupported
from wherry.stores.blob.store import BlobStore
from wherry.stores.port import BeginsParts, Content

Judged = tuple[Case, FaultyWire, ContainerClient]
SOME: Attributes = ((b"system.posix_acl_access", bytes(range(28))), (b"user.a", b"b"))


@pytest.fixture
def judged(azurite: Azurite) -> Iterator[Judged]:
    container = azurite.container("judged")
    host, port = azurite.host.split(":")
    with faulty_wire((host, int(port))) as wire:
        spec = spec_of(azurite, container.container_name)
        spec = replace(spec, location=spec.location.replace(azurite.host, f"127.0.0.1:{wire.port}"))
        case = Case(lambda fence: BlobStore(spec, fence, QUICK, part=PART, page=4))
        assert case.store.traits.folders == "markers"
        yield case, wire, container
        for store in case.opened:
            store.close()


def blob_store(case: Case) -> BlobStore:
    assert isinstance(case.store, BlobStore)
    return case.store


def test_what_is_written_is_in_the_keys_of_the_reference(judged: Judged) -> None:
    case, _, container = judged
    content = case.content(b"data", mode=0o640, modified=5, attributes=SOME)
    like = content.entry._replace(uid=7, gid=8, changed=9, links=2, inode=10, device=11)
    store = blob_store(case)

    store.put(b"file", content, like, None)
    store.make_symlink(b"link", b"../\xff", Entry(b"", Kind.LINK, modified=5, mode=0o777), None)
    store.describe(b"folder", Entry(b"", Kind.FOLDER, modified=5, mode=0o755), None)

    file, link, folder = (
        container.get_blob_client(name).get_blob_properties() for name in ("file", "link", "folder")
    )
    attributes = file.metadata.pop("wherry_xattrs")
    assert file.metadata == {
        "permissions": "33184", "modtime": "5", "posix_owner": "7", "posix_group": "8", "posix_ctime": "9",
        "posix_nlink": "2", "posix_ino": "10", "posix_dev": "11",
    }  # fmt: skip
    assert attributes
    assert link.metadata == {"permissions": "41471", "modtime": "5", "is_symlink": "true"}
    assert container.download_blob("link").readall() == b"../\xff"
    assert folder.metadata == {"permissions": "16877", "modtime": "5", "hdi_isfolder": "true"}


def test_what_others_wrote_in_these_keys_is_read(judged: Judged) -> None:
    case, _, container = judged
    for name, metadata, data in (
        ("link", {"is_symlink": "true", "permissions": "41471"}, b"elsewhere"),
        ("pipe", {"is_fifo": "true"}, b""),
        ("one", {"posix_nlink": "2", "posix_ino": "5", "posix_dev": "6", "modtime": "7"}, b"data"),
        ("two", {"posix_nlink": "2", "posix_ino": "5", "posix_dev": "6", "modtime": "7"}, b"data"),
        ("plain", {"somebody": "else"}, b"x"),
    ):
        container.upload_blob(name, data, metadata=metadata)

    found = {entry.name: entry for entry in case.store.list(b"")}

    assert {name: entry.kind for name, entry in found.items()} == {
        b"link": Kind.LINK, b"pipe": Kind.SPECIAL, b"one": Kind.FILE, b"two": Kind.FILE, b"plain": Kind.FILE
    }  # fmt: skip
    assert blob_store(case).read_link(b"link") == b"elsewhere"
    with pytest.raises(Unsupported):
        case.store.open(b"pipe")
    one, two = found[b"one"], found[b"two"]
    assert one.links == 2
    assert (one.device, one.inode) == (two.device, two.inode)
    assert found[b"plain"].links == 1


def test_a_change_of_metadata_keeps_what_is_somebody_elses(judged: Judged) -> None:
    case, _, container = judged
    content = case.content(b"data", attributes=SOME)
    store = blob_store(case)
    store.put(b"file", content, content.entry._replace(extra=(("somebody", "else"),)), None)
    seen = case.seen(b"file")

    store.describe(b"file", content.entry._replace(mode=0o600), seen)

    metadata = container.get_blob_client("file").get_blob_properties().metadata
    assert metadata["somebody"] == "else"
    assert metadata["permissions"] == "33152"
    assert store.attributes(b"file") == SOME


def test_metadata_that_does_not_fit_keeps_the_whole_item_out(judged: Judged) -> None:
    case, wire, container = judged
    huge: Attributes = tuple(
        (b"user.%d" % number, bytes([number, 7]) + b"%d" % number**99) for number in range(99)
    )
    store = blob_store(case)
    small, large = case.content(b"x", attributes=huge), case.content(b"x" * 5 * PART, attributes=huge)
    case.put(b"seen", b"x")
    before = wire.count("^PUT")

    for content in (small, large):
        with pytest.raises(MetadataTooLarge) as trouble:
            store.put(b"file", content, content.entry, None)
        assert trouble.value.code == "AZSM2027"
    with pytest.raises(MetadataTooLarge):
        store.describe(b"seen", small.entry, case.seen(b"seen"), huge)
    assert isinstance(store, BeginsParts)
    with pytest.raises(MetadataTooLarge):
        store.begin(b"file", ["part"], large.entry, huge)

    assert wire.count("^PUT") == before
    assert [blob.name for blob in container.list_blobs()] == ["seen"]


def test_a_small_file_is_read_by_one_request(judged: Judged) -> None:
    case, wire, _ = judged
    case.put(b"file", b"0123456789")
    asked = len(wire.seen)

    reader = case.store.open(b"file")
    content = Content(reader, reader.entry())
    asked_to_look = len(wire.seen) - asked
    assert bytes(content.whole()) == b"0123456789"

    assert asked_to_look == 2  # to open it, and the question of this test for its entry
    assert len(wire.seen) - asked == 2


def test_a_file_that_is_another_one_by_now_is_not_taken_for_the_one_that_was_seen(judged: Judged) -> None:
    case, _, _ = judged
    seen = case.put(b"file", b"before")
    case.put(b"file", b"behind", seen)
    reader = case.store.open(b"file")

    assert getattr(reader, "whole")(seen, True) is None  # noqa: B009 - an ability that not every reader has


def test_the_next_page_is_asked_for_when_it_is_needed(judged: Judged) -> None:
    case, wire, _ = judged
    for number in range(10):
        case.put(b"%02d" % number, b"")
    asked = wire.count("comp=list")

    listing = iter(case.store.list(b""))
    for _ in range(4):
        next(listing)
    assert wire.count("comp=list") == asked + 1
    next(listing)
    assert wire.count("comp=list") == asked + 2
    assert len(list(listing)) == 5
    assert wire.count("comp=list") == asked + 3


@pytest.mark.parametrize("page", [1, 2, 3, 100])
def test_a_folder_and_its_marker_are_one_entry_whatever_lies_between_them(judged: Judged, page: int) -> None:
    case, _, _ = judged
    store = blob_store(case)
    store._page = page
    names = [b"a", b"a!", b"a-b", b"a.c", "a\u00e9".encode(), b"b"]
    for name in names:
        store.describe(name, Entry(b"", Kind.FOLDER, modified=5, mode=0o700), None)
        if name != b"a!":
            case.put(name + b"/file", b"")
    case.put(b"unmarked/file", b"")

    found = [(entry.name, entry.kind, entry.sealed) for entry in store.list(b"")]

    assert sorted(found) == sorted(
        [(name, Kind.FOLDER, True) for name in names] + [(b"unmarked", Kind.FOLDER, False)]
    )
