"""Python's garbage collector in a process that serves: kept from stopping every connection for long.

A full collection looks at every object there is and cannot be interrupted. Measured with Python 3.11: a WebSocket that
waits has 73 objects, most of them Trio's, and with 5,000 connections a collection took 90 to 250 ms, several times
while they came. None of them found anything: a connection that ends is freed by its reference counts, which a test
holds to. So what survived a collection that took long is left out of the next ones (`gc.freeze`).
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

LONGEST = 0.005
"""Seconds: what survives a full collection that took longer is left out of the next ones."""

THAW = 600.0
"""Seconds: so often a full collection looks at everything again, for a handler's objects may refer to each other in a
circle, and die after they were left out."""

GROWTH = 4
"""Times as much as was there when everything was last looked at: when so much is left out, everything is looked at
again before the time. Without that, a handler whose objects are circles kept all that ever survived a collection, for
ten minutes."""

CIRCLES = 4
"""The part of what was left out that is garbage by then, from which on nothing is left out any more: the program makes
circles, and they have to be found."""

_GENERATIONS = sys.version_info < (3, 14) and "free-threading" not in sys.version
"""Whether the collector works by generations, as CPython's did up to 3.13. That of 3.14 works in small steps, and it
and that of the build without a GIL run no collection of the third generation by themselves: they would never look at
what was left out."""


@contextmanager
def short_collections() -> Iterator[None]:
    """Within it, full collections are short, but for one each ten minutes. For the whole process.

    What is there at its beginning, such as every module that was imported, is left out as well. A program that uses
    `gc.freeze` itself, and a Python without it or with another kind of collector, are left as they are.
    """
    if not _GENERATIONS or not hasattr(gc, "freeze") or gc.get_freeze_count():
        yield
        return
    gc.collect()
    gc.freeze()
    observe = _Collections().observe
    gc.callbacks.append(observe)
    try:
        yield
    finally:
        if observe in gc.callbacks:
            gc.callbacks.remove(observe)
        gc.unfreeze()


class _Collections:
    def __init__(self) -> None:
        self._began = self._thawed = monotonic()
        # Objects that were there when everything was last looked at.
        self._there = gc.get_freeze_count()
        # How many were left out before the collection that looks at everything.
        self._were_out: int | None = None
        self._circles = False

    def observe(self, phase: str, info: dict[str, int]) -> None:
        """Called by the collector before and after each collection."""
        now = monotonic()
        if phase == "start":
            self._began = now
            if info["generation"] == 2 and not self._circles:
                out = gc.get_freeze_count()
                if now - self._thawed > THAW or out > GROWTH * self._there:
                    self._thawed, self._were_out = now, out
                    gc.unfreeze()
            return
        looked_at_all = self._were_out is not None
        if self._were_out is not None:
            self._circles = info["collected"] * CIRCLES > self._were_out
            self._were_out = None
        # What has survived one of the younger generations only may be garbage, and that was long for another reason.
        if info["generation"] == 2 and now - self._began > LONGEST and not self._circles:
            gc.freeze()
            if looked_at_all:
                self._there = gc.get_freeze_count()
