"""Accounts with real folders: found out, folders made and removed as such, permissions given to the service."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.lake import Lake, lake, letters
from wherry.model.entry import Attributes, Entry, Kind
from wherry.model.errors import Conflict, NotFound, StoreError
from wherry.stores.blob import hierarchy
from wherry.stores.blob.store import BlobStore
from wherry.stores.http.patience import Patience
from wherry.stores.http.wire import Address
from wherry.stores.memory import MemoryStore
from wherry.stores.port import Content, StoreSpec

QUICK = Patience(attempts=2, seconds=5, first_wait=0.001)
LIKE = Entry(b"", Kind.FOLDER, modified=1_400_000_000_000_000_009, mode=0o2750, uid=7, gid=8)
SAS = "sv=2024-11-04&sr=c&sp=racwdl&sig=c2lnbmF0dXJl"


@pytest.fixture
def account() -> Iterator[Lake]:
    with lake() as made:
        yield made


def store_of(account: Lake, sas: str = SAS, page: int = 5000) -> closing[BlobStore]:
    return closing(BlobStore(StoreSpec("blob", account.url, secret=sas), patience=QUICK, part=64, page=page))


def content(data: bytes, mode: int = 0o640) -> Content:
    source = MemoryStore()
    source.seed(b"file", data, mode=mode, modified=5)
    reader = source.open(b"file")
    return Content(reader, reader.entry())


def put(store: BlobStore, path: bytes, data: bytes, mode: int = 0o640) -> None:
    made = content(data, mode)
    store.put(path, made, made.entry, None)


# ---------------------------------------------------------------- what the account is


@pytest.mark.parametrize(
    ("tells", "namespace", "folders"),
    [
        ("true", None, "real"),
        ("false", "true", "markers"),
        (None, "true", "real"),
        (None, "false", "markers"),
        (None, None, "markers"),
    ],
)
def test_what_the_account_is_is_asked_once(tells: str | None, namespace: str | None, folders: str) -> None:
    with lake(tells=tells, namespace=namespace) as account, store_of(account) as store:
        assert store.traits.folders == folders
        assert store.traits.folders == folders

    assert len(account.sent) == (1 if tells else 2)
    assert account.seen("HEAD", restype="account", comp="properties")
    assert bool(account.seen("HEAD", resource="filesystem")) == (tells is None)


def test_a_namespace_that_nobody_tells_of_is_flat() -> None:
    with lake(tells=None) as account, store_of(account) as store:
        account.namespace = "perhaps"
        assert store.traits.folders == "markers"


def test_the_other_service_has_the_other_host_name() -> None:
    blob = Address.parse("https://acc.blob.core.example.test/c")

    assert hierarchy.address_of(blob) == Address.parse("https://acc.dfs.core.example.test/c")
    assert hierarchy.address_of(Address.parse("http://127.0.0.1:5/a/c")).host == "127.0.0.1"


def test_fewer_levels_fit(account: Lake) -> None:
    with store_of(account) as store:
        rules = store.traits.holds.names
        assert rules.problem(b"/".join([b"x"] * 61)) is None
        assert rules.problem(b"/".join([b"x"] * 62)) == "AZSM2025"


# ---------------------------------------------------------------- folders


def test_a_folder_is_made_unfinished_and_then_described(account: Lake) -> None:
    with store_of(account) as store:
        store.make_folder(b"folder")
        store.make_folder(b"folder")
        put(store, b"folder/file", b"data")
        unfinished = store.stat(b"folder")
        assert unfinished is not None
        assert (unfinished.kind, unfinished.sealed) == (Kind.FOLDER, False)

        store.describe(b"folder", LIKE, unfinished, ((b"user.a", b"b"),))

        done = store.stat(b"folder")
        assert done is not None
        assert done.sealed
        assert (done.mode, done.modified, done.uid, done.gid) == (0o2750, LIKE.modified, 7, 8)
        assert store.attributes(b"folder") == ((b"user.a", b"b"),)
        assert [entry._replace(name=b"folder") for entry in store.list(b"")] == [done]
    made = account.seen("PUT", resource="directory")[0]
    assert made.headers["if-none-match"] == "*"
    changed = account.seen("PATCH", action="setProperties")[0]
    assert changed.headers["if-match"] == f'"{unfinished.etag}"'
    assert "hdi_isfolder" not in account.nodes[b"folder"].metadata


def test_a_folder_may_be_made_with_all_that_it_has(account: Lake) -> None:
    with store_of(account) as store:
        store.describe(b"folder", LIKE, None)
        with pytest.raises(Conflict):
            store.describe(b"folder", LIKE, None)

        found = store.stat(b"folder")

    assert found is not None
    assert (found.sealed, found.mode) == (True, 0o2750)


def test_a_file_is_no_folder(account: Lake) -> None:
    with store_of(account) as store:
        put(store, b"name", b"data")
        with pytest.raises(Conflict):
            store.make_folder(b"name")
        with pytest.raises(StoreError):
            put(store, b"name/below", b"data")
        store.make_folder(b"folder")
        with pytest.raises(Conflict):
            put(store, b"folder", b"data")


def test_only_an_empty_folder_that_was_seen_is_removed(account: Lake) -> None:
    with store_of(account) as store:
        store.make_folder(b"folder")
        put(store, b"folder/file", b"data")
        seen, inside = store.stat(b"folder"), store.stat(b"folder/file")
        assert seen is not None
        assert inside is not None
        with pytest.raises(Conflict):
            store.remove(b"folder", seen)
        store.remove(b"folder/file", inside)
        with pytest.raises(Conflict):
            store.remove(b"folder", seen._replace(etag="0xOTHER"))

        store.remove(b"folder", seen)

        assert store.stat(b"folder") is None
        with pytest.raises(NotFound):
            store.remove(b"folder", seen)
    assert {one.path for one in account.seen("DELETE", recursive="false")} == {b"folder"}
    assert not account.seen("DELETE", recursive="true")
    assert not any("x-ms-rename-source" in one.headers for one in account.sent)


def test_folders_are_listed_with_their_metadata_over_all_pages(account: Lake) -> None:
    with store_of(account, page=2) as store:
        for number in range(3):
            store.describe(b"folder-%d" % number, LIKE, None)
            put(store, b"file-%d" % number, b"x")

        found = {entry.name: (entry.kind, entry.mode) for entry in store.list(b"")}

    assert found == {
        **{b"folder-%d" % number: (Kind.FOLDER, 0o2750) for number in range(3)},
        **{b"file-%d" % number: (Kind.FILE, 0o640) for number in range(3)},
    }


# ---------------------------------------------------------------- permissions

NOBODY = 0xFFFFFFFF


def acl(*rows: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *row) for row in rows)


def test_permissions_are_given_where_the_credential_may(account: Lake) -> None:
    with store_of(account, SAS.replace("racwdl", "racwdlp")) as store:
        put(store, b"small", b"data", 0o4751)
        put(store, b"large", b"data" * 100, 0o604)
        store.make_folder(b"folder")
        store.describe(b"folder", LIKE._replace(mode=0o1777), store.stat(b"folder"))
        store.make_symlink(b"link", b"small", LIKE._replace(mode=0o777), None)
        modes = {entry.name: entry.mode for entry in store.list(b"")}

    assert {path: account.nodes[path].permissions for path in account.nodes if path != b"link"} == {
        b"small": "rwxr-x--x", b"large": "rw----r--", b"folder": "rwxrwxrwt"
    }  # fmt: skip
    assert modes == {b"small": 0o4751, b"large": 0o604, b"folder": 0o1777, b"link": 0o777}


def test_without_that_right_nobody_asks_for_it(account: Lake) -> None:
    with store_of(account) as store:
        put(store, b"file", b"data", 0o604)
        found = store.stat(b"file")
        assert found is not None
        assert found.mode == 0o604
        assert next(iter(store.list(b""))).mode == 0o604
    assert not account.seen("PATCH")


def test_permissions_that_were_not_given_are_a_difference(account: Lake) -> None:
    """An agent was killed between the file and its permissions."""
    with store_of(account, SAS.replace("racwdl", "p")) as store:
        put(store, b"file", b"data", 0o4604)
        account.nodes[b"file"].permissions = "rwxr-x---"

        found = store.stat(b"file")
        listed = next(iter(store.list(b"")))

    assert found == listed
    assert found.mode == 0o4750


def test_entries_of_an_acl_that_name_nobody_reach_the_service() -> None:
    access: Attributes = (
        (
            b"system.posix_acl_access",
            acl((1, 6, NOBODY), (2, 5, 1000), (4, 4, NOBODY), (16, 5, NOBODY), (32, 0, NOBODY)),
        ),
    )
    default: Attributes = (
        (b"system.posix_acl_default", acl((1, 7, NOBODY), (4, 5, NOBODY), (32, 0, NOBODY))),
    )

    assert hierarchy.access(0o650, ()) == "x-ms-permissions: 0650\r\n"
    assert hierarchy.access(0o6650, ((b"user.a", b"b"),)) == "x-ms-permissions: 0650\r\n"
    assert hierarchy.access(0o650, access) == "x-ms-acl: user::rw-,group::r--,mask::r-x,other::---\r\n"
    assert hierarchy.access(0o755, default) == (
        "x-ms-acl: user::rwx,group::r-x,other::r-x,default:user::rwx,default:group::r-x,default:other::---\r\n"
    )
    assert (
        hierarchy.access(0o755, ((b"system.posix_acl_access", b"nonsense"),)) == "x-ms-permissions: 0755\r\n"
    )


@pytest.mark.parametrize("mode", [0, 0o777, 0o1777, 0o1776, 0o421, 0o640])
def test_permissions_are_read_as_they_were_written(mode: int) -> None:
    assert hierarchy.permissions(letters(mode)) == mode & 0o777
    assert hierarchy.permissions(letters(mode) + "+") == mode & 0o777


@pytest.mark.parametrize("text", ["", "rwx", "rwxrwxrw?", "0644", "xwrxwrxwr"])
def test_permissions_of_a_stranger_are_unknown(text: str) -> None:
    assert hierarchy.permissions(text) is None
