"""Work with a limit of time, for calls of the system that have none: lookups of names, folders of a silent server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from wherry.model.errors import UsageError

T = TypeVar("T")


def within(work: Callable[[], T], seconds: float) -> T:
    """What `work` gives or raises as `OSError`; raises `UsageError` when it takes longer.

    What does not answer keeps a thread that nobody waits for, not whoever asks.
    """
    found: list[T] = []
    trouble: list[OSError] = []

    def run() -> None:
        try:
            found.append(work())
        except OSError as failed:
            trouble.append(failed)

    thread = threading.Thread(target=run, name="within", daemon=True)
    thread.start()
    thread.join(seconds)
    if trouble:
        raise trouble[0]
    if not found:
        raise UsageError(f"No answer within {seconds:.0f} s.")
    return found[0]
