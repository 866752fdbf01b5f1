"""Opens the store that a spec describes.  Called by the engine in every process that needs one."""

from __future__ import annotations

from dataclasses import replace

from wherry.model.errors import UsageError
from wherry.stores.blob.store import BlobStore
from wherry.stores.memory import MemoryStore
from wherry.stores.port import Fence, Store, StoreSpec, no_fence
from wherry.stores.posix import PosixStore
from wherry.stores.wrap.manifest import ManifestStore


def open_store(spec: StoreSpec, fence: Fence = no_fence) -> Store:
    """The store, opened at its root.  Raises `UsageError` for what is unknown, else what `probe` raises."""
    if spec.manifest:
        return ManifestStore(open_store(replace(spec, manifest=""), fence), spec.manifest)
    if spec.kind == "posix":
        return PosixStore(spec, fence)
    if spec.kind == "blob":
        return BlobStore(spec, fence)
    if spec.kind == "memory":
        return MemoryStore(spec.location, fence=fence)
    raise UsageError(f"There is no kind of store '{spec.kind}'; known are blob, memory and posix.")
