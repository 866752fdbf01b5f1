"""Puts stores of a test's own between the engine and its places: whoever opens a store in this process gets those."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from wherry.stores import registry
from wherry.stores.port import Store, StoreSpec


def between(patch: pytest.MonkeyPatch, wrap: Callable[[StoreSpec, Store], Store]) -> None:
    """From now on `wrap` gets each store that is opened, and gives the one to be used instead."""
    real = registry.open_store

    def opened(spec: StoreSpec, *more: Any, **named: Any) -> Store:
        return wrap(spec, real(spec, *more, **named))

    for name, module in list(sys.modules.items()):
        if name.startswith("wherry.") and vars(module).get("open_store") is real:
            patch.setattr(module, "open_store", opened)
