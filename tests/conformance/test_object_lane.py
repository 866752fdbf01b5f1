"""The short way to a store of objects: what arrives is whole, and what is left was not written, or by us alone."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest

from tests.azurite import Azurite
from tests.buckets import BucketServer
from tests.conformance.conftest import QUICK, Case, blob_spec
from tests.faulty_wire import FaultyWire, Trouble, faulty_wire
from wherry.model.entry import Entry
from wherry.model.errors import LeaseLost
from wherry.stores.blob.store import BlobStore
from wherry.stores.http import connection, fleet
from wherry.stores.lane import HasLane, Lane, Parcel
from wherry.stores.port import Fence, Store, StoreSpec, no_fence
from wherry.stores.posix import PosixStore
from wherry.stores.s3.store import S3Store

FILES = 16
SECONDS = 20


@dataclass
class Way:
    """A folder with files, a target behind a wire, and the short way between them."""

    folder: Path
    case: Case
    wire: FaultyWire
    source: PosixStore

    def entries(self) -> list[Entry]:
        return list(self.source.list(b"folder"))

    def lane(self, fence: Fence = no_fence) -> Lane:
        store = self.case.store if fence is no_fence else self.known(fence)
        assert isinstance(store, HasLane)
        lane = store.lane(self.source)
        assert lane is not None
        return lane

    def known(self, fence: Fence = no_fence) -> Store:
        """A store that knows what the service can: one file was put the long way."""
        allowed: list[Fence] = [no_fence]

        def current() -> None:
            allowed[0]()

        store = self.case.open(current)
        content = self.case.content(b"first")
        store.put(b"first-%d" % len(self.case.opened), content, content.entry, None)
        allowed[0] = fence
        return store

    def send(self, entries: list[Entry] | None = None) -> tuple[Parcel, list[bytes]]:
        """Send them, and wait; with the names of those that are left."""
        lane = self.lane()
        listed = self.entries() if entries is None else entries
        parcel = lane.send(b"folder", listed)
        deadline = time.monotonic() + SECONDS
        while parcel.under_way and time.monotonic() < deadline:
            lane.wait()
        lane.close()
        assert not parcel.under_way
        return parcel, [listed[number].name for number in sorted(parcel.left)]

    def arrived(self) -> dict[bytes, bytes]:
        """Names and bytes of what is in the target's folder."""
        found = self.case.tree()
        return {path[7:]: self.case.data(path) for path in found if path.startswith(b"folder/")}


def name(number: int) -> bytes:
    return b"file-%02d" % number


@pytest.fixture(params=["blob", "s3"])
def way(
    request: pytest.FixtureRequest, azurite: Azurite, bucket_server: BucketServer, tmp_path: Path
) -> Iterator[Way]:
    (tmp_path / "folder").mkdir()
    for number in range(FILES):
        path = tmp_path / "folder" / name(number).decode()
        path.write_bytes(b"%d " % number * number)
        path.chmod(0o600 + number % 8)
        os.utime(path, ns=(0, 1_500_000_000_123_456_789 + number))
    server = azurite if request.param == "blob" else bucket_server
    spec = blob_spec(azurite) if request.param == "blob" else bucket_server.spec(bucket_server.bucket("lane"))
    host, port = server.host.split(":")
    with faulty_wire((host, int(port))) as wire:
        detour = replace(spec, location=spec.location.replace(server.host, f"127.0.0.1:{wire.port}"))
        made = BlobStore if request.param == "blob" else S3Store
        case = Case(lambda fence: cast("Store", made(detour, fence, QUICK)))
        source = PosixStore(StoreSpec("posix", str(tmp_path)))
        found = Way(tmp_path / "folder", case, wire, source)
        case.store = found.known()
        yield found
        source.close()
        for store in case.opened:
            store.close()


def test_files_arrive_with_their_bytes_and_metadata(way: Way) -> None:
    parcel, left = way.send()

    assert left == []
    assert way.arrived() == {name(number): b"%d " % number * number for number in range(FILES)}
    for entry in parcel.entries:
        seen = way.case.seen(b"folder/" + entry.name)
        assert (seen.mode, seen.modified, seen.uid, seen.gid) == (
            entry.mode,
            entry.modified,
            entry.uid,
            entry.gid,
        )
        assert seen.source_changed == entry.changed


def test_names_that_need_quoting_arrive_under_their_own(way: Way) -> None:
    odd = ["a b", "a+b%20c", "ä?#&=", "😀"]
    for one in odd:
        (way.folder / one).write_text(one)
    wanted = [entry for entry in way.entries() if entry.name.decode() in odd]

    _, left = way.send(wanted)

    assert left == []
    assert way.arrived() == {one.encode(): one.encode() for one in odd}


