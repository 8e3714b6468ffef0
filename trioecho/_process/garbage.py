"""Python's garbage collector in a process that serves: kept from stopping every connection for long.

A full collection looks at every object there is and cannot be interrupted. Measured with Python 3.11: a WebSocket that
waits has 73 objects, most of them Trio's, and with 5,000 connections a collection took 90 to 250 ms, several times
while they came. None of them found anything: a connection that ends is freed by its reference counts, which a test
holds to. So what survived a collection that took long is left out of the next ones (`gc.freeze`).
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

LONGEST = 0.005
"""Seconds: what survives a collection that took longer is left out of the next ones."""

THAW = 600.0
"""Seconds: so often a full collection looks at everything again, for a handler's objects may refer to each other in a
circle, and die after they were left out."""


@contextmanager
def short_collections() -> Iterator[None]:
    """Within it, full collections are short, but for one each ten minutes. For the whole process.

    What is there at its beginning, such as every module that was imported, is left out as well. A program that uses
    `gc.freeze` itself, and a Python without it, are left as they are.
    """
    if not hasattr(gc, "freeze") or gc.get_freeze_count():
        yield
        return
    gc.collect()
    gc.freeze()
    observe = _Collections().observe
    gc.callbacks.append(observe)
    try:
        yield
    finally:
        gc.callbacks.remove(observe)
        gc.unfreeze()


class _Collections:
    def __init__(self) -> None:
        self._began = self._thawed = monotonic()

    def observe(self, phase: str, info: dict[str, int]) -> None:
        """Called by the collector before and after each collection."""
        now = monotonic()
        if phase == "start":
            self._began = now
            if info["generation"] == 2 and now - self._thawed > THAW:
                self._thawed = now
                gc.unfreeze()
        elif now - self._began > LONGEST:
            gc.freeze()
