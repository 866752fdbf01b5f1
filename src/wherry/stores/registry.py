"""Opens the store that a spec describes.  Called by the engine in every process that needs one.

An adapter is imported when the first store of its kind is opened: a copy between folders need not load what speaks
HTTP.
"""

# ruff: noqa: PLC0415

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

from wherry.model.errors import UsageError
from wherry.stores.port import Fence, Store, StoreSpec, no_fence


def open_store(spec: StoreSpec, fence: Fence = no_fence) -> Store:
    """The store, opened at its root.  Raises `UsageError` for what is unknown, else what `probe` raises."""
    if spec.manifest:
        from wherry.stores.wrap.manifest import ManifestStore

        return ManifestStore(open_source(replace(spec, manifest=""), fence), spec.manifest)
    return adapter(spec.kind)(spec, fence)


def adapter(kind: str) -> Callable[[StoreSpec, Fence], Store]:
    """What opens stores of this kind, imported now: processes that are forked later need not do it again.

    Raises `UsageError` for a kind that is unknown.
    """
    if kind == "posix":
        from wherry.stores.posix import PosixStore

        return PosixStore
    if kind == "blob":
        from wherry.stores.blob.store import BlobStore

        return BlobStore
    if kind == "s3":
        from wherry.stores.s3.store import S3Store

        return S3Store
    if kind == "memory":
        from wherry.stores.memory import MemoryStore

        return lambda spec, fence: MemoryStore(spec.location, fence=fence)
    raise UsageError(f"There is no kind of store '{kind}'; known are blob, memory, posix and s3.")


def is_distant(spec: StoreSpec) -> bool:
    """Whether the store is behind a network of its own protocol, so that to open it takes requests."""
    return spec.kind in ("blob", "s3")


def open_source(spec: StoreSpec, fence: Fence = no_fence) -> Store:
    """The same for a store that is read: its listings tell all, whatever that takes."""
    store = open_store(spec, fence)
    if not store.traits.bare:
        return store
    from wherry.stores.wrap.looked import BareStore, LookedStore

    return LookedStore(cast("BareStore", store))
