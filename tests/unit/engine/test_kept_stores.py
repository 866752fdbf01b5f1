"""Distant stores outlive their leases, and only what may: never another credential, never what ended badly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from wherry.engine import kept_stores
from wherry.engine.kept_stores import KeptStores
from wherry.model.errors import LeaseLost
from wherry.stores.memory import MemoryStore
from wherry.stores.port import Fence, Store, StoreSpec

PLACE = StoreSpec("s3", "https://s3.example/bucket", identity="key", secret="one")


class Distant(MemoryStore):
    """Tells how often it rested and whether it is closed."""

    def __init__(self, name: str, fence: Fence) -> None:
        super().__init__(name, fence=fence)
        self.fence = fence
        self.rests = 0
        self.closed = False

    def rest(self) -> None:
        self.rests += 1

    def close(self) -> None:
        assert not self.closed
        self.closed = True


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Distant]:
    found: list[Distant] = []

    def opening(spec: StoreSpec, fence: Fence) -> Store:
        found.append(Distant(spec.location, fence))
        return found[-1]

    for name in ("open_store", "open_source"):
        monkeypatch.setattr(kept_stores, name, opening)
    return found


@pytest.fixture
def kept() -> Iterator[KeptStores]:
    with closing(KeptStores()) as made:
        yield made


def test_the_next_lease_has_the_same_store_with_its_own_fence(kept, opened):
    calls: list[str] = []
    for lease in ("first", "second"):
        with kept.store("target", PLACE, lambda lease=lease: calls.append(lease)) as store:
            store.fence()
        # Whoever comes late writes nothing.
        with pytest.raises(LeaseLost):
            store.fence()
    assert calls == ["first", "second"]
    assert len(opened) == 1
    assert opened[0].rests == 2
    kept.close()
    assert opened[0].closed


@pytest.mark.parametrize(
    "other",
    [
        {"secret": "renewed"},
        {"identity": "another"},
        {"location": "https://s3.example/b"},
        {"subpath": b"x"},
    ],
)
def test_another_place_or_credential_is_opened_anew(kept, opened, other):
    for spec in (PLACE, replace(PLACE, **other), PLACE):
        with kept.store("target", spec, lambda: None):
            pass
    assert len(opened) == 2


def test_two_leases_at_once_have_a_store_each(kept, opened):
    with kept.store("target", PLACE, lambda: None) as one, kept.store("target", PLACE, lambda: None) as two:
        assert one is not two
    with kept.store("source", PLACE, lambda: None) as three:
        assert three not in (one, two)


def test_what_ended_badly_is_not_used_again(kept, opened):
    with pytest.raises(LeaseLost), kept.store("target", PLACE, lambda: None):
        raise LeaseLost("over")
    assert opened[0].closed
    with kept.store("target", PLACE, lambda: None) as store:
        assert store is opened[1]


def test_few_are_kept_and_none_for_long(opened):
    now = 0.0
    with closing(KeptStores(lambda: now)) as kept:
        for number in range(6):
            with kept.store("target", replace(PLACE, secret=f"{number}"), lambda: None):
                pass
        assert [one.closed for one in opened] == [True, True, False, False, False, False]
        now = 601.0
        with kept.store("target", replace(PLACE, secret="5"), lambda: None):
            assert len(opened) == 7
        assert all(one.closed for one in opened[:6])


def test_a_folder_is_let_go_with_its_lease(kept, opened):
    with kept.store("target", StoreSpec("posix", "/x"), lambda: None) as store:
        assert not opened[0].closed
    assert store is opened[0]
    assert opened[0].closed