def test_what_is_there_is_left_as_it_is(way: Way) -> None:
    way.case.put(b"folder/" + name(7), b"of somebody else")

    _, left = way.send()

    assert left == [name(7)]
    assert way.arrived()[name(7)] == b"of somebody else"


@pytest.mark.parametrize("what", ["lose request", "lose answer", "cut answer", "damage request"])
def test_a_file_without_a_good_answer_is_left_alone(way: Way, what: str) -> None:
    way.wire.troubles.append(Trouble(r"^PUT \S*file-09\b", what))  # type: ignore[arg-type]

    _, left = way.send()

    assert left == [name(9)]
    written = way.arrived()
    assert len(written) == FILES - (what in ("lose request", "damage request"))
    assert written.get(name(9), b"9 " * 9) == b"9 " * 9


def test_an_answer_that_does_not_come_in_time_leaves_the_file(
    way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "_ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(fleet, "_LOOK_SECONDS", 0.05)
    way.wire.troubles.append(
        Trouble(r"^PUT \S*file-09\b", "reply", reply=b"HTTP/1.1 201 Created\r\nContent-")
    )

    _, left = way.send()

    assert left == [name(9)]


def test_a_busy_server_is_left_to_the_patient_way(way: Way) -> None:
    busy = b"HTTP/1.1 503 Server Busy\r\nContent-Length: 0\r\n\r\n"
    way.wire.troubles.append(Trouble(r"^PUT \S*file-09\b", "reply", reply=busy))
    _, left = way.send(way.entries()[:10])
    asked = len(way.wire.seen)

    _, others = way.send(way.entries()[10:])

    assert left == [name(9)]
    assert others == [name(number) for number in range(10, FILES)]
    assert len(way.wire.seen) == asked


def test_a_file_that_is_another_by_now_or_has_attributes_is_left(way: Way) -> None:
    listed = way.entries()
    (way.folder / "file-03").write_bytes(b"other")
    os.setxattr(way.folder / "file-04", b"user.colour", b"red")
    (way.folder / "file-05").unlink()
    (way.folder / "file-06").unlink()
    os.mkfifo(way.folder / "file-06")

    _, left = way.send(listed)

    assert left == [name(number) for number in (3, 4, 5, 6)]
    assert not way.arrived().keys() & set(left)


def test_nothing_is_sent_when_the_lease_is_over(way: Way) -> None:
    passed = iter(range(5))

    def fence() -> None:
        if next(passed, None) is None:
            raise LeaseLost("it is over")

    lane = way.lane(fence)
    with pytest.raises(LeaseLost):
        lane.send(b"folder", way.entries())
    lane.close()

    assert sorted(way.arrived()) == [name(number) for number in range(5)]


@pytest.mark.parametrize("taken", [False, True])
def test_the_first_file_finds_out_what_the_service_checks(way: Way, taken: bool) -> None:
    """It goes the patient way, and only it: as far as it is left to others, for what is there already."""
    if taken:
        way.case.put(b"folder/" + name(0), b"of somebody else")
    way.case.store = way.case.open()

    _, left = way.send()

    assert left == [name(0)] * taken
    first = b"of somebody else" if taken else b""
    assert way.arrived() == {name(0): first, **{name(one): b"%d " % one * one for one in range(1, FILES)}}


def test_a_service_that_needs_more_than_one_request_is_left_to_the_long_way(
    way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(way.case.store), "_new", lambda *_: None)

    _, left = way.send()

    assert left == [name(number) for number in range(1, FILES)]
    assert list(way.arrived()) == [name(0)]


@pytest.mark.parametrize("way", ["blob"], indirect=True)
def test_connections_are_left_to_the_next(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    way.send(way.entries()[:8])
    monkeypatch.setattr(fleet._Dock, "call", lambda _: None)

    _, left = way.send(way.entries()[8:])

    assert left == []
    assert len(way.arrived()) == FILES


def test_connections_that_were_hung_up_on_meanwhile_lose_nothing(
    way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "IDLE_SECONDS", 0.0)
    way.send(way.entries()[:8])
    way.wire.hang_up()

    _, left = way.send(way.entries()[8:])

    assert left == []
    assert len(way.arrived()) == FILES


def test_a_server_that_is_gone_leaves_everything(way: Way) -> None:
    asked = len(way.wire.seen)
    way.wire.close()

    _, left = way.send()

    assert len(left) == FILES
    assert len(way.wire.seen) == asked


def test_a_source_that_answers_late_is_left_to_threads(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wherry.stores.http.lane._SLOW_SECONDS", 0.0)
    lane = way.lane()
    first = lane.send(b"folder", way.entries()[:10])

    second = lane.send(b"folder", way.entries()[10:])
    lane.close()

    assert first.left == []
    assert len(second.left) == FILES - 10
